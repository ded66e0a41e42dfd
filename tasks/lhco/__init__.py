"""The LHC Olympics tasks: data, graders and questions."""
