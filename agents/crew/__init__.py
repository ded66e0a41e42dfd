"""The agents of a run: planner, workers and reporter, what they are told, and the graph that they work in."""
