"""Training of the network with Lion (arXiv:2302.06675) and a cosine rate, as in OmniLearned (arXiv:2510.24066).

A step takes the gradient of a whole batch, added up over its parts (`batches.py`). Every epoch has its own seed and
saves a file from which an interrupted training continues, with the same result.
"""

from __future__ import annotations

import copy
import json
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from pydantic import Field
from pydantic.json_schema import SkipJsonSchema

from tools.contract import Frozen, ToolError
from tools.files import written
from tools.jet_model import ranks
from tools.jet_model.batches import Batch, Source
from tools.robust.attacks import Reach
from tools.robust.steps import Robust, Steps
from tools.training import Rows

BETAS = (0.95, 0.98)  # of Lion, as in the package
CLIP = 1.0  # maximum norm of the gradient
SAY = 60.0  # seconds between log lines within an epoch

# Named losses of each jet of a part, (n,) tensors; training minimises their sum.
Objective = Callable[[Batch], dict[str, Any]]


class JetTraining(Frozen):
    """Epochs, batch and learning rate."""

    epochs: int = Field(10, ge=1, le=1000)
    batch: int = Field(128, ge=1)
    learning_rate: float = Field(5e-4, gt=0, lt=1)
    weight_decay: SkipJsonSchema[float] = Field(0.01, ge=0)
    warmup: SkipJsonSchema[float] = Field(0.05, ge=0, le=1, description="fraction of the steps in which the rate rises")
    average: SkipJsonSchema[float] = Field(
        0.0, ge=0, lt=1, description="keep a running mean of the weights with this decay per step; 0: no averaging"
    )
    min_steps: SkipJsonSchema[int] = Field(
        20,
        ge=1,
        description="minimum number of steps per epoch: few jets are repeated, or few labels would mean few steps",
    )
    patience: SkipJsonSchema[int] = Field(
        100, ge=1, description="epochs without improvement in validation before training stops"
    )
    robust: SkipJsonSchema[Robust] = None


class Epoch(Frozen):
    """Mean losses per jet, by name."""

    training: dict[str, float]
    validation: dict[str, float]
    seconds: float

    @property
    def loss(self) -> float:
        """Return the sum of the validation losses, by which epochs are compared."""
        return sum(self.validation.values())


class Outcome(NamedTuple):
    """Losses of all epochs and the best epoch (counted from 1; 0 is the start), whose weights the network has."""

    history: list[Epoch]
    best: int


def fit(
    module: Any,
    groups: list[dict[str, Any]],
    objective: Objective,
    source: Source,
    training: Rows,
    validation: Rows,
    settings: JetTraining,
    seed: int,
    state: Path | None = None,
    keep_start: bool = False,
    reach: Reach | None = None,
) -> Outcome:
    """Minimise the objective over the rows `training` of the source; `module` ends with its best weights.

    `groups` are the optimiser's parameter groups, with their rates. The best epoch has the lowest loss on the rows
    `validation`, always with the same random numbers; with `keep_start` it may be the start. `state` is the file to
    continue from, if it exists, and to save to. `reach` says how far robust training may move the particles. On a CPU
    the same seed gives the same weights. Raises ToolError when training diverges, `state` belongs to another training,
    or particles that must not move should.
    """
    import torch
    from pytorch_optimizer import Lion

    mine = torch.as_tensor(ranks.share(training))
    turns = max(1, -(-settings.min_steps * settings.batch // len(mine)))
    steps = -(-turns * len(mine) // settings.batch)
    total = settings.epochs * steps
    robust = Steps(settings.robust, reach)
    decaying = [{"weight_decay": settings.weight_decay, **group} for group in groups]
    optimizer = robust.optimizer(Lion, decaying, total, betas=BETAS)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda done: _rate((done + 1) / total, settings.warmup))
    run = _Run(settings, seed, module, optimizer, schedule, robust, total)
    if keep_start:
        run.keep(sum(evaluate(module, objective, source, validation, seed).values()))
    first = run.restore(state) if state and state.exists() else 0
    for epoch in range(first, settings.epochs):
        if run.waited() >= settings.patience:
            break
        begin = time.monotonic()
        torch.manual_seed(_seed(seed, epoch, ranks.rank()))
        module.train()
        order = torch.cat([mine[torch.randperm(len(mine))] for _ in range(turns)])
        means = run.steps(objective, source, order, f"epoch {epoch + 1}/{settings.epochs}")
        with run.averaged():
            judged = evaluate(module, objective, source, validation, seed)
        run.end(Epoch(training=means, validation=judged, seconds=time.monotonic() - begin))
        if state and ranks.rank() == 0:
            run.save(state)
        _say(f"epoch {epoch + 1}/{settings.epochs}: " + _losses(means, "training") + "; " + _losses(judged, "held out"))
    if run.best_weights is None:
        raise ToolError("training", settings.model_dump(), "training diverged; lower learning_rate")
    module.load_state_dict(run.best_weights)
    module.eval()
    return Outcome(run.history, run.best)


def backward(terms: dict[str, Any], part: Batch, jets: int, sums: dict[str, float] | None = None) -> None:
    """Add a part's contribution to the gradients of the mean loss over `jets` jets, and its losses to `sums`."""
    total: Any = sum(terms.values())
    ((total * part.w).sum() / jets).backward()
    if sums is not None:
        for name, value in terms.items():
            sums[name] = sums.get(name, 0.0) + float((value.detach() * part.w).sum())


def evaluate(module: Any, objective: Objective, source: Source, rows: Any, seed: int) -> dict[str, float]:
    """Return the mean losses over the rows, with separate random numbers."""
    import torch

    sums: dict[str, float] = {}
    was = module.training
    module.eval()
    with torch.no_grad(), torch.random.fork_rng():
        torch.manual_seed(seed)
        for part in source.parts(rows):
            for name, value in objective(part).items():
                sums[name] = sums.get(name, 0.0) + float((value * part.w).sum())
    module.train(was)
    return {name: value / len(rows) for name, value in sums.items()}


class _Run:
    """State from which an interrupted training continues."""

    def __init__(
        self, settings: JetTraining, seed: int, module: Any, optimizer: Any, schedule: Any, robust: Steps, total: int
    ) -> None:
        self.key = json.dumps([settings.model_dump(), seed, sum(p.numel() for p in module.parameters())])
        self.settings, self.module, self.optimizer, self.schedule = settings, module, optimizer, schedule
        self.robust, self.total = robust, total
        self.mean = _running_mean(module, settings.average) if settings.average else None
        self.history: list[Epoch] = []
        self.best, self.lowest = 0, np.inf
        self.best_weights: Any = None

    def steps(self, objective: Objective, source: Source, order: Any, epoch: str) -> dict[str, float]:
        """Take the steps of an epoch over the rows in this order; return the mean losses."""
        import torch

        sums: dict[str, float] = {}
        batches, said = torch.split(order, self.settings.batch), time.monotonic()
        for step, rows in enumerate(batches, 1):
            parts: Iterable[Batch] = source.parts(rows)
            if self.settings.robust:
                parts = [self.moved(objective, part) for part in parts]  # kept for the second gradient
            self.gradient(objective, parts, len(rows), sums)
            self.robust.take(self.optimizer, partial(self.gradient, objective, parts, len(rows)))
            self.schedule.step()
            if self.mean:
                self.mean.update_parameters(self.module)
            if time.monotonic() - said > SAY:
                said = time.monotonic()
                _say(f"{epoch}, step {step}/{len(batches)}")
        return {name: value / len(order) for name, value in sums.items()}

    def moved(self, objective: Objective, part: Batch) -> Batch:
        """Return the part as robust training sees it."""

        def loss(x: Any) -> Any:
            terms: Any = sum(objective(replace(part, x=x)).values())
            return (terms * part.w).sum()

        return replace(part, x=self.robust.inputs(part.x, loss, self.schedule.last_epoch / self.total))

    def gradient(
        self, objective: Objective, parts: Iterable[Batch], jets: int, sums: dict[str, float] | None = None
    ) -> None:
        """Put the clipped gradients of the mean loss over `jets` jets in place, and add their losses to `sums`."""
        import torch

        self.optimizer.zero_grad()
        for part in parts:
            backward(objective(part), part, jets, sums)
        ranks.average_gradients(self.module)
        if not torch.isfinite(torch.nn.utils.clip_grad_norm_(self.module.parameters(), CLIP)):
            # Lion would continue silently: the sign of NaN is 0.
            raise ToolError("training", self.settings.model_dump(), "training diverged; lower learning_rate")

    def waited(self) -> int:
        return len(self.history) - self.best if self.best_weights else 0

    def keep(self, loss: float) -> None:
        """Keep the present weights as the best so far."""
        self.best, self.lowest = len(self.history), loss
        self.best_weights = copy.deepcopy(self.module.state_dict())

    def end(self, epoch: Epoch) -> None:
        self.history.append(epoch)
        if epoch.loss < self.lowest:
            with self.averaged():
                self.keep(epoch.loss)

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Use the running mean, if there is one, as the network's weights within the context."""
        import torch

        if not self.mean:
            yield
            return
        own = [value.detach().clone() for value in self.module.parameters()]
        with torch.no_grad():
            for value, mean in zip(self.module.parameters(), self.mean.module.parameters(), strict=True):
                value.copy_(mean)
            yield
            for value, mine in zip(self.module.parameters(), own, strict=True):
                value.copy_(mine)

    def save(self, path: Path) -> None:
        import torch

        history = [epoch.model_dump() for epoch in self.history]
        numbers = {"key": self.key, "epoch": self.best, "history": history}
        weights = {"module": self.module.state_dict(), "best": self.best_weights}
        if self.mean:
            weights["mean"] = self.mean.state_dict()
        rest = {"optimizer": self.optimizer.state_dict(), "schedule": self.schedule.state_dict()}
        with written(path) as part:
            torch.save({**numbers, **weights, **rest}, part)

    def restore(self, path: Path) -> int:
        """Restore the saved state; return the number of epochs already done."""
        import torch

        try:
            saved = torch.load(path, weights_only=True)
        except Exception as error:
            raise ToolError("state", str(path), f"not readable ({type(error).__name__}); remove it") from None
        if saved["key"] != self.key:
            raise ToolError("state", str(path), "belongs to a training with other settings; remove it to start again")
        self.module.load_state_dict(saved["module"])
        if self.mean:
            self.mean.load_state_dict(saved["mean"])
        self.optimizer.load_state_dict(saved["optimizer"])
        self.schedule.load_state_dict(saved["schedule"])
        self.history = [Epoch(**epoch) for epoch in saved["history"]]
        self.best, self.best_weights = saved["epoch"], saved["best"]
        if self.best:
            self.lowest = self.history[self.best - 1].loss
        _say(f"continuing after epoch {len(self.history)}")
        return len(self.history)


def _running_mean(module: Any, decay: float) -> Any:
    """Return a network whose weights are the running mean; early on the decay is smaller, to forget the start."""
    from torch.optim import swa_utils

    average: Any = swa_utils.get_ema_multi_avg_fn

    def update(mean: Any, present: Any, steps: Any) -> None:
        average(min(decay, float((steps + 1) / (steps + 10))))(mean, present, steps)

    return swa_utils.AveragedModel(module, multi_avg_fn=update)


def _rate(done: float, warmup: float) -> float:
    """Return the rate, over its maximum: a linear rise, then a cosine down to 0."""
    if done < warmup:
        return done / warmup
    return float(0.5 + 0.5 * np.cos(np.pi * (done - warmup) / max(1 - warmup, 1e-9)))


def _seed(*numbers: int) -> int:
    return int(np.random.SeedSequence(numbers).generate_state(1)[0])


def _losses(values: dict[str, float], what: str) -> str:
    return f"{what} " + ", ".join(f"{name} {value:.4f}" for name, value in values.items())


def _say(text: str) -> None:
    if ranks.rank() == 0:
        print(text, file=sys.stderr, flush=True)
