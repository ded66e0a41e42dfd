"""The agents (planner, workers, reporter) that decide what to do next, and the command line that starts them."""
