"""Collision events: official file layouts, parquet, and simulation with Pythia 8 and FastJet."""
