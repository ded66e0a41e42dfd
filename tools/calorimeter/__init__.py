"""Fast simulation of calorimeter showers: file format, reference simulation, generators and their evaluation."""
