"""p(features | mjj) as a conditional neural spline flow on zuko, with the preprocessing of CATHODE.

Preprocessing (arXiv:2109.00546): each feature is scaled to (0, 1) by its range in training, taken
to logits and standardised; the context log(mjj) is standardised. The flow is autoregressive with
rational-quadratic splines (Durkan et al., arXiv:1906.04032; Papamakarios et al., arXiv:1705.07057).
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from tools.contract import ToolError

Floats = NDArray[np.float64]
MARGIN = 1e-3  # features are scaled to (MARGIN, 1 - MARGIN), so that the logit stays finite


class FlowSettings(BaseModel):
    """Size and training of the flow."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    transforms: int = Field(3, ge=1, le=20)
    hidden: int = Field(64, ge=4, le=1024)
    bins: int = Field(8, ge=2, le=64)
    max_events: int = Field(1_000_000, ge=1000, description="train on at most this many sideband events")
    epochs: int = Field(10, ge=1, le=1000)
    batch: int = Field(2048, ge=16)
    learning_rate: float = Field(3e-3, gt=0, lt=1)
    patience: int = Field(5, ge=1, description="epochs without a better validation loss before training stops")


@dataclass
class Scaler:
    """x -> (logit(scaled x) - mean) / std, invertible within the range seen in training."""

    low: Floats
    high: Floats
    mean: Floats
    std: Floats

    @staticmethod
    def of(x: Floats) -> Scaler:
        scaler = Scaler(x.min(axis=0), x.max(axis=0), np.zeros(x.shape[1]), np.ones(x.shape[1]))
        z = scaler.forward(x)
        scaler.mean, scaler.std = z.mean(axis=0), z.std(axis=0)
        return scaler

    def forward(self, x: Floats) -> Floats:
        u = MARGIN + (1 - 2 * MARGIN) * (x - self.low) / (self.high - self.low)
        u = np.clip(u, MARGIN / 2, 1 - MARGIN / 2)
        return (np.log(u) - np.log1p(-u) - self.mean) / self.std

    def inverse(self, z: Floats) -> Floats:
        u = 1 / (1 + np.exp(-(z * self.std + self.mean)))
        return self.low + (self.high - self.low) * (u - MARGIN) / (1 - 2 * MARGIN)


@dataclass
class ConditionalFlow:
    """A trained density: sample features for given mjj."""

    model: Any
    scaler: Scaler
    context: tuple[float, float]  # mean and std of log(mjj) in training
    losses: list[tuple[float, float]]  # (training, validation) per epoch, nats per event
    device: str

    def sample(self, mjj: Floats, seed: int) -> Floats:
        """One event per entry of `mjj` [TeV]: (n, d) features within the range seen in training."""
        import torch

        torch.manual_seed(seed)
        c = self._context(mjj)
        drawn = []
        with torch.no_grad():
            for part in torch.split(c, 50_000):
                drawn.append(self.model(part).sample().cpu().numpy())
        x = self.scaler.inverse(np.concatenate(drawn).astype(np.float64))
        # A spline flow has linear tails: a stray draw beyond the seen range goes to its edge.
        return np.clip(x, self.scaler.low, self.scaler.high)

    def _context(self, mjj: Floats) -> Any:
        import torch

        mean, std = self.context
        return torch.as_tensor(((np.log(mjj) - mean) / std)[:, None], dtype=torch.float32, device=self.device)


def train_flow(
    features: Floats,
    mjj: Floats,
    settings: FlowSettings,
    seed: int,
    progress: Callable[[int, float, float], None] | None = None,
) -> ConditionalFlow:
    """Maximum likelihood with Adam and a one-cycle rate; the epoch of lowest validation loss (10% held out) is kept.

    `features` (n, d), `mjj` (n,) TeV. Same seed, same flow on a CPU. Uses CUDA when there is one. Raises ToolError
    when no epoch ends with a finite loss.
    """
    import torch
    import zuko

    torch.manual_seed(seed)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    scaler = Scaler.of(features)
    log_m = np.log(mjj)
    model = zuko.flows.NSF(
        features.shape[1],
        context=1,
        transforms=settings.transforms,
        bins=settings.bins,
        hidden_features=(settings.hidden, settings.hidden),
    ).to(device)
    flow = ConditionalFlow(model, scaler, (float(log_m.mean()), float(log_m.std()) or 1.0), [], device)

    order = np.random.default_rng(seed).permutation(len(features))[: settings.max_events]
    n_val = max(1, len(order) // 10)
    z = torch.as_tensor(scaler.forward(features), dtype=torch.float32, device=device)[order]
    c = flow._context(mjj)[order]
    z_val, c_val, z, c = z[:n_val], c[:n_val], z[n_val:], c[n_val:]

    optimizer = torch.optim.Adam(model.parameters(), lr=settings.learning_rate)
    n_batches = -(-len(z) // settings.batch)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, settings.learning_rate, total_steps=settings.epochs * n_batches
    )
    best, best_state, since = np.inf, copy.deepcopy(model.state_dict()), 0
    for epoch in range(settings.epochs):
        shuffled = torch.randperm(len(z), device=device)
        total = 0.0
        for batch in torch.split(shuffled, settings.batch):
            loss = -model(c[batch]).log_prob(z[batch]).mean()
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            total += loss.item() * len(batch)
        with torch.no_grad():
            validation = float(-model(c_val).log_prob(z_val).mean())
        flow.losses.append((total / len(z), validation))
        if progress:
            progress(epoch + 1, *flow.losses[-1])
        if validation < best:
            best, best_state, since = validation, copy.deepcopy(model.state_dict()), 0
        else:
            since += 1
            if since >= settings.patience:
                break
    if not np.isfinite(best):
        raise ToolError("flow", settings.model_dump(), "training diverged; lower learning_rate")
    model.load_state_dict(best_state)
    model.eval()
    return flow
