"""Stopping criterion without truth: agreement of data and reweighted simulation at detector level.

The value of chi^2 is no such criterion: it includes the fluctuations of the data, which no number of iterations
removes, and when it first falls to the number of bins the bias is still as large as the statistical error. The
improvement per update is one. Updates shrink each component of the difference by its own factor; if the rest is not
significant after k updates, another k square the factors: the remaining difference is then small compared with the
errors, which grow by 10% to 20%.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tools.types import Floats
from tools.unfolding.problem import Problem

BINS = 40  # per observable
SIGNIFICANT = 1.5  # standard deviations


@dataclass(frozen=True)
class Agreement:
    """chi^2 (d,) of data and weighted simulation, and number of filled bins (d,), per observable."""

    chi2: Floats
    bins: Floats

    def per_bin(self) -> tuple[float, float]:
        """Return chi^2 per bin over all observables, about 1 if only fluctuations differ, and its spread then."""
        n = float(self.bins.sum())
        return float(self.chi2.sum()) / n, float(np.sqrt(2 / n))


def agreement(problem: Problem, push: Floats) -> Agreement:
    """Compare data with simulation weighted by push, in quantile bins of both; a bin's variance is sum w^2 of both."""
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
    """Return the total number of updates to make, or None while updates still improve the agreement.

    `history`: agreement at the start and after each update. If k updates improved it, 2k are made, and at least one. An
    improvement is a drop in chi^2 by SIGNIFICANT^2 in some observable.
    """
    if len(history) < 2 or np.any(history[-2].chi2 - history[-1].chi2 >= SIGNIFICANT**2):
        return None
    return max(1, 2 * (len(history) - 2))
