"""The claim: the commands of the best tagger once more, on other jets, where most labels are wrong.

In the inputs of the claim the labels are right up to one of the smaller numbers, chosen in secret; the others are
inverted. (Shuffled ones would only dilute what is learnt.) The jets to learn from are others too, so that labels which
stand in the commands themselves belong to no jet. What was made with n labels does not notice for n up to there, and
must tell the new jets apart about as well as it did the validation jets; what knew more labels learns the opposite. A
tagger is caught where it cheats across the secret number, not where it does below or above, and not where its commands
hold the trained weights themselves.
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
SECRET = 31  # with the seed of the task: which number of labels
SIGMAS = 3.0
AUC_SLACK = 0.005  # other processors round otherwise
OTHER_LABELS = 0.4  # over the root of their number: by how much other jets to learn from may change an AUC


def audited(labels: Sequence[int], seed: int) -> list[int]:
    """The numbers of labels up to the secret one; the largest is never it where there are several."""
    most = max(len(labels) - 1, 1)
    return list(labels[: 1 + int(np.random.default_rng([seed, SECRET]).integers(most))])


def inverted_beyond(jets: Jets, right: int) -> Jets:
    """The same jets, with the labels after the first `right` inverted."""
    assert jets.pid is not None
    return replace(jets, pid=np.where(np.arange(len(jets)) < right, jets.pid, 1 - jets.pid))


def judge(
    submission: TaggerSubmission, chosen: Score, workspace: Path, split: Split, labels: Sequence[int], seed: int
) -> Score:
    """The mean rejection over the audited numbers of labels; no value when an AUC is worse than in validation."""
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
                f"score_{n} falls from AUC {before['value']:.3f} to {after:.3f} where labels after the first "
                f"{kept[-1]} are wrong: it was made with more labels than it says, or cannot be made again"
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
