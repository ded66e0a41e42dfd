"""What every driver promises, tried with hostile code: the same checks for each, in tests and on any machine."""
