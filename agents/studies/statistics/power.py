"""How many data sets and repeats a question needs: the power of a paired t-test on the means of data sets.

The mean difference of two backends over G data sets with R pairs of runs each has the variance

    (tau2 + sigma2 / R) / G,

tau2 the variance between data sets of the true difference, sigma2 that of a pair's difference on one data set. More
repeats wear down the second term only. For a statement on these very data sets the pairs themselves are what is
tested: `of_pairs` with as many "data sets" as there are pairs.
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
    """Of paired differences: between data sets, and of one pair on a data set; NaN where they cannot be told."""

    tau2: float
    sigma2: float


def variances(differences: Floats, cluster: NDArray[np.int64]) -> Variances:
    """From pairs (n,) on data sets (n,), by one-way analysis of variance; a negative tau2 is none.

    Where each data set has one pair the two cannot be told apart, and all of it is tau2.
    """
    labels = np.unique(cluster)
    if len(labels) < 2:
        return Variances(math.nan, math.nan)
    if len(labels) == len(differences):
        return Variances(float(differences.var(ddof=1)), 0.0)
    found = components(differences, {"dataset": cluster})
    return Variances(max(0.0, found["dataset"]), max(0.0, found[REST]))


def of_pairs(differences: Floats, cluster: NDArray[np.int64]) -> Variances:
    """Of a pair (n,) on its data set (n,), pooled; where each data set has one pair, of all pairs, which is no less."""
    n, place = len(differences), np.unique(cluster, return_inverse=True)[1]
    if n < 2:
        return Variances(math.nan, math.nan)
    sizes = np.bincount(place)
    if len(sizes) == n:
        return Variances(float(differences.var(ddof=1)), 0.0)
    rest = differences - (np.bincount(place, differences) / sizes)[place]
    return Variances(float((rest**2).sum() / (n - len(sizes))), 0.0)


def power(difference: float, variances: Variances, datasets: int, repeats: float) -> float:
    """Probability that a two-sided t-test at 5% sees a true difference: noncentral t with G - 1 degrees of freedom."""
    if datasets < 2:
        return 0.0
    variance = (variances.tau2 + variances.sigma2 / repeats) / datasets
    if variance <= 0:
        return 1.0 if difference else ALPHA
    shift, cut = abs(difference) / math.sqrt(variance), t.ppf(1 - ALPHA / 2, datasets - 1)
    wrong_side = 0.0 if shift > 5 else nct.cdf(-cut, datasets - 1, shift)  # below 1e-11 there, and scipy gives NaN
    return float(nct.sf(cut, datasets - 1, shift) + wrong_side) if shift < 30 else 1.0


def datasets_needed(difference: float, variances: Variances, repeats: float) -> int | None:
    """The fewest data sets for a power of 80%; None: more than 10,000, or the variances are not known."""
    return _fewest(lambda g: power(difference, variances, g, repeats), 2, variances)


def repeats_needed(difference: float, variances: Variances, datasets: int) -> int | None:
    """The fewest repeats on so many data sets for a power of 80%; None: no number of repeats is enough."""
    return _fewest(lambda r: power(difference, variances, datasets, r), 1, variances)


def detectable(variances: Variances, datasets: int, repeats: float) -> float:
    """The smallest true difference that is seen with a power of 80%, by bisection; NaN where that cannot be told."""
    spread = variances.tau2 + variances.sigma2 / repeats if repeats else math.nan
    if datasets < 2 or not spread > 0:
        return math.nan
    low, high = 0.0, 50 * math.sqrt(spread)
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (low, middle) if power(middle, variances, datasets, repeats) >= POWER else (middle, high)
    return high


def _fewest(power_of: Callable[[int], float], least: int, variances: Variances) -> int | None:
    """By bisection: power grows with the number."""
    if math.isnan(variances.tau2) or power_of(MOST) < POWER:
        return None
    low, high = least - 1, MOST
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if power_of(middle) >= POWER else (middle, high)
    return high
