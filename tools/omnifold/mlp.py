"""Small networks as density ratios, an ensemble trained at once: every layer is one batched matrix product.

Adam with a one-cycle rate; each member has its own start and order of events and ends at its best validation loss.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field
from pydantic.json_schema import SkipJsonSchema

from tools.contract import ToolError
from tools.omnifold.classifier import Model, Weighted
from tools.omnifold.problem import Floats

CHUNK = 1 << 16  # events evaluated at a time


class Mlp(BaseModel):
    """Networks of SiLU units."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    kind: Literal["mlp"] = "mlp"
    hidden: int = Field(32, ge=2, le=1024)
    layers: SkipJsonSchema[int] = Field(3, ge=1, le=10)
    epochs: int = Field(8, ge=1, le=1000, description="of the first iteration; later ones go on with half of them")
    batch: SkipJsonSchema[int] = Field(1024, ge=16)
    learning_rate: float = Field(1e-2, gt=0, lt=1)
    patience: SkipJsonSchema[int] = Field(5, ge=1, description="epochs without a better validation before it stops")

    def fit(
        self, training: Weighted, validation: Weighted, seed: int, members: int, start: Model | None = None
    ) -> Networks:
        """Train `members` networks; `start`: networks to go on from. Same seed, same networks on a CPU."""
        import torch

        generator = torch.Generator().manual_seed(seed)
        if isinstance(start, Networks):
            mean, std, parameters = start.mean, start.std, [p.clone() for p in start.parameters]
        else:
            mean, std = training.x.mean(axis=0), training.x.std(axis=0)
            std = np.where(std > 0, std, 1.0)
            widths = [training.x.shape[1], *[self.hidden] * self.layers, 1]
            parameters = [p for a, b in pairwise(widths) for p in _layer(members, a, b, generator)]
        networks = Networks(mean, std, [p.requires_grad_() for p in parameters])
        epochs = self.epochs if start is None else max(1, self.epochs // 2)
        # One thread: the sums of several come in another order, and these networks gain little by them.
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            _train(networks, training, validation, self, epochs, generator)
        finally:
            torch.set_num_threads(threads)
        return networks


@dataclass
class Networks:
    """Parameters of all members, stacked: weights (members, in, out) and biases (members, 1, out) in turn."""

    mean: Floats
    std: Floats
    parameters: list[Any]

    def tensor(self, x: Floats) -> Any:
        import torch

        return torch.as_tensor((x - self.mean) / self.std, dtype=torch.float32)

    def forward(self, x: Any) -> Any:
        """Log ratios (members, n) of standardised events (members, n, d)."""
        import torch

        last = len(self.parameters) - 2
        for i in range(0, last + 1, 2):
            x = torch.baddbmm(self.parameters[i + 1], x, self.parameters[i])
            x = x if i == last else torch.nn.functional.silu(x)
        return x[..., 0]

    def log_ratio(self, x: Floats) -> Floats:
        """Mean over the members, (n,)."""
        return np.concatenate([self.each(x[i : i + CHUNK]) for i in range(0, len(x), CHUNK)]).astype(float)

    def each(self, x: Floats) -> Any:
        import torch

        with torch.no_grad():
            z = self.tensor(x)
            return self.forward(z.expand(len(self.parameters[0]), *z.shape)).mean(dim=0).numpy()


def _layer(members: int, n_in: int, n_out: int, generator: Any) -> tuple[Any, Any]:
    """Weights of variance 1/n_in, biases 0."""
    import torch

    scale = n_in**-0.5
    return scale * torch.randn(members, n_in, n_out, generator=generator), torch.zeros(members, 1, n_out)


def _train(
    networks: Networks, training: Weighted, validation: Weighted, settings: Mlp, epochs: int, generator: Any
) -> None:
    """Minimise the loss of `classifier.py`; every member ends with the parameters of its best epoch."""
    import torch

    parameters, members, n = networks.parameters, len(networks.parameters[0]), len(training.x)
    x = networks.tensor(training.x)
    weights = torch.as_tensor(np.column_stack([training.reference, training.target]), dtype=torch.float32)
    held = networks.tensor(validation.x).expand(members, -1, -1)
    held_weights = torch.as_tensor(np.column_stack([validation.reference, validation.target]), dtype=torch.float32)
    optimizer = torch.optim.Adam(parameters, lr=settings.learning_rate, fused=True)
    steps = epochs * -(-n // settings.batch)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, settings.learning_rate, total_steps=steps)

    def losses(x: Any, weights: Any) -> Any:
        z = networks.forward(x)
        softplus = torch.nn.functional.softplus(z)
        return (weights[..., 0] * softplus + weights[..., 1] * (softplus - z)).mean(dim=1)

    with torch.no_grad():
        best = losses(held, held_weights)
        kept = [p.detach().clone() for p in parameters]
    waited = 0
    for _ in range(epochs):
        order = torch.stack([torch.randperm(n, generator=generator) for _ in range(members)])
        for batch in torch.split(order, settings.batch, dim=1):
            optimizer.zero_grad()
            losses(x[batch], weights[batch]).sum().backward()
            optimizer.step()
            schedule.step()
        with torch.no_grad():
            reached = losses(held, held_weights)
            better = reached < best
            best = torch.where(better, reached, best)
            for keep, p in zip(kept, parameters, strict=True):
                keep[better] = p[better]
        waited = 0 if better.any() else waited + 1
        if waited >= settings.patience:
            break
    if not torch.isfinite(best).all():
        raise ToolError("classifier", settings.model_dump(), "training diverged; lower learning_rate")
    networks.parameters = kept
