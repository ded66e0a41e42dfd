"""The record of a run: events in a JSON-lines file, blobs by hash, and what is read out of them."""
