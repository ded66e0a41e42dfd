"""Significance and p-value: `z` standard deviations of a normal variable, one-sided, p = 1 - Phi(z).

Equal to `scipy.stats.norm.sf` and `isf`. Importing `scipy.stats` takes a second, which every tool call would pay.
"""

from __future__ import annotations

from scipy.special import ndtr, ndtri


def p_value(z: float) -> float:
    """Return the probability that a normal variable exceeds `z`."""
    return float(ndtr(-z))


def z_value(p: float) -> float:
    """Return the `z` that a normal variable exceeds with probability `p`: inf for 0, NaN outside 0 to 1."""
    return -float(ndtri(p))
