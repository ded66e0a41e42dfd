"""The statistics of stability studies: pure functions of numpy arrays, independent of runs, files and agents.

Two questions are kept apart everywhere. *On these data sets*: would new runs on the same data sets give the same
answer? Runs count as independent. *For data sets like these*: would it hold for others? Runs on one data set form one
cluster, and with a single data set there is no answer (NaN), never zero variance.
"""
