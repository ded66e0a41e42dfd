"""Unfolding with uncertainties in one tool, by methods that reweight events and methods that draw them."""

from tools.unfolding.unfold import unfold

__all__ = ["unfold"]
