"""The statistics of stability studies: pure functions over numpy arrays that know nothing of runs, files or agents.

Two questions are kept apart everywhere. *On these data sets*: would new runs on the same data sets give the same
answer? Runs count as independent. *For data sets like these*: would it hold elsewhere? Runs on one data set are one
cluster, and with a single data set there is no answer (NaN), never a spread of zero.
"""
