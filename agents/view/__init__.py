"""The web view of runs, on loopback: it shows their traces, and lets a person start, answer, stop and ask."""
