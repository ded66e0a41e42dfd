"""Classifier trained on a template with smeared copies of its events: for a template smaller than the data.

A classifier learns a small template by heart, and less of the signal. The smoothed bootstrap (Silverman and Young,
Biometrika 74 (1987) 469) draws further events from it: with features as normal scores z,

    z' = (z + h e) / sqrt(1 + h**2),    h = (4 / ((d + 2) n))**(1 / (d + 4)),

where e has the covariance of z, so that means, variances and correlations stay, and h is the bandwidth of Silverman
(Density Estimation, 1986, eq. 4.14). Only training sees the copies: ranks and cuts are those of the true template
events, so what the smearing changes cannot pass for an excess.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr, ndtri

from tools.anomaly.classifier import Classifier, Mask
from tools.types import Floats


@dataclass(frozen=True)
class Smeared:
    """A classifier that is trained on `copies` smeared copies of each template event as well."""

    classifier: Classifier
    copies: int

    def log_odds(self, x: Floats, y: Mask, to_score: Floats, seed: int, weight: Floats | None = None) -> Floats:
        """Train on x (n, d), y (data or template) with weights (n,); return the log-odds of `to_score` (m, d)."""
        template = x[~y]
        more = smeared(template, self.copies * len(template), np.random.default_rng(seed))
        both, is_data = np.concatenate([x, more]), np.append(y, np.zeros(len(more), dtype=bool))
        each = None if weight is None else np.append(weight, np.ones(len(more)))
        return self.classifier.log_odds(both, is_data, to_score, seed, each)


def smeared(sample: Floats, n: int, rng: np.random.Generator) -> Floats:
    """Draw `n` events (n, d) from the smoothed distribution of `sample` (m, d); m > d. They lie in its range."""
    m, d = sample.shape
    ordered = np.sort(sample, axis=0)
    levels = (np.arange(m) + 0.5) / m
    z = ndtri(np.take(levels, np.argsort(np.argsort(sample, axis=0, kind="stable"), axis=0)))
    h = (4 / ((d + 2) * m)) ** (1 / (d + 4))
    values, vectors = np.linalg.eigh(np.atleast_2d(np.cov(z, rowvar=False)))
    spread = vectors * np.sqrt(np.maximum(values, 0.0))  # features that depend on each other have no Cholesky factor
    drawn = (z[rng.integers(m, size=n)] + h * rng.normal(size=(n, d)) @ spread.T) / np.sqrt(1 + h**2)
    return np.stack([np.interp(ndtr(drawn[:, j]), levels, ordered[:, j]) for j in range(d)], axis=1)
