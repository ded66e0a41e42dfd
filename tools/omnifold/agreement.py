"""Test whether data and reweighted simulation agree at detector level, to decide without truth when to stop.

The size of chi^2 does not: it has the fluctuations of the data in it, which no number of iterations removes, and where
it first falls to the number of bins the bias is still as large as the statistical error. What an update gains does.
Updates shrink each part of the difference by a factor of its own; after k of them the rest is no longer significant,
and as many again square the factors: what is left is small beside the errors, which grow by some 10% to 20%.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tools.omnifold.problem import Problem
from tools.types import Floats

BINS = 40  # per observable
SIGNIFICANT = 1.5  # standard deviations


@dataclass(frozen=True)
class Agreement:
    """chi^2 (d,) of data and weighted simulation over the filled bins (d,) of each observable."""

    chi2: Floats
    bins: Floats

    def per_bin(self) -> tuple[float, float]:
        """chi^2 over bins of all observables, about 1 where both differ by fluctuations alone; its spread if so."""
        n = float(self.bins.sum())
        return float(self.chi2.sum()) / n, float(np.sqrt(2 / n))


def agreement(problem: Problem, push: Floats) -> Agreement:
    """Compare data with simulation weighted by push, in quantile bins of both; sum w^2 of both is a bin's variance."""
    rows = problem.pass_reco
    weight = (problem.weight * push)[rows]
    found = []
    for data, reco in zip(problem.data.T, problem.reco[rows].T, strict=True):
        inner = np.unique(np.quantile(np.concatenate([data, reco]), np.linspace(0, 1, BINS + 1)[1:-1]))
        bins = [np.searchsorted(inner, x, "right") for x in (data, reco)]
        n = len(inner) + 1
        difference = np.bincount(bins[0], problem.data_weight, n) - np.bincount(bins[1], weight, n)
        variance = np.bincount(bins[0], problem.data_weight**2, n) + np.bincount(bins[1], weight**2, n)
        filled = variance > 0
        found.append((np.sum(difference[filled] ** 2 / variance[filled]), filled.sum()))
    return Agreement(*np.array(found, dtype=float).T)


def enough(history: Sequence[Agreement]) -> int | None:
    """Return the number of updates to make once one has gained nothing, before that None; `history`: start, updates.

    k updates gained, so 2k are made, and one at least. A gain is chi^2 that falls by SIGNIFICANT^2 in some observable.
    """
    if len(history) < 2 or np.any(history[-2].chi2 - history[-1].chi2 >= SIGNIFICANT**2):
        return None
    return max(1, 2 * (len(history) - 2))
