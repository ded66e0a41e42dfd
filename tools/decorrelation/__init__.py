"""Scores that do not depend on the mass: optimal transport, conditional flows, and losses that train such scores."""

from tools.decorrelation.decorrelate import decorrelate

__all__ = ["decorrelate"]
