"""The names of a search's files of events, as every part of the task and its tools know them."""

EVENTS = "events.parquet"
REFERENCE = "reference.parquet"  # background alone
JETS = "jets.h5"  # constituents of both jets of every event
