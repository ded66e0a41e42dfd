"""How much a cut shapes a mass spectrum: 1/JSD (arXiv:2307.05187), beside what statistics allow.

JSD is the Jensen-Shannon divergence, in bits, of the spectra of the events that pass and of all events,

    JSD = [KL(p, (p + q) / 2) + KL(q, (p + q) / 2)] / 2,

in bins that hold equal shares of all events. A cut that knows nothing of the mass has JSD > 0 too, because n passing
events of N fluctuate: JSD is then about (bins - 1) (1/n - 1/N) / (8 ln 2). The ceiling is the median 1/JSD of random
selections of n events; the same selections give a p-value.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import rel_entr

from tools.types import Floats

BINS = 30
TOYS = 400


@dataclass(frozen=True)
class Dependence:
    """1/JSD of one cut; `ceiling`: median of random selections of as many events; `low`, `high`: 5 and 95% of them."""

    passing: int
    inverse_jsd: float
    ceiling: float
    low: float
    high: float
    p_value: float  # how often a random selection has as large a JSD

    @property
    def over_ceiling(self) -> float:
        return self.inverse_jsd / self.ceiling


def dependence(
    mass: Floats, passed: NDArray[np.bool_], bins: int = BINS, n_toys: int = TOYS, seed: int = 1
) -> Dependence:
    """Return how far the mass spectrum of the passing events (n,) differs from that of all, mass (n,).

    Raises ValueError if no event passes, or all do.
    """
    passing = int(passed.sum())
    if not 0 < passing < len(mass):
        raise ValueError(f"{passing} of {len(mass)} events pass: some must pass and some fail")
    place = np.searchsorted(edges(mass, bins), mass, "right")
    total = np.bincount(place, minlength=bins)
    kept = np.bincount(place[passed], minlength=bins)
    drawn = np.random.default_rng(seed).multivariate_hypergeometric(total, passing, n_toys)
    found, toys = jsd(kept, total), jsd(drawn, total)
    low, middle, high = np.quantile(1 / toys, [0.05, 0.5, 0.95])
    above = int((toys >= found * (1 - 1e-12)).sum())
    return Dependence(passing, float(1 / found), float(middle), float(low), float(high), (1 + above) / (1 + n_toys))


def edges(mass: Floats, bins: int = BINS) -> Floats:
    """Return the inner edges (bins - 1,) of bins with equal shares of the events."""
    return np.quantile(mass, np.arange(1, bins) / bins)


def jsd(counts: NDArray[np.int64], others: NDArray[np.int64]) -> Floats:
    """Return the Jensen-Shannon divergence in bits of counts (..., bins); two disjoint spectra have 1.

    >>> float(jsd(np.array([5, 0]), np.array([0, 7])))
    1.0
    """
    p, q = (each / each.sum(axis=-1, keepdims=True) for each in (counts, others))
    middle = (p + q) / 2
    bits = (rel_entr(p, middle) + rel_entr(q, middle)).sum(axis=-1) / (2 * np.log(2))
    return np.asarray(np.maximum(bits, np.finfo(float).tiny))
