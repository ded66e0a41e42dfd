"""Whether data and reweighted simulation agree at detector level: what decides, without truth, when to stop."""

from __future__ import annotations

import numpy as np

from tools.omnifold.problem import Floats, Problem

BINS = 40  # per observable


def chi2(problem: Problem, push: Floats) -> tuple[float, float]:
    """chi^2 over bins of data and simulation weighted by push, mean over the observables; its spread if they agree.

    In quantile bins of both samples together; the variance of a bin is sum w^2 of both. About 1 where the two differ by
    their statistical fluctuations alone.
    """
    rows = problem.pass_reco
    weight = (problem.weight * push)[rows]
    total, n_bins = 0.0, 0
    for data, reco in zip(problem.data.T, problem.reco[rows].T, strict=True):
        inner = np.unique(np.quantile(np.concatenate([data, reco]), np.linspace(0, 1, BINS + 1)[1:-1]))
        bins = [np.searchsorted(inner, x, "right") for x in (data, reco)]
        n = len(inner) + 1
        difference = np.bincount(bins[0], problem.data_weight, n) - np.bincount(bins[1], weight, n)
        variance = np.bincount(bins[0], problem.data_weight**2, n) + np.bincount(bins[1], weight**2, n)
        filled = variance > 0
        total += float(np.sum(difference[filled] ** 2 / variance[filled]))
        n_bins += int(filled.sum())
    return total / n_bins, float(np.sqrt(2 / n_bins))
