"""Classifier test of generated against reference showers: AUC on voxels and on observables.

The network is that of the CaloChallenge's script (arXiv:2410.21611, section 4): three layers of 512 units, 60% of the
showers for training, 20% to choose the epoch, 20% for evaluation. Boosted trees are a second classifier: they see
thresholds and zeros that a network smooths over, and are quick enough to be trained five times, each time holding out
another fifth, so that all showers are evaluated. The largest AUC of the requested classifiers is the one to quote.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from tools.anomaly.mlp import Mlp
from tools.calorimeter.observables import features, voxel_features
from tools.calorimeter.showers import Showers
from tools.contract import ToolError
from tools.metrics import auc, auc_error

Kind = Literal["mlp", "trees"]
Look = Literal["voxels", "observables"]
FIFTHS = 5
MIN_SHOWERS = 100
NETWORK = Mlp(hidden=512, epochs=30, batch=1000, learning_rate=1e-3, validation_fraction=0.25, best_epochs=1)
TURNS: dict[Kind, int] = {"mlp": 1, "trees": FIFTHS}
# Trainings that share showers are not independent: for pairs of equal samples the spread of the AUC was 1.1 to 1.4
# times that of a single classifier.
SHARED: dict[Kind, float] = {"mlp": 1.0, "trees": 1.25}
TREES = {"max_iter": 300, "max_leaf_nodes": 31, "validation_fraction": 0.25}


@dataclass(frozen=True)
class TwoSample:
    """AUC of generated against reference with its error, and the scores of the held-out showers (higher: generated).

    `reference_rows`, `generated_rows`: rows of the held-out showers. Scores are ranks, from 0 to 1, among those scored
    by the same training.
    """

    auc: float
    error: float
    reference_scores: NDArray[np.float64]
    generated_scores: NDArray[np.float64]
    reference_rows: NDArray[np.int64]
    generated_rows: NDArray[np.int64]


def two_sample(
    reference: NDArray[np.floating], generated: NDArray[np.floating], kind: Kind = "mlp", seed: int = 1
) -> TwoSample:
    """Train on features (N, d) and (M, d), evaluate on held-out showers; ToolError below MIN_SHOWERS of either."""
    for name, sample in (("reference", reference), ("generated", generated)):
        if len(sample) < MIN_SHOWERS:
            raise ToolError(name, len(sample), f"{MIN_SHOWERS} showers or more for a classifier")
    rng = np.random.default_rng([seed, 11])
    fifths = [np.array_split(rng.permutation(len(x)), FIFTHS) for x in (reference, generated)]
    parts = [_judged(reference, generated, (fifths[0][i], fifths[1][i]), kind, seed) for i in range(TURNS[kind])]
    ours, theirs = (np.concatenate(scores) for scores in zip(*parts, strict=True))
    rows = [np.concatenate(each[: TURNS[kind]]) for each in fifths]
    value = auc(theirs, ours)
    error = SHARED[kind] * auc_error(value, len(theirs), len(ours))
    return TwoSample(value, error, ours, theirs, rows[0], rows[1])


def _judged(
    reference: NDArray[np.floating],
    generated: NDArray[np.floating],
    held: tuple[NDArray[np.int64], NDArray[np.int64]],
    kind: Kind,
    seed: int,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the rank scores of the held-out rows from a classifier trained on all others."""
    from scipy.stats import rankdata

    rest = [np.delete(x, rows, axis=0) for x, rows in zip((reference, generated), held, strict=True)]
    both = np.concatenate(rest)
    to_score = np.concatenate([reference[held[0]], generated[held[1]]])
    varies = both.std(axis=0) > 0
    learn = NETWORK.log_odds if kind == "mlp" else _trees
    scores = learn(both[:, varies], np.arange(len(both)) >= len(rest[0]), to_score[:, varies], seed)
    ranks = rankdata(scores) / len(scores)
    return ranks[: len(held[0])], ranks[len(held[0]) :]


def _trees(x: Any, y: NDArray[np.bool_], to_score: Any, seed: int) -> NDArray[np.float64]:
    """Return log-odds of boosted trees without class weights, which no AUC needs and which make binning slow."""
    from sklearn.ensemble import HistGradientBoostingClassifier

    model = HistGradientBoostingClassifier(**TREES, early_stopping=True, random_state=seed)
    return np.asarray(model.fit(x, y).decision_function(to_score))


def tell_apart(
    reference: Showers, generated: Showers, look: Look, kinds: tuple[Kind, ...] = ("mlp", "trees"), seed: int = 1
) -> dict[Kind, TwoSample]:
    """Return the result of every classifier, on voxels or on observables."""
    see = features if look == "observables" else voxel_features
    ours, theirs = see(reference), see(generated)
    return {kind: two_sample(ours, theirs, kind, seed) for kind in kinds}


def strongest(verdicts: dict[Kind, TwoSample]) -> TwoSample:
    """Return the result with the largest AUC."""
    return max(verdicts.values(), key=lambda verdict: verdict.auc)
