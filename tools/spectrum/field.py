"""The local significance of a resonance at every mass and width.

The score statistic of a small signal with shape s on top of a fitted model (expected counts mu, derivatives J) is
z = r^T W (n - mu) / sqrt(r^T W r), with W = 1 / mu and r the part of s that no change of the model's parameters can
imitate: r = s - J (J^T W J)^-1 J^T W s. Toys n ~ Poisson(mu) give the same field without a new fit.
"""

from __future__ import annotations

import numpy as np

from tools.spectrum.likelihood import Fit, information
from tools.types import Floats


class Field:
    """Significances over M masses and V kinds of resonance (widths, shapes), for shapes (M, V, n) on top of a fit."""

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
        """Return the significances (M, V, ...) of counts (n, ...)."""
        off = (counts.T - self._expected).T
        return np.asarray(self._filters @ off).reshape(*self._shape, *counts.shape[1:])
