"""Collision events: official layouts, parquet, simulation with Pythia 8 and FastJet."""
