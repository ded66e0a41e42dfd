"""Top tagging with few labels: jets, numbers of labels, a grader that knows validation labels, and a sealed test."""
