"""Numbers of data sets and repeats needed: the power of a paired t-test on the means of data sets.

The mean difference of two backends over G data sets with R pairs of runs each has the variance

    (tau2 + sigma2 / R) / G,

with tau2 the variance of the true difference between data sets and sigma2 that of a pair's difference on one data set.
More repeats reduce only the second term. For a statement on these particular data sets the pairs themselves are tested:
use `of_pairs` with as many "data sets" as there are pairs.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import nct, t

from agents.studies.statistics.components import REST, components
from tools.types import Floats

ALPHA, POWER = 0.05, 0.8
MOST = 10_000


@dataclass(frozen=True)
class Variances:
    """Variances of paired differences: between data sets, and of one pair on a data set; NaN if undetermined."""

    tau2: float
    sigma2: float


def variances(differences: Floats, cluster: NDArray[np.int64]) -> Variances:
    """Estimate the variances from pairs (n,) on data sets (n,) by one-way analysis of variance; negative ones are 0.

    If each data set has one pair, the two cannot be separated, and all of it is assigned to tau2.
    """
    labels = np.unique(cluster)
    if len(labels) < 2:
        return Variances(math.nan, math.nan)
    if len(labels) == len(differences):
        return Variances(float(differences.var(ddof=1)), 0.0)
    found = components(differences, {"dataset": cluster})
    return Variances(max(0.0, found["dataset"]), max(0.0, found[REST]))


def of_pairs(differences: Floats, cluster: NDArray[np.int64]) -> Variances:
    """Estimate the pooled variance of a pair (n,) within its data set (n,), as tau2.

    If each data set has one pair, it is the variance of all pairs, an upper bound.
    """
    n, place = len(differences), np.unique(cluster, return_inverse=True)[1]
    if n < 2:
        return Variances(math.nan, math.nan)
    sizes = np.bincount(place)
    if len(sizes) == n:
        return Variances(float(differences.var(ddof=1)), 0.0)
    rest = differences - (np.bincount(place, differences) / sizes)[place]
    return Variances(float((rest**2).sum() / (n - len(sizes))), 0.0)


def power(difference: float, variances: Variances, datasets: int, repeats: float) -> float:
    """Return the power of a two-sided t-test at 5%: noncentral t with G - 1 degrees of freedom."""
    if datasets < 2:
        return 0.0
    variance = (variances.tau2 + variances.sigma2 / repeats) / datasets
    if variance <= 0:
        return 1.0 if difference else ALPHA
    shift, cut = abs(difference) / math.sqrt(variance), t.ppf(1 - ALPHA / 2, datasets - 1)
    wrong_side = 0.0 if shift > 5 else nct.cdf(-cut, datasets - 1, shift)  # below 1e-11 there, and scipy gives NaN
    return float(nct.sf(cut, datasets - 1, shift) + wrong_side) if shift < 30 else 1.0


def datasets_needed(difference: float, variances: Variances, repeats: float) -> int | None:
    """Return the smallest number of data sets for 80% power; None: more than 10,000, or unknown variances."""
    return _fewest(lambda g: power(difference, variances, g, repeats), 2, variances)


def repeats_needed(difference: float, variances: Variances, datasets: int) -> int | None:
    """Return the smallest number of repeats on the given data sets for 80% power; None: no number is enough."""
    return _fewest(lambda r: power(difference, variances, datasets, r), 1, variances)


def detectable(variances: Variances, datasets: int, repeats: float) -> float:
    """Return the smallest true difference detected with 80% power, by bisection; NaN if undetermined."""
    spread = variances.tau2 + variances.sigma2 / repeats if repeats else math.nan
    if datasets < 2 or not spread > 0:
        return math.nan
    low, high = 0.0, 50 * math.sqrt(spread)
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (low, middle) if power(middle, variances, datasets, repeats) >= POWER else (middle, high)
    return high


def _fewest(power_of: Callable[[int], float], least: int, variances: Variances) -> int | None:
    """Find the smallest number with 80% power by bisection: power grows with the number. None above MOST."""
    if math.isnan(variances.tau2) or power_of(MOST) < POWER:
        return None
    low, high = least - 1, MOST
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if power_of(middle) >= POWER else (middle, high)
    return high
