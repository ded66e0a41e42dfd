"""Questions to a run: answered from its trace and files, with the events that say so."""
