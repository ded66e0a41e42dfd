"""Top tagging with few labels: jets, label counts, a grader that knows validation labels, and a sealed test."""
