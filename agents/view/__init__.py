"""The web view of runs: served on loopback, read-only, from the traces alone."""
