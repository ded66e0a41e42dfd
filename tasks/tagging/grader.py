"""Steering score of a tagger: its background rejection, averaged over the numbers of labels.

    value = geometric mean over n of 1 / eff_B(eff_S = 50%), score_n made with n labels

Few labels weigh as much as many, so a method that needs fewer is better. Measured on validation jets, whose labels only
the grader has. Each submission is a look at these labels; the sealed test shows how much that biased the score.

At the end, `audit` checks that score_n uses no more than n labels.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path

import numpy as np

from sandbox.reader import read_bytes
from tasks.score import Score
from tasks.submission import MAX_BYTES
from tasks.tagging.samples import Split
from tasks.tagging.separation import geometric_mean, numbers, read_scores, toys
from tasks.tagging.submission import TaggerSubmission

METRIC = "background rejection at 50% of the tops, mean over the numbers of labels"


def grade(submission: TaggerSubmission, workspace: Path, split: Split, labels: Sequence[int], n_graded: int) -> Score:
    """Return the mean rejection on validation jets with a bootstrap error; AUC and rejections are in `details`."""
    jets, validation = split.graded()
    assert jets.pid is not None
    try:
        scores = read_scores(workspace, submission.scores, len(jets), labels)
    except ValueError as reason:
        return Score(metric=METRIC, value=None, reason=str(reason))
    seen = {n: s[validation] for n, s in scores.items()}
    is_top = jets.pid[validation] == 1
    spread = [geometric_mean(s, top) for s, top in toys(seen, is_top, seed=1)]
    found = numbers(seen, is_top)
    each = ", ".join(f"{found[f'rejection_{n}'][0]:.1f} with {n} labels" for n in labels)
    return Score(
        metric=METRIC,
        value=geometric_mean(seen, is_top),
        error=float(np.std(spread, ddof=1)),
        reason=f"{each}; on {len(is_top)} validation jets, look {n_graded} at their labels",
        artefact=sha256(read_bytes(workspace, submission.scores, MAX_BYTES)).hexdigest(),
        details={
            "numbers": {name: {"value": value, "error": error} for name, (value, error) in found.items()},
            "validation_jets": len(is_top),
            "looks": n_graded,
        },
    )
