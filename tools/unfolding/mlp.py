"""Density ratios from an ensemble of small networks trained together: every layer is one batched matrix product.

Adam with a one-cycle rate (Smith and Topin, arXiv:1708.07120) trains a single vector of all parameters; each member
has its own initialisation, events and order. The running mean of the parameters (Polyak and Juditsky 1992) is evaluated
on held-out events; the last epoch whose loss is not clearly above the best is kept. Training starts from a ratio of 1.

Adam is implemented here because torch.optim.Adam, with the same ratios, takes 50% longer on a few thousand events, and
an unfolding with bootstraps trains on as many hundreds of times; it also takes two seconds on first use in a process.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

import numpy as np
from pydantic import Field
from pydantic.json_schema import SkipJsonSchema

from tools.contract import Frozen, ToolError
from tools.parallel import one_thread
from tools.training import device, to_tensor
from tools.types import Floats
from tools.unfolding.classifier import Model, Rows, Weighted

CHUNK = 1 << 11  # events evaluated at a time: enough for speed, little memory
WARM_RATE = 0.3  # fraction of the learning rate for networks that continue from an earlier iteration
MIN_STEPS = 64  # per epoch
BETA = 0.9, 0.99  # of Adam


class Mlp(Frozen):
    """Networks of SiLU units."""

    kind: Literal["mlp"] = "mlp"
    hidden: int = Field(32, ge=2, le=1024)
    layers: SkipJsonSchema[int] = Field(3, ge=1, le=10)
    epochs: int = Field(8, ge=1, le=1000, description="epochs in the first iteration; later ones continue with half")
    batch: SkipJsonSchema[int] = Field(
        1024, ge=1, description="maximum batch size; few events are split into MIN_STEPS batches per epoch"
    )
    learning_rate: float = Field(1e-2, gt=0, lt=1)
    patience: SkipJsonSchema[int] = Field(5, ge=1, description="clearly worse epochs in a row before training stops")

    def fit(self, events: Weighted, splits: list[tuple[Rows, Rows]], seed: int, start: Model | None = None) -> Networks:
        """Return one network per split; `start`: networks to continue from. Same seed, same networks on a CPU."""
        import torch

        generator = torch.Generator().manual_seed(seed)
        widths = [events.x.shape[1], *[self.hidden] * self.layers, 1]
        if isinstance(start, Networks):
            networks = Networks(start.mean, start.std, widths, start.parameters.clone())
            epochs, rate = max(1, self.epochs // 2), WARM_RATE * self.learning_rate
        else:
            std = events.x.std(axis=0)
            networks = Networks(
                events.x.mean(axis=0), np.where(std > 0, std, 1.0), widths, _start(widths, len(splits), generator)
            )
            epochs, rate = self.epochs, self.learning_rate
        with one_thread():
            self._train(networks, events, splits, epochs, rate, generator)
        return networks

    def _train(
        self,
        networks: Networks,
        events: Weighted,
        splits: list[tuple[Rows, Rows]],
        epochs: int,
        rate: float,
        generator: Any,
    ) -> None:
        """Minimise the loss of `classifier.py`."""
        import torch

        x = networks.tensor(events.x)
        weights = to_tensor(np.column_stack([events.reference, events.target]), x.device)
        used, held = (torch.as_tensor(np.stack(rows), device=x.device) for rows in zip(*splits, strict=True))
        p = networks.parameters.requires_grad_()
        first, second = torch.zeros_like(p), torch.zeros_like(p)
        size = min(self.batch, -(-used.shape[1] // MIN_STEPS))
        steps = epochs * -(-used.shape[1] // size)
        step, mean = 0, p.detach().clone()

        def judged() -> Any:
            """Return the held-out losses of the running mean (members, n)."""
            parts = torch.split(held, CHUNK, dim=1)
            return torch.cat([_losses(networks, mean, x[part], weights[part]) for part in parts], dim=1)

        best, kept, waited = judged(), mean.clone(), 0
        for _ in range(epochs):
            order = torch.stack([rows[torch.randperm(len(rows), generator=generator).to(x.device)] for rows in used])
            for batch in torch.split(order, size, dim=1):
                step += 1
                (gradient,) = torch.autograd.grad(_losses(networks, p, x[batch], weights[batch]).mean(dim=1).sum(), p)
                with torch.no_grad():
                    first.lerp_(gradient, 1 - BETA[0])
                    second.lerp_(gradient.square_(), 1 - BETA[1])
                    scale = (second / (1 - BETA[1] ** step)).sqrt_().add_(1e-8)
                    p.addcdiv_(first, scale, value=-rate * _one_cycle(step / steps) / (1 - BETA[0] ** step))
                    # Mean over about the last epoch, or over the last tenth of the steps while that is shorter.
                    mean.lerp_(p, max(epochs / steps, 10 / (step + 10)))
            reached = judged()
            rise = reached - best
            # Which epoch is best on held-out events is mostly noise: only a clear rise counts.
            good = rise.mean(dim=1) <= rise.std(dim=1) / rise.shape[1] ** 0.5
            kept = torch.where(good[:, None], mean, kept)
            best = torch.where((rise.mean(dim=1) < 0)[:, None], reached, best)
            waited = 0 if good.any() else waited + 1
            if waited >= self.patience:
                break
        if not torch.isfinite(best).all():
            raise ToolError("classifier", self.model_dump(), "training diverged; lower learning_rate")
        networks.parameters = kept


@dataclass
class Networks:
    """Parameters (members, n_parameters), weights and biases layer by layer, and the scaling of the events."""

    mean: Floats
    std: Floats
    widths: list[int]
    parameters: Any

    def tensor(self, x: Floats) -> Any:
        """Return standardised events (n, d)."""
        return to_tensor((x - self.mean) / self.std, self.parameters.device)

    def forward(self, x: Any, parameters: Any) -> Any:
        """Return log ratios (members, n) of standardised events (members, n, d)."""
        import torch

        at = 0
        for layer, (a, b) in enumerate(pairwise(self.widths)):
            weight = parameters[:, at : at + a * b].view(-1, a, b)
            bias = parameters[:, None, at + a * b : at + (a + 1) * b]
            x = torch.baddbmm(bias, torch.nn.functional.silu(x) if layer else x, weight)
            at += (a + 1) * b
        return x[..., 0]

    def member(self, x: Floats, k: int) -> Floats:
        """Return the log ratio of member k (n,)."""
        return self._evaluate(x, self.parameters[k : k + 1])

    def log_ratio(self, x: Floats) -> Floats:
        """Return the mean log ratio of the members (n,)."""
        return self._evaluate(x, self.parameters)

    def _evaluate(self, x: Floats, parameters: Any) -> Floats:
        import torch

        parts = []
        with torch.no_grad():
            for i in range(0, len(x), CHUNK):
                z = self.tensor(x[i : i + CHUNK]).expand(len(parameters), -1, -1)
                parts.append(self.forward(z, parameters).mean(dim=0).cpu().numpy())
        return np.concatenate(parts).astype(float) if parts else np.zeros(0)


def _losses(networks: Networks, parameters: Any, x: Any, weights: Any) -> Any:
    """Return the loss of each event (members, n); every member has its own events."""
    import torch

    z = networks.forward(x, parameters)
    softplus = torch.nn.functional.softplus(z)
    return weights[..., 0] * softplus + weights[..., 1] * (softplus - z)


def _start(widths: list[int], members: int, generator: Any) -> Any:
    """Return initial parameters: weights of variance 1/n_in, 0 in the last layer; biases 0."""
    import torch

    layers = []
    for a, b in pairwise(widths):
        layers += [torch.randn(members, a * b, generator=generator) * a**-0.5, torch.zeros(members, b)]
    layers[-2].zero_()
    return torch.cat(layers, dim=1).to(device())


def _one_cycle(done: float) -> float:
    """Return the rate, over its maximum, at a fraction of the training: half a cosine up over 30%, then down to 0."""
    return float(0.5 - 0.5 * np.cos(np.pi * (done / 0.3 if done < 0.3 else 1 + (done - 0.3) / 0.7)))
