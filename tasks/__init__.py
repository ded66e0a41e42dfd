"""What is asked and how it is judged; runs on the host, never in a sandbox."""
