"""Tests with hostile code of what every driver promises: the same checks for each, in tests and on any machine."""
