"""The tasks: the question, its data and its grader. This code runs on the host, never in a sandbox."""
