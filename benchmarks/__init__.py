"""Speed and physics of the whole, measured: `python -m benchmarks.<name> [--quick]`."""
