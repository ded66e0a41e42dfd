"""Stability studies: backends x wordings x data sets x repeats of one task, with statistics a referee would accept."""
