"""Convergence of an unfolding: what its last iteration still changed."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from tasks.unfolding.weights import MEANS
from tools.omnifold.read import UnfoldedEvents
from tools.types import Floats

BINS = 10  # quantile bins of the simulation
PREFIX = "iteration_"  # the first member of the ensemble, one iteration before the last


def last_change(simulation: Mapping[str, Floats], weights: Mapping[str, Floats]) -> float | None:
    """Return the largest change of a bin of MEANS in the last iteration, in units of the bin's stated error.

    It is well below 1 if the number of iterations does not matter; None if the file lacks these weights.
    """
    before = [name for name in weights if name.startswith(PREFIX)]
    if not before or "ensemble_0" not in weights:
        return None
    unfolded = UnfoldedEvents({}, dict(weights), {})
    passed = simulation["pass_gen"] > 0
    found = []
    for name in MEANS:
        values = simulation[f"gen_{name}"]
        inner = np.unique(np.quantile(values[passed], np.linspace(0, 1, BINS + 1)[1:-1]))
        edges = np.concatenate([[-np.inf], inner, [np.inf]])
        index = np.where(passed, values, np.nan)
        error = unfolded.histogram(index, edges).errors
        after, then = (np.histogram(index, edges, weights=weights[w])[0] for w in ("ensemble_0", before[-1]))
        found.append(np.abs(after - then) / np.maximum(error, 1e-12))
    return float(np.max(np.concatenate(found)))
