"""Metrics that need the truth: distances to it in one observable and in two, and coverage of the stated errors."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations

import numpy as np

from tasks.score import Metric
from tasks.unfolding.weights import MEANS
from tools.events.zjets_jets import OBSERVABLES
from tools.omnifold.discriminator import triangular
from tools.omnifold.read import UnfoldedEvents
from tools.types import Floats

BINS = 50  # for discriminators, as in arXiv:1911.09107
PAIR_BINS = 10  # quantile bins of each of two observables
COVERAGE_BINS = 20  # quantile bins


def distances(simulation: Mapping[str, Floats], start: Floats, weights: Floats, truth: Floats) -> list[Metric]:
    """Compute triangular discriminators x 1000 at particle level with `weights` (n,); before unfolding: `start` (n,).

    `truth` (m, 6): the true observables. Simulated events that fail gen have no weight.
    """
    rows = start > 0
    gen = np.column_stack([simulation[f"gen_{x}"][rows] for x in OBSERVABLES])
    metrics, used = [], (start[rows], weights[rows])
    noise = f"{250 * BINS * (1 / len(truth) + 1 / rows.sum()):.2g} from fluctuations alone"
    for k, name in enumerate(OBSERVABLES):
        low, high = np.quantile(truth[:, k], (0.001, 0.999))
        edges = np.linspace(low, high, BINS + 1)
        true = np.histogram(truth[:, k], edges)[0].astype(float)
        before, after = (triangular(true, np.histogram(gen[:, k], edges, weights=w)[0].astype(float)) for w in used)
        metrics.append(Metric(name=f"delta_{name}", value=after, note=f"x 1000; before {before:.3g}, {noise}"))
    pairs: tuple[list[float], list[float]] = ([], [])
    inner = [np.quantile(truth[:, k], np.linspace(0, 1, PAIR_BINS + 1)[1:-1]) for k in range(len(OBSERVABLES))]
    for a, b in combinations(range(len(OBSERVABLES)), 2):
        true_bin, bin_ = (
            np.searchsorted(inner[a], x[:, a], "right") * PAIR_BINS + np.searchsorted(inner[b], x[:, b], "right")
            for x in (truth, gen)
        )
        true = np.bincount(true_bin, minlength=PAIR_BINS**2).astype(float)
        for found, w in zip(pairs, used, strict=True):
            found.append(triangular(true, np.bincount(bin_, w, PAIR_BINS**2).astype(float)))
    worst = list(combinations(OBSERVABLES, 2))[int(np.argmax(pairs[1]))]
    noise = f"{250 * PAIR_BINS**2 * (1 / len(truth) + 1 / rows.sum()):.2g} from fluctuations alone"
    note = (
        f"x 1000, mean of {len(pairs[1])} pairs; before {np.mean(pairs[0]):.3g}, {noise}; worst {' and '.join(worst)}"
    )
    return [*metrics, Metric(name="delta_pairs", value=float(np.mean(pairs[1])), note=note)]


def coverage(
    simulation: Mapping[str, Floats], weights: Mapping[str, Floats], truth: Floats
) -> tuple[list[Metric], dict[str, list[float]]]:
    """Return the fraction of bins of MEANS whose stated error covers the truth, and histograms for the report."""
    unfolded = UnfoldedEvents({}, dict(weights), {})
    passed = weights["nominal"] > 0
    pulls: list[Floats] = []
    relative: list[Floats] = []
    curves: dict[str, list[float]] = {}
    for name in MEANS:
        true = truth[:, OBSERVABLES.index(name)]
        edges = np.unique(np.quantile(true, np.linspace(0, 1, COVERAGE_BINS + 1)))
        edges[-1] = np.nextafter(edges[-1], np.inf)
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
    note = f"of {len(pull)} bins of {', '.join(MEANS)}; the truth fluctuates with the data, so {{}} or more is expected"
    metrics = [
        Metric(name=f"coverage_{n}_sigma", value=float(np.mean(pull <= n)), note=note.format(expected))
        for n, expected in ((1, 0.68), (2, 0.95))
    ]
    # Shows errors that cover only because they are large.
    size = Metric(
        name="median_error", value=float(np.median(np.concatenate(relative))), note="stated relative error of a bin"
    )
    return [*metrics, size], curves
