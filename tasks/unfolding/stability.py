"""Convergence of an unfolding: what its last iteration still changed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from tasks.unfolding.naming import Observable
from tasks.unfolding.samples import edges_of
from tools.types import Floats
from tools.unfolding.read import UnfoldedEvents

BINS = 10  # quantile bins of the simulation, unless the operator gives others
PREFIX = "iteration_"  # the first member of the ensemble, one iteration before the last


def iterations(weights: Mapping[str, Floats]) -> int | None:
    """Return the number of iterations, or None if the file does not say."""
    before = [name.removeprefix(PREFIX) for name in weights if name.startswith(PREFIX)]
    return int(before[0]) + 1 if before and before[0].isdecimal() and len(before[0]) < 4 else None


def last_change(
    simulation: Mapping[str, Floats], weights: Mapping[str, Floats], asked: Sequence[Observable]
) -> float | None:
    """Return the largest change of a bin of what was asked for in the last iteration, in units of its stated error.

    It is well below 1 if the number of iterations does not matter; None if the file lacks these weights.
    """
    before = [name for name in weights if name.startswith(PREFIX)]
    if not before or "ensemble_0" not in weights:
        return None
    unfolded = UnfoldedEvents({}, dict(weights), {})
    passed = simulation["pass_gen"] > 0
    found = []
    for x in asked:
        values = simulation[f"gen_{x.name}"]
        edges = edges_of(x, values[passed], BINS, open_ends=True)
        index = np.where(passed, values, np.nan)
        error = unfolded.histogram(index, edges).errors
        after, then = (np.histogram(index, edges, weights=weights[w])[0] for w in ("ensemble_0", before[-1]))
        found.append(np.abs(after - then) / np.maximum(error, 1e-12))
    return float(np.max(np.concatenate(found)))
