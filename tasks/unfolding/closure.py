"""Closure test: the harness runs the commands that made the best weights on data whose particle level is known.

The other simulation serves as data. It differs from the first one in response and shape as nature may, so a method that
closes here can be trusted there, and no truth of nature is needed.

If the commands also unfold with the other simulation, they now unfold it with itself: `weights_model` has to give its
own particle level, and any deviation is due to the method alone (self-closure). If they unfold by another method, too,
`weights_method` says how that one closes.
"""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from sandbox.reader import read_bytes
from tasks.score import Score
from tasks.submission import MAX_BYTES
from tasks.unfolding.grader import BOOTSTRAPS, Comparison
from tasks.unfolding.samples import Samples
from tasks.unfolding.sealed import coverage
from tasks.unfolding.stability import last_change
from tasks.unfolding.submission import WeightsSubmission
from tasks.unfolding.weights import read_weights
from tools.types import Floats

METRIC = "closure: share of the particle-level difference removed"
SHUFFLE = 12  # with the seed of the task, decides the order of the events


def pseudo_data(samples: Samples, seed: int) -> Floats:
    """Return detector-level observables (n, d) of the other simulation, in random order."""
    table = samples.as_nature(seed)
    rows = np.flatnonzero(table["pass_reco"] > 0)
    rows = np.random.default_rng([seed, SHUFFLE]).permutation(rows)
    return np.column_stack([table[name][rows] for name in samples.columns("reco")])


def judge(submission: WeightsSubmission, workspace: Path, samples: Samples, drawn: int, seed: int = 1) -> Score:
    """Return 1 - X(weights) / X(simulation as it is) at particle level, with X as in the steering score.

    `drawn`: the seed that `pseudo_data` was given.
    """
    simulation, other = samples.simulation, samples.as_nature(drawn)
    passed = simulation["pass_gen"] > 0
    try:
        weights = read_weights(workspace, submission.weights, passed, samples.nuisances)
    except ValueError as reason:
        return Score(metric=METRIC, value=None, reason=str(reason))
    truth = np.column_stack([other[name][other["pass_gen"] > 0] for name in samples.columns("gen")])
    compare = Comparison(simulation, truth, samples.names, level="gen")
    start = simulation["weight"]
    before, after = compare.folded(start, start), compare.folded(weights["nominal"], start)
    rng = np.random.default_rng(seed)
    toys = [compare.share(before, after, rng.poisson(1.0, compare.n_data)) for _ in range(BOOTSTRAPS)]
    covered = {metric.name: metric.value for metric in coverage(simulation, weights, truth, samples.asked)[0]}
    by_itself, by_other = (compare.share_of(weights.get(name), start, before) for name in ("model", "method"))
    change = last_change(simulation, weights, samples.asked)
    said = (
        f"the other simulation unfolded as data: {covered['coverage_1_sigma']:.0%} of the bins within one "
        f"stated error, {covered['coverage_2_sigma']:.0%} within two"
    )
    if by_other is not None:
        said += f"; the other method: {by_other:.0%} removed"
    if by_itself is not None:
        said += f"; unfolded with itself: {by_itself:.0%} removed"
    if change is not None:
        said += f"; the last iteration changed no bin by more than {change:.2f} of its error"
    details: dict[str, Any] = covered | {
        "self_closure": by_itself,
        "share_of_the_other_method": by_other,
        "last_iteration_change": change,
        "gen_delta_before": compare.deltas(before),
        "gen_delta": compare.deltas(after),
        "gen_delta_floor": compare.floors(before),
    }
    return Score(
        metric=METRIC,
        value=compare.share(before, after),
        error=float(np.std(toys, ddof=1)),
        reason=said,
        artefact=sha256(read_bytes(workspace, submission.weights, MAX_BYTES)).hexdigest(),
        details=details,
    )
