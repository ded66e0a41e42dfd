"""The record of a run: events in a JSON-lines file, blobs by hash, and what is derived from them."""
