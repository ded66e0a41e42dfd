"""Signal-free data: how often a signal is claimed there, and whether the p-values are uniform."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import kstest

from agents.studies.statistics.proportions import Interval, clopper_pearson
from tools.types import Floats


@dataclass(frozen=True)
class Claims:
    """`false` of `n` runs on signal-free data claim a signal; they are part of all `claims`."""

    false: int
    n: int
    rate: float
    interval: Interval
    claims: int
    fdr: float
    fdr_interval: Interval


@dataclass(frozen=True)
class Uniformity:
    """Kolmogorov-Smirnov tests of p-values against the uniform distribution expected without a signal."""

    n: int
    missing: int
    distance: float
    p: float
    p_too_small: float
    clusters: int
    p_clusters: float


def false_claims(claimed: NDArray[np.bool_], has_signal: NDArray[np.bool_]) -> Claims:
    """Count false claims of runs (n,): whether each claimed a signal and its data had one; exact intervals.

    rate: claims among signal-free runs (type I error). fdr: signal-free runs among claims, on *this* mix of data sets
    (the FDR of Benjamini and Hochberg, J. R. Stat. Soc. B 57 (1995) 289).
    """
    false, n, claims = int((claimed & ~has_signal).sum()), int((~has_signal).sum()), int(claimed.sum())
    return Claims(
        false=false,
        n=n,
        rate=false / n if n else math.nan,
        interval=clopper_pearson(false, n),
        claims=claims,
        fdr=false / claims if claims else math.nan,
        fdr_interval=clopper_pearson(false, claims),
    )


def uniformity(p: Floats, cluster: NDArray[np.int64]) -> Uniformity:
    """Test p-values (n,) of signal-free runs, NaN if none was given, on data sets (n,).

    `p_too_small` is one-sided: too many small p-values, which cause false claims; too many large ones only cost
    power. Runs on one data set share its fluctuations; `p_clusters` uses only the first p-value of each data set.
    """
    given = ~np.isnan(p)
    values, places = p[given], cluster[given]
    first = values[np.unique(places, return_index=True)[1]]
    if not len(values):
        return Uniformity(0, int((~given).sum()), math.nan, math.nan, math.nan, 0, math.nan)
    both = kstest(values, "uniform")
    return Uniformity(
        n=len(values),
        missing=int((~given).sum()),
        distance=float(both.statistic),
        p=float(both.pvalue),
        p_too_small=float(kstest(values, "uniform", alternative="greater").pvalue),
        clusters=len(first),
        p_clusters=float(kstest(first, "uniform").pvalue) if len(first) > 1 else math.nan,
    )
