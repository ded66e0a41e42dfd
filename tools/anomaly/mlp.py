"""Weakly supervised classifier: CATHODE's small neural network (arXiv:2109.00546, section 4), 3 x 64 ReLU.

Binary cross-entropy with classes weighted to equal sums, Adam; the log-odds are averaged over the best epochs, which
are chosen by the validation loss, as published there, or by another criterion of `selection.py`. Robust training moves
standardised features, but none that has whole numbers only.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from pydantic.json_schema import SkipJsonSchema

from tools.anomaly.selection import Criterion, merit
from tools.robust.attacks import movable
from tools.training import CHUNK, Training, device, split, to_tensor, train
from tools.types import Floats


class Network(Training):
    """Settings of a network that is averaged over its best epochs."""

    hidden: int = Field(64, ge=2, le=1024)
    layers: SkipJsonSchema[int] = Field(3, ge=1, le=10)
    epochs: int = Field(30, ge=1, le=1000)
    batch: SkipJsonSchema[int] = Field(512, ge=16)
    learning_rate: SkipJsonSchema[float] = Field(2e-3, gt=0, lt=1)
    patience: SkipJsonSchema[int] = Field(
        100, ge=1, description="epochs without improvement in validation before training stops"
    )
    validation_fraction: SkipJsonSchema[float] = Field(0.5, gt=0.05, lt=0.95)
    best_epochs: SkipJsonSchema[int] = Field(10, ge=1, description="epochs to average")
    select: Criterion = Field("loss", description="criterion for the best epochs, on validation events")

    def trained(
        self,
        build: Callable[[int], Any],
        x: Floats,
        y: NDArray[np.bool_],
        to_score: Floats,
        seed: int,
        weight: Floats | None = None,
    ) -> Floats:
        """Train the network `build(d)`, (n, d) -> (n, 1), on x (n, d), y (data or template) with weights (n,); return
        the log-odds of `to_score` (m, d).
        """
        import torch

        torch.manual_seed(seed)
        where = device()
        model = build(x.shape[1]).to(where)
        mean, std = x.mean(axis=0), x.std(axis=0)
        balance = np.where(y, 0.5 / y.mean(), 0.5 / (1 - y.mean())) * (1.0 if weight is None else weight)
        tensors = [to_tensor(values, where) for values in ((x - mean) / std, y.astype(float), balance)]
        used, held = split(len(x), self.validation_fraction, seed, self.max_events)

        def loss(x: Any, y: Any, weight: Any) -> Any:
            return torch.nn.functional.binary_cross_entropy_with_logits(model(x)[:, 0], y, weight)

        def quality() -> float:
            return merit(self.select, _evaluate(model, tensors[0][held]), y[held])

        training, validation = (tuple(t[rows] for t in tensors) for rows in (used, held))
        moves = to_tensor(movable(x).astype(float), where)
        _, states = train(
            model, loss, training, validation, self, seed, merit=quality, keep=self.best_epochs, reach=lambda _: moves
        )
        z, total = to_tensor((to_score - mean) / std, where), np.zeros(len(to_score))
        for state in states:
            model.load_state_dict(state)
            total += _evaluate(model, z)
        return total / len(states)


class Mlp(Network):
    """A network of 3 x 64 ReLU units, averaged over its best epochs."""

    kind: Literal["mlp"] = "mlp"

    def log_odds(
        self, x: Floats, y: NDArray[np.bool_], to_score: Floats, seed: int, weight: Floats | None = None
    ) -> Floats:
        """Train on x (n, d), y (data or template) with weights (n,); return the log-odds of `to_score` (m, d)."""
        return self.trained(self.build, x, y, to_score, seed, weight)

    def build(self, dimensions: int) -> Any:
        """Return the untrained network, (n, d) -> (n, 1)."""
        return stack([dimensions, *[self.hidden] * self.layers, 1])


def stack(widths: Sequence[int]) -> Any:
    """Return linear layers of these widths with ReLU between them."""
    from torch import nn

    layers = [layer for a, b in pairwise(widths[:-1]) for layer in (nn.Linear(a, b), nn.ReLU())]
    return nn.Sequential(*layers, nn.Linear(widths[-2], widths[-1]))


def _evaluate(model: Any, x: Any) -> Floats:
    import torch

    with torch.no_grad():
        return np.concatenate([model(part)[:, 0].cpu().numpy() for part in torch.split(x, CHUNK)]).astype(np.float64)
