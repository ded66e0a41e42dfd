"""Fast simulation of calorimeter showers: format, reference simulation, generators and their judges."""
