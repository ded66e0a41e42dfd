"""Runs and studies as jobs of a batch system, which continue in the next job when their time is up."""
