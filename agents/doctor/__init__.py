"""Checks of this machine: what it offers to a run, and whether its sandboxes hold."""
