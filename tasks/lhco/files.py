"""Names of a search's event files, the same in every part of the task and in its tools."""

EVENTS = "events.parquet"
REFERENCE = "reference.parquet"  # background only
JETS = "jets.h5"  # constituents of both jets of each event
