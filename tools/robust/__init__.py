"""Robust training of networks, and how sharp the minimum is that a training ends in (after arXiv:2411.09296)."""
