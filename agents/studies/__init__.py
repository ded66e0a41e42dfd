"""Stability studies: backends x wordings x data sets x repeats of one task, with the statistics to compare them."""
