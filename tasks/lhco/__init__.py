"""The LHC Olympics tasks: data, graders, questions."""
