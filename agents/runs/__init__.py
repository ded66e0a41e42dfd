"""Runs: start, resume, replay, rerun, fork and compare them."""
