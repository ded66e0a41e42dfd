"""Steering against sealed metrics: does steering follow the true performance, and which backend looks too good?

The two metrics have different units, so ranks are compared, among all runs on one data set, whatever the backend.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from agents.studies.statistics.proportions import NO_INTERVAL, Interval
from agents.studies.statistics.spread import bootstrap, drawn, percentiles
from tools.types import Floats

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Gap:
    """`value`: mean rank (0 to 1) by steering metric minus that by sealed metric; above 0: looks better than it is."""

    n: int
    value: float
    interval: Interval


@dataclass(frozen=True)
class Following:
    """Spearman's correlation between steering and sealed metric within data sets."""

    n: int
    value: float
    interval: Interval


def ranks(values: Floats, cluster: Ints) -> Floats:
    """Return ranks (n,) from 0 to 1 within each data set (n,); ties share their mean rank, a single run has 0.5."""
    found = np.full(len(values), 0.5)
    for label in np.unique(cluster):
        inside = cluster == label
        count = int(inside.sum())
        found[inside] = (rankdata(values[inside]) - 0.5) / count
    return found


def gap(steering: Floats, sealed: Floats, cluster: Ints, arm: NDArray[np.bool_], seed: int = 1) -> Gap:
    """Return the gap of the runs marked by `arm` (n,) among all runs (n,). Over all runs of a data set it is zero."""
    difference = (ranks(steering, cluster) - ranks(sealed, cluster))[arm]
    if not len(difference):
        return Gap(0, math.nan, NO_INTERVAL)
    return Gap(len(difference), float(difference.mean()), bootstrap(difference, cluster[arm], seed=seed))


def following(steering: Floats, sealed: Floats, cluster: Ints, seed: int = 1) -> Following:
    """Return the correlation of the ranks within data sets (n,), which removes differences between data sets.

    NaN if one of the two is the same for all runs.
    """
    x, y = ranks(steering, cluster) - 0.5, ranks(sealed, cluster) - 0.5
    n, clusters = len(x), len(np.unique(cluster))
    if n < 3 or not x.any() or not y.any():
        return Following(n, math.nan, NO_INTERVAL)
    counts = drawn(cluster, seed)
    with np.errstate(invalid="ignore", divide="ignore"):
        found = (counts @ (x * y)) / np.sqrt((counts @ x**2) * (counts @ y**2))
    return Following(n, float((x * y).sum() / np.sqrt((x**2).sum() * (y**2).sum())), percentiles(found, clusters))
