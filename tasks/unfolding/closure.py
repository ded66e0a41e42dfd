"""Closure: the commands that made the best weights, run again by the harness on data whose particle level is known.

The other simulation plays the data. What its response and shape differ by from the first simulation is the kind of
difference that nature may have, so a method that closes here is trusted there; no truth of nature is needed.

Where the commands also unfold with the other simulation, they now unfold it with itself: `weights_model` has to be its
own particle level, and what it is off by is the method's alone (self-closure).
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
from tasks.unfolding.samples import GEN, RECO, Samples
from tasks.unfolding.sealed import coverage
from tasks.unfolding.stability import last_change
from tasks.unfolding.submission import WeightsSubmission
from tasks.unfolding.weights import read_weights
from tools.types import Floats

METRIC = "closure: share of the particle-level difference removed"
SHUFFLE = 12  # with the seed of the task: the order of the events


def pseudo_data(samples: Samples, seed: int) -> Floats:
    """Observables (n, 6) at detector level of the other simulation, in an order that tells nothing."""
    table = samples.alternative
    rows = np.flatnonzero(table["pass_reco"] > 0)
    rows = np.random.default_rng([seed, SHUFFLE]).permutation(rows)
    return np.column_stack([table[name][rows] for name in RECO])


def judge(submission: WeightsSubmission, workspace: Path, samples: Samples, seed: int = 1) -> Score:
    """1 - X(weights) / X(simulation as it is), X as in the steering score, at particle level."""
    simulation, other = samples.simulation, samples.alternative
    passed = simulation["pass_gen"] > 0
    try:
        weights = read_weights(workspace, submission.weights, passed)
    except ValueError as reason:
        return Score(metric=METRIC, value=None, reason=str(reason))
    truth = np.column_stack([other[name][other["pass_gen"] > 0] for name in GEN])
    compare = Comparison(simulation, truth, level="gen")
    before, after = compare.folded(np.ones(len(passed)), 1.0), compare.folded(weights["nominal"], 1.0)
    rng = np.random.default_rng(seed)
    toys = [compare.share(before, after, rng.poisson(1.0, compare.n_data)) for _ in range(BOOTSTRAPS)]
    covered = {metric.name: metric.value for metric in coverage(simulation, weights, truth)[0]}
    by_itself = compare.share(before, compare.folded(weights["model"], 1.0)) if "model" in weights else None
    change = last_change(simulation, weights)
    said = (
        f"the other simulation unfolded as data: {covered['coverage_1_sigma']:.0%} of the bins within one "
        f"stated error, {covered['coverage_2_sigma']:.0%} within two"
    )
    if by_itself is not None:
        said += f"; unfolded with itself {by_itself:.0%} removed"
    if change is not None:
        said += f"; the last iteration changed no bin by more than {change:.2f} of its error"
    details: dict[str, Any] = covered | {
        "self_closure": by_itself,
        "last_iteration_change": change,
        "gen_delta_before": compare.deltas(before),
        "gen_delta": compare.deltas(after),
    }
    return Score(
        metric=METRIC,
        value=compare.share(before, after),
        error=float(np.std(toys, ddof=1)),
        reason=said,
        artefact=sha256(read_bytes(workspace, submission.weights, MAX_BYTES)).hexdigest(),
        details=details,
    )
