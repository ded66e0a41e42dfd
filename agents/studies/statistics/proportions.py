"""Success rates: Wilson intervals for runs and for data sets, pass@k and pass^k."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest, norm, t

from tools.types import Floats

LEVEL = 0.95


class Interval(NamedTuple):
    """Ends of a confidence interval; NaN if there is none."""

    low: float
    high: float


NO_INTERVAL = Interval(math.nan, math.nan)


@dataclass(frozen=True)
class Rate:
    """A fraction of runs. `interval`: for new runs on these data sets; `wide`: for data sets like these."""

    successes: int
    n: int
    clusters: int
    value: float
    interval: Interval
    wide: Interval


def wilson(share: float, n: float, z: float | None = None) -> Interval:
    """Return Wilson's score interval (J. Am. Stat. Assoc. 22 (1927) 209) of a fraction of `n` (effective) trials.

    It contains all p with |share - p| <= z sqrt(p (1 - p) / n); z defaults to 1.96.

    >>> tuple(round(end, 3) for end in wilson(0.5, 10))
    (0.237, 0.763)
    """
    if n <= 0:
        return NO_INTERVAL
    z = float(norm.ppf(0.5 + LEVEL / 2)) if z is None else z
    scale = 1 + z**2 / n
    centre = (share + z**2 / (2 * n)) / scale
    half = z / scale * math.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    return Interval(max(0.0, centre - half), min(1.0, centre + half))


def clopper_pearson(successes: int, n: int) -> Interval:
    """Return the exact interval, with at least 95% coverage (Biometrika 26 (1934) 404), used for error rates."""
    if n == 0:
        return NO_INTERVAL
    found = binomtest(successes, n).proportion_ci(LEVEL, method="exact")
    return Interval(float(found.low), float(found.high))


def rate(successes: NDArray[np.bool_], cluster: NDArray[np.int64]) -> Rate:
    """Return the fraction of successes (n,), with Wilson intervals for runs and for clusters (n,), the data sets.

    The second interval uses the effective number of independent runs, from the variance between data sets, and
    Student's t for their small number (Korn and Graubard, Survey Methodology 24 (1998) 193). If all runs have the same
    outcome, that variance is unknown, and each data set counts as one run.
    """
    n, labels = len(successes), np.unique(cluster)
    k = int(successes.sum())
    if n == 0:
        return Rate(0, 0, 0, math.nan, NO_INTERVAL, NO_INTERVAL)
    share = k / n
    return Rate(k, n, len(labels), share, wilson(share, n), _wide(successes, cluster, labels))


def _wide(successes: NDArray[np.bool_], cluster: NDArray[np.int64], labels: NDArray[np.int64]) -> Interval:
    n, g, share = len(successes), len(labels), float(successes.mean())
    if g < 2:
        return NO_INTERVAL
    if share in (0.0, 1.0):
        return wilson(share, g)
    surplus = np.array([(successes[cluster == label] - share).sum() for label in labels])
    variance = g / (g - 1) * float((surplus**2).sum()) / n**2
    effective = min(float(n), share * (1 - share) / variance) if variance > 0 else float(n)
    return wilson(share, effective, float(t.ppf(0.5 + LEVEL / 2, g - 1)))


def pass_at_k(successes: Floats, n: Floats, k: int) -> Floats:
    """Estimate the probability that at least one of k runs succeeds, 1 - C(n-c, k) / C(n, k), without bias.

    arXiv:2107.03374, eq. 1. `successes`, `n`: (tasks,), for each task's runs. NaN for tasks with fewer than k runs.

    >>> pass_at_k(np.array([1.0]), np.array([4.0]), 2)
    array([0.5])
    """
    return 1 - _all_of_k(n - successes, n, k)


def pass_hat_k(successes: Floats, n: Floats, k: int) -> Floats:
    """Estimate the probability that all of k runs succeed, C(c, k) / C(n, k), without bias (arXiv:2406.12045).

    >>> pass_hat_k(np.array([3.0]), np.array([4.0]), 2)
    array([0.5])
    """
    return _all_of_k(successes, n, k)


def _all_of_k(c: Floats, n: Floats, k: int) -> Floats:
    """Return C(c, k) / C(n, k) (tasks,), computed as a product."""
    steps = np.arange(k, dtype=np.float64)[:, None]
    with np.errstate(divide="ignore", invalid="ignore"):
        product = np.prod(np.clip(c - steps, 0, None) / (n - steps), axis=0)
    return np.where(n >= k, product, np.nan)
