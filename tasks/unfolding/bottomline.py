"""Bottom-line test: unfolding can neither add nor lose much power to tell hypotheses from the data.

For each hypothesis (the simulation, and the other one or, without it, the simulation with a slope of SLOPE) and each
observable, chi^2 is computed in b quantile bins at detector level, where errors are those of counts, and in b unfolded
bins, with the covariance of n bootstraps and of the ensemble. The inverse of a sample covariance is too large by
(n - 1)/(n - b - 2), which is taken out (Hartlap et al., arXiv:astro-ph/0608064), and what is left is uncertain by
sqrt(2/(n - b - 4)). Rule, with a factor f = FACTOR + 2 sqrt(2/(n - b - 4)) and an allowance a = 2 sqrt(2 b), twice the
spread of chi^2:

    unfolded <= f detector + a      else the unfolded errors are too small, or the result is biased
    unfolded >= detector/f - a      else unfolding has lost what the data say

after the bottom-line test of Cousins, May and Sun (arXiv:1607.07038). FACTOR is above 1 because detector-level bins
lose some of what the method sees in the events, and other observables that are unfolded together add to it.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from tasks.unfolding.gate import Gate
from tasks.unfolding.samples import Samples
from tasks.unfolding.tables import Table
from tools.types import Floats
from tools.unfolding.read import UnfoldedEvents
from tools.unfolding.stress import slope

BINS = 3
FACTOR = 1.5
SLOPE = 0.2


def bottom_lines(samples: Samples, weights: Mapping[str, Floats], start: Floats) -> list[Gate]:
    """Return the test for each hypothesis; of the observables asked for, the one that is farthest from the rule.

    `start` (n,): weights of the simulated events, scaled to the data.
    """
    data = samples.data(unseen=False)
    simulation = samples.simulation
    passed = simulation["pass_gen"] > 0
    hypotheses: list[tuple[str, Table, Floats]] = [("simulation", simulation, start)]
    if samples.alternative:
        other = samples.alternative
        scale = len(data) / float(other["pass_reco"] @ other["weight"])
        hypotheses.append(("other simulation", other, scale * other["weight"]))
    else:
        gen = np.column_stack([simulation[name] for name in samples.columns("gen")])
        hypotheses.append((f"slope of {SLOPE:.0%}", simulation, start * slope(gen, passed, SLOPE)))
    return [_worst(samples, weights, data, *each) for each in hypotheses]


def _worst(
    samples: Samples, weights: Mapping[str, Floats], data: Floats, name: str, table: Table, weight: Floats
) -> Gate:
    n = sum(each.startswith("bootstrap_") for each in weights)
    known = n - BINS - 4
    factor = FACTOR + 2 * np.sqrt(2 / max(known, 1e-9))
    limit = f"chi2 within a factor {factor:.2g} of that at detector level, and twice its spread"
    if known <= 0:
        more = f"unfold with more than {BINS + 4} bootstraps"
        return Gate(name=f"bottom line, {name}", value=None, limit=limit, passed=None, more=more)
    found = []
    for k, x in enumerate(samples.asked):
        detector, b = _detector(samples.simulation, x.name, data[:, k], table, weight)
        unfolded = _unfolded(samples.simulation, x.name, weights, table, weight)
        allowed = 2 * np.sqrt(2 * b)
        above = unfolded - factor * detector - allowed
        below = detector / factor - allowed - unfolded
        found.append((max(above, below), x.name, detector, unfolded))
    worst, of, detector, unfolded = max(found)
    said = f"{of}: chi2 {unfolded:.1f} unfolded, {detector:.1f} at detector level, {BINS} bins"
    ratio = unfolded / max(detector, 1e-12)
    numbers = {"detector": detector, "unfolded": unfolded}
    return Gate(
        name=f"bottom line, {name}", value=ratio, limit=limit, passed=bool(worst <= 0), more=said, numbers=numbers
    )


def _edges(values: Floats) -> Floats:
    inner = np.unique(np.quantile(values, np.linspace(0, 1, BINS + 1)[1:-1]))
    return np.concatenate([[-np.inf], inner, [np.inf]])


def _detector(simulation: Table, x: str, data: Floats, table: Table, weight: Floats) -> tuple[float, int]:
    """Return chi^2 of the data and a hypothesis at detector level, and the number of bins."""
    edges = _edges(simulation[f"reco_{x}"][simulation["pass_reco"] > 0])
    seen = table["pass_reco"] > 0
    counts = np.histogram(data, edges)[0].astype(float)
    folded, squares = (np.histogram(table[f"reco_{x}"][seen], edges, weights=w[seen])[0] for w in (weight, weight**2))
    return float(np.sum((counts - folded) ** 2 / np.maximum(folded + squares, 1e-12))), len(counts)


def _unfolded(simulation: Table, x: str, weights: Mapping[str, Floats], table: Table, weight: Floats) -> float:
    """Return chi^2 of the unfolded distribution and the truth of a hypothesis, with statistical errors."""
    passed, there = simulation["pass_gen"] > 0, table["pass_gen"] > 0
    edges = _edges(simulation[f"gen_{x}"][passed])
    values = np.where(passed, simulation[f"gen_{x}"], np.nan)
    made = UnfoldedEvents({}, dict(weights), {}).histogram(values, edges)
    true, squares = (np.histogram(table[f"gen_{x}"][there], edges, weights=w[there])[0] for w in (weight, weight**2))
    n = sum(each.startswith("bootstrap_") for each in weights)
    covariance = made.parts["statistical"] * (n - 1) / (n - len(true) - 2)
    if "ensemble" in made.parts:
        covariance = covariance + made.parts["ensemble"]
    if table is not simulation:  # the replicas fluctuate with the events of the simulation
        covariance = covariance + np.diag(squares)
    difference = made.values - true
    return float(difference @ np.linalg.pinv(covariance, hermitian=True) @ difference)
