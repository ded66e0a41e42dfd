"""What this machine offers, and whether the walls of its sandboxes stand."""
