"""Training of a network with Adam and a one-cycle rate (Smith and Topin, arXiv:1708.07120), keeping the best epochs."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from pydantic.json_schema import SkipJsonSchema

from tools.contract import Frozen, ToolError
from tools.events.copies import adjacent
from tools.robust.attacks import Reach
from tools.robust.steps import Robust, Steps

Losses = list[tuple[float, float]]  # (training, validation) per epoch
Progress = Callable[[int, float, float], None]
Rows = NDArray[np.int64]
Loss = Callable[..., Any]  # tensors of a batch -> mean loss
CHUNK = 50_000  # events at a time through a small network
BETAS = (0.9, 0.999)  # of Adam


class Training(Frozen):
    """Epochs, batch and learning rate. Schemas leave out expert settings: models need not read, but may set them."""

    epochs: int = Field(10, ge=1, le=1000)
    batch: SkipJsonSchema[int] = Field(2048, ge=16)
    learning_rate: SkipJsonSchema[float] = Field(3e-3, gt=0, lt=1)
    patience: SkipJsonSchema[int] = Field(
        5, ge=1, description="epochs without improvement in validation before training stops"
    )
    max_events: SkipJsonSchema[int] = Field(1_000_000, ge=1000, description="train on at most this many events")
    robust: SkipJsonSchema[Robust] = None


def device() -> str:
    """Return "cuda" if there is a CUDA device, or else "cpu"."""
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def to_tensor(values: NDArray[np.float64], device: str) -> Any:
    """Return a float32 tensor on the device."""
    import torch

    return torch.as_tensor(values, dtype=torch.float32, device=device)


def train(
    model: Any,
    loss: Loss,
    tensors: tuple[Any, ...],
    validation: tuple[Any, ...],
    settings: Training,
    seed: int,
    progress: Progress | None = None,
    merit: Callable[[], float] | None = None,
    keep: int = 1,
    reach: Reach | None = None,
) -> tuple[Losses, list[dict[str, Any]]]:
    """Minimise `loss`; return (losses per epoch, parameters of the `keep` best epochs, best first).

    The model ends with the best. Epochs are compared by validation loss or, if given, by `merit()` (larger is better).
    The validation loss uses the same random numbers in every epoch. `reach` says how far robust training may move the
    first of the tensors. Raises ToolError if no epoch has a finite loss, and if none of the inputs may move but should.
    """
    import torch

    n = len(tensors[0])
    run = _Run(model, loss, settings, settings.epochs * -(-n // settings.batch), reach)
    losses: Losses = []
    best: list[tuple[float, int, dict[str, Any]]] = []
    for epoch in range(settings.epochs):
        model.train()
        total = 0.0
        for batch in torch.split(torch.randperm(n, device=tensors[0].device), settings.batch):
            total += run.step(*(t[batch] for t in tensors)) * len(batch)
        model.eval()
        with torch.no_grad(), torch.random.fork_rng():
            torch.manual_seed(seed)
            held_out = float(loss(*validation))
            bad = -merit() if merit else held_out
        losses.append((total / n, held_out))
        if progress:
            progress(epoch + 1, *losses[-1])
        if np.isfinite(held_out):
            best.append((bad, epoch, copy.deepcopy(model.state_dict())))
            best = sorted(best, key=lambda entry: entry[:2])[:keep]
        if best and epoch - max(entry[1] for entry in best) >= settings.patience:
            break
    if not best:
        raise ToolError("method", settings.model_dump(), "training diverged; lower learning_rate")
    states = [state for _, _, state in best]
    model.load_state_dict(states[0])
    return losses, states


class _Run:
    """The steps of a training: optimiser, rate, and what makes them robust."""

    def __init__(self, model: Any, loss: Loss, settings: Training, total: int, reach: Reach | None) -> None:
        import torch

        self.model, self.loss, self.total = model, loss, total
        self.steps = Steps(settings.robust, reach)
        rate = settings.learning_rate
        self.optimizer = self.steps.optimizer(torch.optim.Adam, model.parameters(), total, lr=rate, betas=BETAS)
        self.schedule = torch.optim.lr_scheduler.OneCycleLR(self.optimizer, rate, total_steps=total)

    def step(self, x: Any, *others: Any) -> float:
        """Take a step; return the loss of the batch before it."""
        import torch

        x = self.steps.inputs(x, lambda z: self.loss(z, *others), self.schedule.last_epoch / self.total)

        def gradient() -> Any:
            self.optimizer.zero_grad()
            value = self.loss(x, *others)
            value.backward()
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
            return value

        value = gradient()
        self.steps.take(self.optimizer, gradient)
        self.schedule.step()
        return float(value.item())


def split(
    n: int, fraction: float, seed: int, most: int | None = None, original: Rows | None = None
) -> tuple[Rows, Rows]:
    """Return (training, validation) rows in random order: of n rows, or `most` of them, a fraction is held out.

    At least one row is held out. Copies of a row, for which `original` (n,) has its number, stay together. Raises
    ToolError for fewer than two rows.
    """
    if n < 2:
        raise ToolError("events", n, "at least 2, one of them for validation")
    order = np.random.default_rng(seed).permutation(n)[:most]
    order = order if original is None else adjacent(order, original)
    n_held = min(max(1, int(fraction * len(order))), len(order) - 1)
    return order[n_held:], order[:n_held]
