"""The audit of a tagger: the commands of the best one run again, on other jets, where most labels are wrong.

In the inputs of the audit the labels are right up to one of the smaller numbers, chosen in secret; the others are
inverted (shuffling would only dilute what is learnt). The training jets are also different, so that labels written into
the commands match no jet. Scores made with n labels, n up to the secret number, are not affected, and must separate the
new jets about as well as the validation jets; scores made with more labels learn the opposite. The audit catches
cheating across the secret number, but not below or above it, nor commands that contain the trained weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import numpy as np

from sandbox.reader import read_bytes
from tasks.score import Score
from tasks.submission import MAX_BYTES
from tasks.tagging.samples import Split
from tasks.tagging.separation import geometric_mean, numbers, read_scores, toys
from tasks.tagging.submission import TaggerSubmission
from tools.jet_model.jets import Jets
from tools.metrics import auc_error

METRIC = "audited: background rejection at 50% of the tops on other jets, other labels wrong"
SECRET = 31  # with the seed of the task, decides the secret number of labels
SIGMAS = 3.0
AUC_SLACK = 0.005  # other processors round differently
OTHER_LABELS = 0.4  # divided by the root of their number: allowed change of an AUC from other training jets


def audited(labels: Sequence[int], seed: int) -> list[int]:
    """Return the numbers of labels up to the secret one, which is never the largest if there are several."""
    most = max(len(labels) - 1, 1)
    return list(labels[: 1 + int(np.random.default_rng([seed, SECRET]).integers(most))])


def inverted_beyond(jets: Jets, right: int) -> Jets:
    """Return the jets with all labels after the first `right` inverted."""
    assert jets.pid is not None
    return replace(jets, pid=np.where(np.arange(len(jets)) < right, jets.pid, 1 - jets.pid))


def judge(
    submission: TaggerSubmission, chosen: Score, workspace: Path, split: Split, labels: Sequence[int], seed: int
) -> Score:
    """Return the mean rejection over the audited numbers of labels; no value if an AUC is worse than in validation."""
    assert split.claim.pid is not None
    is_top = split.claim.pid == 1
    try:
        scores = read_scores(workspace, submission.scores, len(is_top), labels)
    except ValueError as reason:
        return Score(metric=METRIC, value=None, reason=str(reason))
    kept = audited(labels, seed)
    right = {n: scores[n] for n in kept}
    found = numbers(right, is_top)
    details = {"numbers": {name: {"value": v, "error": e} for name, (v, e) in found.items()}, "audited": kept}
    for n in kept:
        before = chosen.details["numbers"][f"auc_{n}"]
        after, error = found[f"auc_{n}"][0], auc_error(found[f"auc_{n}"][0], int(is_top.sum()), int((~is_top).sum()))
        if after < before["value"] - SIGMAS * np.hypot(error, before["error"]) - AUC_SLACK - OTHER_LABELS / np.sqrt(n):
            fall = (
                f"score_{n} falls from AUC {before['value']:.3f} to {after:.3f} when labels after the first "
                f"{kept[-1]} are wrong: it was made with more labels than it says, or cannot be reproduced"
            )
            return Score(metric=METRIC, value=None, reason=fall, details=details)
    spread = [geometric_mean(s, top) for s, top in toys(right, is_top, seed=1)]
    return Score(
        metric=METRIC,
        value=geometric_mean(right, is_top),
        error=float(np.std(spread, ddof=1)),
        reason=f"with {' and '.join(map(str, kept))} labels, on {len(is_top)} jets not seen before",
        artefact=sha256(read_bytes(workspace, submission.scores, MAX_BYTES)).hexdigest(),
        details=details,
    )
