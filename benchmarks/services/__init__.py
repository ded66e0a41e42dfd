"""Loopback services that behave as real ones were reported to, each with the outcome that a client must reach."""
