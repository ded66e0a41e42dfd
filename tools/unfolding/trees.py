"""Density ratios from histogram gradient boosting: no network, fast, but with steps where a network is smooth."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from pydantic import Field
from pydantic.json_schema import SkipJsonSchema

from tools.contract import Frozen
from tools.types import Floats
from tools.unfolding.classifier import Model, Rows, Weighted


class Trees(Frozen):
    """Boosted trees with early stopping."""

    kind: Literal["trees"] = "trees"
    max_iter: int = Field(
        300, ge=1, le=5000, description="maximum number of boosting rounds; early stopping may choose fewer"
    )
    learning_rate: float = Field(0.1, gt=0, le=1)
    max_leaf_nodes: SkipJsonSchema[int] = Field(8, ge=2, le=1024)
    min_samples_leaf: SkipJsonSchema[int] = Field(200, ge=1)

    def fit(self, events: Weighted, splits: list[tuple[Rows, Rows]], seed: int, start: Model | None = None) -> Forest:
        """Return one boosted model per split; `start` is ignored."""
        from sklearn.ensemble import HistGradientBoostingClassifier

        models = []
        for k, (used, held) in enumerate(splits):
            model = HistGradientBoostingClassifier(
                max_iter=self.max_iter,
                learning_rate=self.learning_rate,
                max_leaf_nodes=self.max_leaf_nodes,
                min_samples_leaf=self.min_samples_leaf,
                early_stopping=True,
                random_state=int(np.random.SeedSequence([seed, k]).generate_state(1)[0]),
            )
            x_val, y_val, weight_val = _both(events.rows(held))
            model.fit(*_both(events.rows(used)), X_val=x_val, y_val=y_val, sample_weight_val=weight_val)
            models.append(model)
        return Forest(models)


@dataclass(frozen=True)
class Forest:
    """Trained boosted models, one per member."""

    models: list[Any]

    def member(self, x: Floats, k: int) -> Floats:
        """Return the log ratio of member k (n,)."""
        return np.asarray(self.models[k].decision_function(x))

    def log_ratio(self, x: Floats) -> Floats:
        """Return the mean log ratio of the members (n,)."""
        return np.asarray(np.mean([self.member(x, k) for k in range(len(self.models))], axis=0))


def _both(events: Weighted) -> tuple[Floats, Floats, Floats]:
    """Return events, labels and weights, with each event once for every sample in which it has weight."""
    rows = [np.flatnonzero(weight > 0) for weight in (events.reference, events.target)]
    return (
        np.concatenate([events.x[r] for r in rows]),
        np.repeat([0.0, 1.0], [len(r) for r in rows]),
        np.concatenate([events.reference[rows[0]], events.target[rows[1]]]),
    )
