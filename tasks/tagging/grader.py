"""Steering score of a tagger: its background rejection, averaged over the numbers of labels.

    value = geometric mean over n of 1 / eff_B(eff_S = 50%), score_n made with n labels

Few labels weigh as much as many, so a method that needs fewer is better. Measured on validation jets, whose labels only
the grader has. Each submission is a look at these labels; the sealed test shows how much that biased the score.

Both errors of a comparison are paired: the same resampled jets for all submissions, and for the pretrained weights as
they are (`zero_shot`), so that the jets' own fluctuations cancel.

Beside it stands how much a cut shapes the mass of the background (`tools.dependence`): tops are heavy, so a good tagger
does, unless it is made not to.

At the end, `audit` checks that score_n uses no more than n labels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from sandbox.reader import read_bytes
from tasks.convergence import change
from tasks.score import Score
from tasks.submission import MAX_BYTES
from tasks.tagging.samples import Split
from tasks.tagging.separation import Mask, geometric_mean, numbers, read_scores, shaping, toys
from tasks.tagging.submission import TaggerSubmission
from tools.types import Floats

METRIC = "background rejection at 50% of the tops, mean over the numbers of labels"


def grade(
    submission: TaggerSubmission,
    workspace: Path,
    split: Split,
    labels: Sequence[int],
    n_graded: int,
    free: Floats | None = None,
) -> Score:
    """Return the mean rejection on validation jets with a bootstrap error; AUC and rejections are in `details`.

    `free` (n,): scores of the graded jets that need no label, to compare with.
    """
    jets, validation = split.graded()
    assert jets.pid is not None
    try:
        scores = read_scores(workspace, submission.scores, len(jets), labels)
    except ValueError as reason:
        return Score(metric=METRIC, value=None, reason=str(reason))
    seen = {n: s[validation] for n, s in scores.items()}
    is_top = jets.pid[validation] == 1
    found = numbers(seen, is_top)
    each = ", ".join(f"{found[f'rejection_{n}'][0]:.1f} with {n} labels" for n in labels)
    mine = mean_rejection(seen, is_top)
    mass = jets.take(validation).pt_and_mass()[1].astype(np.float64)
    details: dict[str, Any] = {
        "numbers": {name: {"value": value, "error": error} for name, (value, error) in found.items()},
        "validation_jets": len(is_top),
        "background_kept": {str(n): round(int((~is_top).sum()) / found[f"rejection_{n}"][0]) for n in labels},
        "looks": n_graded,
        "on_mass": {str(n): shaping(s, mass, is_top) for n, s in seen.items()},
    }
    if free is not None:
        details["zero_shot"] = compared(mine, mean_rejection(dict.fromkeys(labels, free[validation]), is_top))
    return mine.model_copy(
        update={
            "reason": f"{each}; on {len(is_top)} validation jets, look {n_graded} at their labels",
            "artefact": sha256(read_bytes(workspace, submission.scores, MAX_BYTES)).hexdigest(),
            "details": details,
        }
    )


def mean_rejection(scores: Mapping[int, Floats], is_top: Mask) -> Score:
    """Return the mean rejection with its bootstrap error; the same jets always give the same resampled ones."""
    spread = [geometric_mean(s, top) for s, top in toys(scores, is_top, seed=1)]
    return Score(
        metric=METRIC,
        value=geometric_mean(scores, is_top),
        error=float(np.std(spread, ddof=1)),
        resampled=spread,
        reason="",
    )


def compared(mine: Score, other: Score) -> dict[str, float | None]:
    """Return another mean rejection, and how far above it the submitted scores are."""
    made = change(mine, other, 0)
    return {"value": other.value, "error": other.error, "gain": made.value, "gain_error": made.error}
