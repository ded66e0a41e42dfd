"""Convex neural optimal transport (Cnots, arXiv:2307.05187): the map that moves scores least to make them independent.

Scores z at mass m are moved to z' = grad_z g(z|m), with g convex in z, so that z' has at every m the distribution that
all background has together. Among all maps that do so this one moves z least (Brenier), and it keeps the order of a
single score at each mass: in one dimension z' = F^-1(F(z|m)). The potential g minimises the dual of the transport cost,

    E_m { E_z|m [ g(z|m) ] + E_y [ g*(y|m) ] },    g*(y|m) = max_z [ y z - g(z|m) ],

where y are scores of other events, whatever their mass. The paper learns the conjugate g* with a second network,
against the first; here Newton steps find its maximum, which is unique, and one network is left to train, with no game.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from pydantic import Field
from pydantic.json_schema import SkipJsonSchema

from tools.contract import Frozen
from tools.decorrelation.coordinates import Context, NormalScores
from tools.decorrelation.potential import conjugate_point, potential
from tools.parallel import one_thread
from tools.training import Losses, Progress, Training, split, to_tensor, train
from tools.types import Floats

HELD_OUT = 0.1
CHUNK = 50_000


@dataclass
class Transport:
    """A learned map of scores (n, d) at protected values (n, p); losses per epoch."""

    model: Any
    scores: NormalScores
    context: Context
    losses: Losses

    def __call__(self, scores: Floats, protected: Floats) -> Floats:
        """Return the moved scores (n, d)."""
        import torch

        z, c = to_tensor(self.scores.forward(scores), "cpu"), to_tensor(self.context.forward(protected), "cpu")
        parts = zip(torch.split(z, CHUNK), torch.split(c, CHUNK), strict=True)
        with torch.no_grad(), one_thread():
            moved = [self.model.gradient(part, self.model.at(where)).numpy() for part, where in parts]
        return self.scores.inverse(np.concatenate(moved).astype(np.float64))


class Cnots(Frozen):
    """Convex neural optimal transport of one or several scores at once; the spectrum of all scores stays."""

    kind: Literal["cnots"] = "cnots"
    steps: int = Field(1200, ge=10, le=100_000, description="of training; about 10 ms each")
    hidden: SkipJsonSchema[int] = Field(24, ge=4, le=512, description="units of each convex layer")
    batch: SkipJsonSchema[int] = Field(1024, ge=16)
    learning_rate: SkipJsonSchema[float] = Field(1e-2, gt=0, lt=1)

    def fit(self, scores: Floats, protected: Floats, seed: int, progress: Progress | None = None) -> Transport:
        """Learn from background-like events, scores (n, d) and protected (n, p); same seed, same map. ToolError."""
        import torch

        torch.manual_seed(seed)
        normal, context = NormalScores.of(scores), Context.of(protected)
        model = potential(scores.shape[1], protected.shape[1], self.hidden)
        data = to_tensor(normal.forward(scores), "cpu"), to_tensor(context.forward(protected), "cpu")

        def loss(z: Any, c: Any) -> Any:
            here = model.at(c)
            y = z[torch.randperm(len(z))]
            with torch.no_grad():
                far = conjugate_point(model, y, {name: value.detach() for name, value in here.items()})
            # The maximum does not change to first order with its place, which therefore needs no gradient.
            return (model.value(z, here) - model.value(far, here) + (y * (far - y)).sum(dim=1)).mean()

        used, held = split(len(scores), HELD_OUT, seed)
        epochs = min(1000, max(1, round(self.steps * self.batch / len(used))))
        settings = Training(epochs=epochs, batch=self.batch, learning_rate=self.learning_rate, patience=epochs)
        training, validation = (tuple(t[rows] for t in data) for rows in (used, held))
        with one_thread():
            losses, _ = train(model, loss, training, validation, settings, seed, progress)
        return Transport(model, normal, context, losses)
