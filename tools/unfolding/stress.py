"""Stress tests: data whose truth is known, and other starting points of the unfolding.

    stress_a       the simulation's own truth, times a slope, 1 + a/100 u, folded with its own response, serves as data;
                   the simulation without the slope unfolds it. u runs evenly from -1 to 1 along `direction`
    prior_slope    the data, unfolded from a simulation with a slope of SLOPE
    prior_flat     the data, unfolded from a simulation that is flat in the first observable, within a factor of LIMIT

Data of `stress_a` do not fluctuate on their own: they are the events of the simulation, so a deviation from the truth
is a bias of the method (with its iterations, and training), to be compared with the errors stated for real data.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from tools.types import Floats
from tools.unfolding.problem import Problem

SIZES = (5, 10, 20, 50)  # percent
SLOPE, LIMIT = 0.5, 3.0
BINS = 30  # quantile bins in which the density of the first observable is measured
NAMES = (*(f"stress_{size}" for size in SIZES), "prior_slope", "prior_flat")


def direction(gen: Floats) -> Floats:
    """Return u (n,), evenly from -1 to 1, along what the observables (n, d) have in common.

    It is the rank of the sum of the observables' ranks; one that falls when the first rises counts with a minus sign.
    """
    from scipy.stats import rankdata  # slow to import

    ranks = rankdata(gen, axis=0)
    centred = ranks - ranks.mean(axis=0)
    sign = np.where(centred.T @ centred[:, 0] < 0, -1.0, 1.0)
    return np.asarray(2 * (rankdata(ranks @ sign) - 0.5) / len(gen) - 1)


def slope(gen: Floats, passed: np.ndarray[tuple[int], np.dtype[np.bool_]], size: float) -> Floats:
    """Return 1 + size u (n,) for the events that pass gen, with observables `gen` (n, d); 1 for others (fakes)."""
    factor = np.ones(len(gen))
    factor[passed] += size * direction(gen[passed])
    return factor


def stressed(problem: Problem, size: float) -> Problem:
    """Return the problem with the folded simulation as data, its truth times a slope."""
    seen = problem.pass_reco
    weight = problem.weight * slope(problem.gen, problem.pass_gen, size)
    return replace(problem, data=problem.reco[seen], data_weight=weight[seen])


def other_prior(problem: Problem, name: str) -> Problem:
    """Return the problem with another particle level of the simulation to start from: "slope" or "flat"."""
    passed = problem.pass_gen
    if name == "slope":
        factor = slope(problem.gen, passed, SLOPE)
    else:
        factor = np.ones(len(problem))
        factor[passed] = _flattening(problem.gen[passed, 0], problem.weight[passed])
    # The data say how many events there are: the other prior has as many that pass reco.
    weight = problem.weight * factor
    genuine = problem.matched
    weight[passed] *= problem.weight[genuine].sum() / weight[genuine].sum()
    return problem.reweighted(weight=weight)


def of(problem: Problem, name: str) -> Problem:
    """Return the problem of a replica of NAMES."""
    kind, _, rest = name.partition("_")
    return stressed(problem, int(rest) / 100) if kind == "stress" else other_prior(problem, rest)


def _flattening(x: Floats, weight: Floats) -> Floats:
    """Return factors (n,) that make the distribution of x (n,) flat, within LIMIT of their median."""
    edges = np.unique(np.quantile(x, np.linspace(0, 1, BINS + 1)))
    here = np.clip(np.searchsorted(edges, x, "right") - 1, 0, len(edges) - 2)
    density = np.bincount(here, weight, len(edges) - 1) / np.diff(edges)
    inverse = (1 / np.maximum(density, 1e-300))[here]
    return np.asarray(np.clip(inverse / np.median(inverse), 1 / LIMIT, LIMIT))
