"""The agents of a run: planner, workers and reporter, their prompts, and the graph that connects them."""
