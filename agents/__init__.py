"""Who decides what to do next: planner, workers, reporter, and the command line that starts them."""
