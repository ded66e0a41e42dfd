"""The task `showers`: a fast simulation of a calorimeter, and where it cannot be trusted."""
