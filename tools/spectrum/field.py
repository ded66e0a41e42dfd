"""The local significance of a resonance at every mass and width, and how high it rises somewhere by chance.

The score statistic of a small signal with shape s on top of a fitted model (expected counts mu, derivatives J) is
z = r^T W (n - mu) / sqrt(r^T W r), with W = 1 / mu and r the part of s that no change of the model's parameters can
imitate: r = s - J (J^T W J)^-1 J^T W s. Toys n ~ Poisson(mu) give the same field without a new fit.

The probability that background rises above u anywhere is p(u) + <N(u0)> exp((u0^2 - u^2) / 2), with <N(u0)> the mean
number of upcrossings of a low level, from toys (Gross and Vitells, arXiv:1005.1891).
"""

from __future__ import annotations

import numpy as np

from tools.normal import p_value
from tools.spectrum.likelihood import Fit, information
from tools.types import Floats

LEVEL = 2.0  # u0; well below a signal, and high enough that the widths at one mass count as one
TOYS = 300


class Field:
    """Significances over M masses and V widths, for shapes (M, V, n) on top of a fit."""

    def __init__(self, fit: Fit, shapes: Floats) -> None:
        flat = shapes.reshape(-1, shapes.shape[-1])
        weighted = fit.jacobian / fit.expected[:, None]
        rest = flat - (flat @ weighted) @ np.linalg.pinv(information(fit)) @ fit.jacobian.T
        norms = np.sqrt(np.maximum(np.sum(rest**2 / fit.expected, axis=1), 0.0))
        seen = norms > 1e-6 * np.sqrt(np.sum(flat**2 / fit.expected, axis=1))  # else the model can imitate it
        self._filters = np.where(seen[:, None], rest / fit.expected / np.where(seen, norms, 1.0)[:, None], 0.0)
        self._expected = fit.expected
        self._shape = shapes.shape[:2]

    def z(self, counts: Floats) -> Floats:
        """Return the significances (M, V) of counts (n,)."""
        return np.asarray(self._filters @ (counts - self._expected)).reshape(self._shape)

    def upcrossings(self, seed: int, toys: int = TOYS) -> float:
        """Return the mean number of times that the largest significance of all widths rises above LEVEL."""
        counts = np.random.default_rng(seed).poisson(self._expected, (toys, len(self._expected)))
        z = (self._filters @ (counts - self._expected).T).reshape(*self._shape, toys).max(axis=1)
        return float(np.mean(np.sum((z[1:] >= LEVEL) & (z[:-1] < LEVEL), axis=0) + (z[0] >= LEVEL)))


def global_p_value(z: float, upcrossings: float) -> float:
    """Return the probability that background gives a significance of `z` or more anywhere in the search."""
    return float(min(1.0, p_value(z) + upcrossings * np.exp((LEVEL**2 - max(z, 0.0) ** 2) / 2)))
