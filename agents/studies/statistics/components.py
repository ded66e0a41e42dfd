"""Sources of variation: variance components and intraclass correlation."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import f

from agents.studies.statistics.proportions import LEVEL, NO_INTERVAL, Interval
from tools.types import Floats

Ints = NDArray[np.int64]
REST = "repeat"


@dataclass(frozen=True)
class Icc:
    """Correlation of two runs on one data set. 0: they differ as much as on two data sets; 1: repeats agree."""

    value: float
    interval: Interval


def icc1(values: Floats, cluster: Ints) -> Icc:
    """Return ICC(1) of rows (n,) in clusters (n,), (MSB - MSW) / (MSB + (k0 - 1) MSW), with the F ratio's interval.

    One-way analysis of variance; k0 is the mean cluster size corrected for unequal sizes (Shrout and Fleiss, Psychol.
    Bull. 86 (1979) 420; Donner, Int. Stat. Rev. 54 (1986) 67). NaN: one cluster, no repeats, or no variation.
    """
    sizes = np.unique(cluster, return_counts=True)[1]
    n, g = len(values), len(sizes)
    if g < 2 or n == g:
        return Icc(math.nan, NO_INTERVAL)
    between = _between(values, cluster) / (g - 1)
    within = max(0.0, float(((values - values.mean()) ** 2).sum()) - between * (g - 1)) / (n - g)
    k0 = (n - float((sizes**2).sum()) / n) / (g - 1)
    scale = max(between, within)
    if scale <= 1e-12 * max(1.0, float(np.abs(values).max()) ** 2):
        return Icc(math.nan, NO_INTERVAL)
    value = (between - within) / (between + (k0 - 1) * within)
    if within <= 1e-12 * scale:
        return Icc(1.0, Interval(1.0, 1.0))
    ends = (between / within / f.ppf(q, g - 1, n - g) for q in (0.5 + LEVEL / 2, 0.5 - LEVEL / 2))
    low, high = ((ratio - 1) / (ratio + k0 - 1) for ratio in ends)
    return Icc(float(value), Interval(float(low), float(high)))


def components(values: Floats, factors: Mapping[str, Ints]) -> dict[str, float]:
    """Return the variances of the factors (n,), of their interactions, and of the rest: repeats with other seeds.

    Henderson's method 1 (Biometrics 9 (1953) 226): for a grouping A, SS_A = sum_a n_a (mean_a - mean)^2 has the
    expectation sum_B s2_B (sum_ab n_ab^2 / n_a - sum_b n_b^2 / n), linear in the components; the total sum of squares
    gives the last equation. Unbiased also for unequal numbers of runs; for equal ones it is the usual analysis of
    variance. Estimates may be negative, which means: not different from zero. Factors with one level are left out, and
    so are interactions with the same grouping as another term.
    """
    n, terms = len(values), _terms(factors)
    names = [*terms, REST]
    if n < 2 or len({*terms}) + 1 > n:
        return dict.fromkeys(names, math.nan)
    groupings = [*terms.values(), np.arange(n)]
    squares = np.array([_between(values, grouping) for grouping in groupings])
    matrix = np.array([[_expected(a, b) for b in groupings] for a in groupings])
    found = np.linalg.lstsq(matrix, squares, rcond=None)[0]
    return {name: float(value) for name, value in zip(names, found, strict=True)}


def shares(found: Mapping[str, float]) -> dict[str, float]:
    """Return fractions of the total variance, with negative estimates set to zero; NaN if nothing varies."""
    kept = {name: max(0.0, value) for name, value in found.items()}
    total = sum(kept.values())
    return {name: value / total if total > 0 else math.nan for name, value in kept.items()}


def _terms(factors: Mapping[str, Ints]) -> dict[str, Ints]:
    """Return all distinguishable groupings, main effects first."""
    varied = {name: np.unique(labels, return_inverse=True)[1] for name, labels in factors.items()}
    varied = {name: labels for name, labels in varied.items() if len(labels) and labels.max() > 0}
    terms: dict[str, Ints] = {}
    for size in range(1, len(varied) + 1):
        for chosen in itertools.combinations(varied, size):
            stacked = np.stack([varied[name] for name in chosen])
            grouping = np.unique(stacked, axis=1, return_inverse=True)[1].reshape(-1)
            groups = int(grouping.max()) + 1
            known = {int(other.max()) + 1 for other in terms.values() if _nested(grouping, other)}
            if groups < len(grouping) and groups not in known:
                terms[" × ".join(chosen)] = grouping
    return terms


def _nested(fine: Ints, coarse: Ints) -> bool:
    """Return True if each group of `fine` lies inside a group of `coarse`."""
    return len(np.unique(np.stack([fine, coarse]), axis=1).T) == int(fine.max()) + 1


def _between(values: Floats, grouping: Ints) -> float:
    """Return the sum of squares between groups, sum_a n_a (mean_a - mean)^2."""
    place = np.unique(grouping, return_inverse=True)[1]
    sizes = np.bincount(place)
    means = np.bincount(place, values) / sizes
    return float((sizes * (means - values.mean()) ** 2).sum())


def _expected(a: Ints, b: Ints) -> float:
    """Return the coefficient of the variance of b in the expected sum of squares between the groups of a."""
    pairs, counts = np.unique(np.stack([a, b]), axis=1, return_counts=True)
    sizes_a, sizes_b = np.bincount(a), np.bincount(b)
    return float((counts**2 / sizes_a[pairs[0]]).sum() - (sizes_b**2).sum() / len(a))
