"""Precision, recall, density and coverage: the quality and the variety of generated showers.

Kynkaanniemi et al., arXiv:1904.06991; Naeem et al., arXiv:2002.09797. A sample's manifold is the union of balls around
its points that extend to the K-th nearest neighbour in the same sample.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tools.contract import ToolError
from tools.types import Floats

NEIGHBOURS = 5
MAX_SHOWERS = 4000  # of each sample: the number of distances grows as the square


@dataclass(frozen=True)
class Prdc:
    """Fraction of generated points in the reference's manifold (precision) and the reverse (recall); density and
    coverage are their counterparts with less variance.
    """

    precision: float
    recall: float
    density: float
    coverage: float


def prdc(reference: Floats, generated: Floats, seed: int = 1, k: int = NEIGHBOURS) -> Prdc:
    """Compare observables (N, d) and (M, d), each scaled to the reference's mean and standard deviation.

    At most MAX_SHOWERS of each are used, chosen at random. For two samples of the same distribution, density and
    coverage are 1 and 1 - 2^-k on average. Raises ToolError for k showers or fewer.
    """
    rng = np.random.default_rng([seed, 12])
    x, y = (v[rng.permutation(len(v))[:MAX_SHOWERS]] for v in (reference, generated))
    if min(len(x), len(y)) <= k:
        raise ToolError("showers", min(len(x), len(y)), f"more than {k} of each kind")
    mean, std = x.mean(axis=0), x.std(axis=0)
    varies = std > 0
    x, y = ((v[:, varies] - mean[varies]) / std[varies] for v in (x, y))
    between = distances(x, y)
    near_x, near_y = (np.partition(distances(v, v), k, axis=1)[:, k] for v in (x, y))  # 0 is the point itself
    inside = between <= near_x[:, None]  # (x, y): is y in the ball around x?
    return Prdc(
        precision=float(inside.any(axis=0).mean()),
        recall=float((between <= near_y[None, :]).any(axis=1).mean()),
        density=float(inside.sum(axis=0).mean() / k),
        coverage=float((between.min(axis=1) <= near_x).mean()),
    )


def distances(a: Floats, b: Floats) -> Floats:
    """Return the Euclidean distances (N, M)."""
    square = (a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1)[None, :] - 2 * a @ b.T
    return np.asarray(np.sqrt(np.maximum(square, 0.0)))
