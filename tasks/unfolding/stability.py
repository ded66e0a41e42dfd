"""Whether an unfolding has converged: what its last iteration still changed."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from tasks.unfolding.weights import MEANS
from tools.omnifold.read import UnfoldedEvents
from tools.types import Floats

BINS = 10  # quantiles of the simulation
PREFIX = "iteration_"  # the first member of the ensemble, one iteration before its end


def last_change(simulation: Mapping[str, Floats], weights: Mapping[str, Floats]) -> float | None:
    """Largest change of a bin of MEANS by the last iteration, over the stated error of the bin.

    Well below 1 where the number of iterations does not decide the result; None where the file does not have it.
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
