"""Metrics that need the truth: distances to it in one observable and in two, and coverage of the stated errors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from tasks.score import Metric
from tasks.unfolding.naming import Observable
from tasks.unfolding.samples import edges_of
from tools.types import Floats
from tools.unfolding.discriminator import floor, triangular
from tools.unfolding.read import UnfoldedEvents

BINS = 50  # for discriminators, as in arXiv:1911.09107
PAIR_BINS = 10  # quantile bins of each of two observables
COVERAGE_BINS = 20  # quantile bins, unless the operator gives others
Ints = NDArray[np.int64]


def distances(
    simulation: Mapping[str, Floats], start: Floats, weights: Floats, truth: Floats, names: Sequence[str]
) -> list[Metric]:
    """Compute triangular discriminators x 1000 at particle level with `weights` (n,); before unfolding: `start` (n,).

    `truth` (m, d): the true observables `names`. Simulated events that fail gen have no weight.
    """
    rows = start > 0
    gen = np.column_stack([simulation[f"gen_{x}"][rows] for x in names])
    metrics, used = [], (start[rows], weights[rows])
    for k, name in enumerate(names):
        low, high = np.quantile(truth[:, k], (0.001, 0.999))
        edges = np.linspace(float(low), float(high), BINS + 1)
        true, simulated = (np.searchsorted(edges, x[:, k], "right") for x in (truth, gen))
        before, after, least = _three(true, simulated, used, BINS + 2)
        metrics.append(Metric(name=f"delta_{name}", value=after, note=f"x 1000; {_beside(before, least)}"))
    if len(names) < 2:
        return metrics
    edges = np.quantile(truth, np.linspace(0, 1, PAIR_BINS + 1)[1:-1], axis=0)
    coarse = [[np.searchsorted(e, x, "right") for e, x in zip(edges.T, of.T, strict=True)] for of in (truth, gen)]
    pairs, found = list(combinations(range(len(names)), 2)), []
    for a, b in pairs:
        true, simulated = (bins[a] * PAIR_BINS + bins[b] for bins in coarse)
        found.append(_three(true, simulated, used, PAIR_BINS**2))
    before, after, least = (float(x) for x in np.mean(found, axis=0))
    worst = " and ".join(names[i] for i in pairs[int(np.argmax([each[1] for each in found]))])
    note = f"x 1000, mean of {len(pairs)} pairs; {_beside(before, least)}; worst {worst}"
    return [*metrics, Metric(name="delta_pairs", value=after, note=note)]


def _three(true: Ints, simulated: Ints, used: tuple[Floats, Floats], n: int) -> tuple[float, float, float]:
    """Return the discriminator before and after unfolding, and that of two equal samples, for events in n bins."""
    target = np.bincount(true, minlength=n).astype(float)
    before, after = (np.bincount(simulated, w, n).astype(float) for w in used)
    squares = np.bincount(simulated, used[0] ** 2, n).astype(float)
    return triangular(target, before), triangular(target, after), floor(target, before, target, squares)


def _beside(before: float, least: float) -> str:
    return f"before {before:.3g}; two equal samples {least:.2g}"


def coverage(
    simulation: Mapping[str, Floats], weights: Mapping[str, Floats], truth: Floats, asked: Sequence[Observable]
) -> tuple[list[Metric], dict[str, list[float]]]:
    """Return the fraction of bins whose stated error covers the truth, and histograms for the report.

    `truth` (m, d): the true observables, of which those in `asked` are the first.
    """
    unfolded = UnfoldedEvents({}, dict(weights), {})
    passed = weights["nominal"] > 0
    pulls: list[Floats] = []
    relative: list[Floats] = []
    curves: dict[str, list[float]] = {}
    for k, x in enumerate(asked):
        name, true = x.name, truth[:, k]
        edges = edges_of(x, true, COVERAGE_BINS)
        values = np.where(passed, simulation[f"gen_{name}"], np.nan)
        found = unfolded.histogram(values, edges, normalised=True)
        counts = np.histogram(true, edges)[0]
        expected = counts / counts.sum()
        pulls.append((found.values - expected) / np.maximum(found.errors, 1e-12))
        relative.append(found.errors / np.maximum(found.values, 1e-12))
        before = np.histogram(simulation[f"gen_{name}"], edges, weights=simulation["weight"] * simulation["pass_gen"])[
            0
        ]
        curves |= {
            f"{name}_edges": edges.tolist(),
            f"{name}_truth": expected.tolist(),
            f"{name}_unfolded": found.values.tolist(),
            f"{name}_error": found.errors.tolist(),
            f"{name}_simulation": (before / before.sum()).tolist(),
        }
    pull = np.abs(np.concatenate(pulls))
    names = ", ".join(x.name for x in asked)
    note = f"of {len(pull)} bins of {names}; the truth fluctuates with the data, so {{}} or more is expected"
    metrics = [
        Metric(name=f"coverage_{n}_sigma", value=float(np.mean(pull <= n)), note=note.format(expected))
        for n, expected in ((1, 0.68), (2, 0.95))
    ]
    # Shows errors that cover only because they are large.
    size = Metric(
        name="median_error", value=float(np.median(np.concatenate(relative))), note="stated relative error of a bin"
    )
    return [*metrics, size], curves
