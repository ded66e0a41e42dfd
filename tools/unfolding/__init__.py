"""Unfolding with uncertainties: OmniFold, iterative Bayesian unfolding and optimal transport in one tool."""

from tools.unfolding.unfold import unfold

__all__ = ["unfold"]
