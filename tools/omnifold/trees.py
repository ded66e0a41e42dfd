"""Histogram gradient boosting as density ratio: no network, quick, and steps where a network is smooth."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field
from pydantic.json_schema import SkipJsonSchema

from tools.omnifold.classifier import Model, Weighted
from tools.omnifold.problem import Floats


class Trees(BaseModel):
    """Boosted trees, early-stopped."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    kind: Literal["trees"] = "trees"
    max_iter: int = Field(300, ge=1, le=5000, description="boosting rounds; early stopping decides below that")
    learning_rate: float = Field(0.1, gt=0, le=1)
    max_leaf_nodes: SkipJsonSchema[int] = Field(8, ge=2, le=1024)
    min_samples_leaf: SkipJsonSchema[int] = Field(200, ge=1)

    def fit(
        self, training: Weighted, validation: Weighted, seed: int, members: int, start: Model | None = None
    ) -> Forest:
        """Each member is trained on a Poisson(1) bootstrap of the events if there is more than one."""
        from sklearn.ensemble import HistGradientBoostingClassifier

        rng = np.random.default_rng(seed)
        x, y, weight = _both(training)
        x_val, y_val, weight_val = _both(validation)
        models = []
        for _ in range(members):
            model = HistGradientBoostingClassifier(
                max_iter=self.max_iter,
                learning_rate=self.learning_rate,
                max_leaf_nodes=self.max_leaf_nodes,
                min_samples_leaf=self.min_samples_leaf,
                early_stopping=True,
                random_state=int(rng.integers(2**31)),
            )
            drawn = rng.poisson(1, len(weight)) if members > 1 else 1
            model.fit(x, y, weight * drawn, X_val=x_val, y_val=y_val, sample_weight_val=weight_val)
            models.append(model)
        return Forest(models)


@dataclass(frozen=True)
class Forest:
    """Boosted models, averaged."""

    models: list[Any]

    def log_ratio(self, x: Floats) -> Floats:
        """Mean over the members, (n,)."""
        return np.asarray(np.mean([model.decision_function(x) for model in self.models], axis=0))


def _both(events: Weighted) -> tuple[Floats, Floats, Floats]:
    """Events with a label: once for each sample in which they have weight."""
    rows = [np.flatnonzero(weight > 0) for weight in (events.reference, events.target)]
    return (
        np.concatenate([events.x[r] for r in rows]),
        np.repeat([0.0, 1.0], [len(r) for r in rows]),
        np.concatenate([events.reference[rows[0]], events.target[rows[1]]]),
    )
