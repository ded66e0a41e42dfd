"""Unfolding: OmniFold, iterative Bayesian unfolding and optimal transport behind one tool, with uncertainties."""

from tools.omnifold.unfold import unfold

__all__ = ["unfold"]
