"""Benchmarks of speed and physics performance: `python -m benchmarks.<name> [--quick]`."""
