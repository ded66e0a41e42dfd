"""Services on loopback that behave as real ones were reported to, each with what a client must make of it."""
