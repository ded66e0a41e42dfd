"""The unfolding task: Z+jets samples, what is measured and how the answer is judged."""
