"""Weakly supervised classifier: boosted trees (Finke et al., arXiv:2309.13111).

Histogram gradient boosting with balanced classes, and half of the events set aside for early stopping. The published
ensemble of 50 corresponds to 10 models in each of 5 folds; its leaves hold at least 20 events. A leaf of 20 that
expects three events of a small template is often empty of them by chance, and scores high: here a leaf expects LEAF
events of the smaller sample.
"""

from __future__ import annotations

from itertools import islice
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from pydantic.json_schema import SkipJsonSchema

from tools.anomaly.bins import binned
from tools.anomaly.selection import Criterion, merit
from tools.contract import Frozen
from tools.events.weights import of_rows
from tools.training import split
from tools.types import Floats

LEAST, LEAF = 20, 40  # events in a leaf at least, of both samples and of the smaller one
SHARE = 0.04  # of the smaller sample in a leaf: fewer events than LEAF where that is small


class Trees(Frozen):
    """Histogram gradient boosting with early stopping."""

    kind: Literal["trees"] = "trees"
    max_iter: int = Field(
        200, ge=1, le=5000, description="maximum number of boosting rounds; early stopping may choose fewer"
    )
    max_leaf_nodes: int = Field(31, ge=2, le=1024)
    learning_rate: float = Field(0.1, gt=0, le=1)
    min_samples_leaf: SkipJsonSchema[int | None] = Field(
        None, ge=1, description="default: so many that LEAF of them are expected to be of the smaller sample"
    )
    l2_regularization: SkipJsonSchema[float] = Field(0.0, ge=0)
    validation_fraction: SkipJsonSchema[float] = Field(0.5, gt=0.05, lt=0.95)

    select: Criterion = Field("loss", description="criterion for the best round, on validation events")

    def log_odds(
        self, x: Floats, y: NDArray[np.bool_], to_score: Floats, seed: int, weight: Floats | None = None
    ) -> Floats:
        """Train on x (n, d), y (data or template) with weights (n,); return the log-odds of `to_score` (m, d)."""
        from sklearn.ensemble import HistGradientBoostingClassifier

        x, to_score = binned(x, y, to_score)
        model = HistGradientBoostingClassifier(
            max_iter=self.max_iter,
            max_leaf_nodes=self.max_leaf_nodes,
            learning_rate=self.learning_rate,
            min_samples_leaf=self.min_samples_leaf or leaf_size(y, 1 - self.validation_fraction),
            l2_regularization=self.l2_regularization,
            validation_fraction=self.validation_fraction,
            early_stopping=self.select == "loss",
            class_weight="balanced",
            random_state=seed,
        )
        if self.select == "loss":
            return np.asarray(model.fit(x, y, weight).decision_function(to_score))
        used, held = split(len(x), self.validation_fraction, seed)
        model.fit(x[used], y[used], of_rows(weight, used))
        rounds = [merit(self.select, score.ravel(), y[held]) for score in model.staged_decision_function(x[held])]
        stages = model.staged_decision_function(to_score)
        return np.asarray(next(islice(stages, int(np.argmax(rounds)), None))).ravel()


def leaf_size(y: NDArray[np.bool_], used: float) -> int:
    """Return how many training events of y (n,), data or template, a leaf holds at least; `used` of y are trained on.

    >>> leaf_size(np.arange(120) < 100, 1.0), leaf_size(np.arange(70_000) < 60_000, 1.0)
    (20, 280)
    """
    smaller = int(min(y.sum(), (~y).sum()))
    return max(LEAST, round(min(LEAF, SHARE * used * smaller) * len(y) / smaller))
