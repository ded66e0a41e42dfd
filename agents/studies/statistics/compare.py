"""Comparison of two backends on the same data sets: sign-flip tests of paired differences, and Holm's correction."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from agents.studies.statistics.proportions import NO_INTERVAL, Interval
from agents.studies.statistics.spread import bootstrap
from tools.types import Floats

EXACT = 1 << 14  # up to this many sign patterns are enumerated; beyond, this many are drawn
CHUNK = 1 << 10  # patterns at a time, to limit memory


@dataclass(frozen=True)
class Difference:
    """Mean of a - b over pairs. `p_runs`: on these data sets; `p_datasets`: for data sets like these."""

    pairs: int
    clusters: int
    value: float
    interval: Interval
    p_runs: float
    p_datasets: float
    p_datasets_least: float


def compare(differences: Floats, cluster: NDArray[np.int64], seed: int = 1) -> Difference:
    """Test differences (n,) of pairs that share data set `cluster` (n,), wording and seed.

    On these data sets the two runs of a pair are exchangeable if the backends are equally good on each of them. Whether
    a difference holds for other data sets is another question: a backend may happen to do well on one of them, so the
    signs of all its pairs flip together. With G data sets this test cannot give a p-value below 2^(1-G).
    """
    labels, place = np.unique(cluster, return_inverse=True)
    n, g = len(differences), len(labels)
    if n == 0:
        return Difference(0, 0, math.nan, NO_INTERVAL, math.nan, math.nan, math.nan)
    sums: Floats = np.bincount(place, differences).astype(np.float64)
    return Difference(
        pairs=n,
        clusters=g,
        value=float(differences.mean()),
        interval=bootstrap(differences, cluster, seed=seed),
        p_runs=sign_flip(differences, seed),
        p_datasets=sign_flip(sums, seed) if g > 1 else math.nan,
        p_datasets_least=2.0 ** (1 - g) if g > 1 else math.nan,
    )


def sign_flip(differences: Floats, seed: int = 1) -> float:
    """Return the two-sided p-value for zero mean: the fraction of sign patterns with |sum| at least the observed one.

    Uses all 2^n patterns if they are few, else random ones plus the observed one (Phipson and Smyth, Stat. Appl. Genet.
    Mol. Biol. 9 (2010) 39). Zeros have no sign and do not count. Fisher, The Design of Experiments (1935), 21.

    >>> sign_flip(np.array([1.0, 2.0, 3.0, 0.0]))
    0.25
    """
    moved = differences[differences != 0]
    n = len(moved)
    observed = abs(float(moved.sum()))
    least = observed - 1e-9 * float(np.abs(moved).sum())  # equal sums differ by rounding
    if 2**n <= EXACT:
        signs = 1 - 2 * ((np.arange(2**n)[:, None] >> np.arange(n)) & 1)
        return float((np.abs(signs @ moved) >= least).mean())
    random, extreme = np.random.default_rng(seed), 0
    for _ in range(EXACT // CHUNK):
        signs = random.choice(np.array([-1.0, 1.0]), (CHUNK, n))
        extreme += int((np.abs(signs @ moved) >= least).sum())
    return (1 + extreme) / (1 + EXACT)


def holm(p: Floats) -> Floats:
    """Return adjusted p-values (n,): rejecting below alpha keeps the family-wise error rate below alpha.

    Step-down Bonferroni (Holm, Scand. J. Stat. 6 (1979) 65); NaN, a test that was not possible, does not count.

    >>> [round(float(x), 3) for x in holm(np.array([0.01, 0.04, 0.03, np.nan]))]
    [0.03, 0.06, 0.06, nan]
    """
    made = np.flatnonzero(~np.isnan(p))
    order = made[np.argsort(p[made], kind="stable")]
    adjusted = np.full(len(p), np.nan)
    factors = len(made) - np.arange(len(made))
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(p[order] * factors)) if len(made) else []
    return adjusted
