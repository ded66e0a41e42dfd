"""Distance between two histograms."""

from __future__ import annotations

import numpy as np

from tools.types import Floats


def triangular(p: Floats, q: Floats) -> float:
    """Return 1000 times the triangular discriminator of two histograms, normalised first: 500 sum (p - q)^2 / (p + q).

    0 for equal, 1000 for disjoint histograms; the metric of the OmniFold paper (arXiv:1911.09107).

    >>> triangular(np.array([1.0, 1.0]), np.array([2.0, 2.0]))
    0.0
    >>> triangular(np.array([1.0, 0.0]), np.array([0.0, 1.0]))
    1000.0
    """
    p, q = p / p.sum(), q / q.sum()
    filled = p + q > 0
    return float(500 * np.sum((p - q)[filled] ** 2 / (p + q)[filled]))


def floor(p: Floats, q: Floats, p_squares: Floats, q_squares: Floats) -> float:
    """Return the `triangular` expected of two samples of one distribution, from their fluctuations alone.

    `p`, `q`: sums of weights per bin, `p_squares`, `q_squares`: sums of squared weights. Without weights and with B
    filled bins of n and m events it is 250 (B - 1) (1/n + 1/m).

    >>> round(floor(*4 * [np.full(5, 100.0)]), 6)
    4.0
    """
    share = p / p.sum(), q / q.sum()
    filled = share[0] + share[1] > 0
    mean = ((share[0] + share[1]) / 2)[filled]
    variance = (p_squares / p.sum() ** 2 + q_squares / q.sum() ** 2)[filled] * (1 - mean)
    return float(500 * np.sum(variance / (2 * mean)))
