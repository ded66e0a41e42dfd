"""The task `open`: any question about a table that no other task covers, answered in numbers, tables and figures."""
