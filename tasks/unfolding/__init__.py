"""The unfolding task: Z+jets, what is measured and how the answer is judged."""
