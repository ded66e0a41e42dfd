"""Training of conditional networks for p(features | mjj) on the sidebands, shared by all templates that learn one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from tools.anomaly.data import Sidebands
from tools.anomaly.scaling import Coordinates
from tools.parallel import one_thread
from tools.training import Losses, Progress, Training, device, split, to_tensor, train

HELD_OUT = 0.1  # fraction of the events, to choose the epoch


@dataclass
class Fitted:
    """A trained network and its coordinates; `losses` are (training, validation) per epoch."""

    model: Any
    coordinates: Coordinates
    losses: Losses
    device: str


def fit_conditional(
    build: Callable[[int], Any],
    loss: Callable[[Any, Any, Any], Any],
    sidebands: Sidebands,
    settings: Training,
    seed: int,
    progress: Progress | None = None,
) -> Fitted:
    """Train `build(d)` on `loss(model, x (n, d), c (n, 1))`, one number per event, where x and c are the coordinates of
    features and mjj; events count by their weights.

    On a CPU the same seed gives the same network. Raises ToolError when training diverges.
    """
    import torch

    torch.manual_seed(seed)
    where = device()
    model = build(sidebands.features.shape[1]).to(where)
    coordinates = Coordinates.of(sidebands.features, sidebands.mjj)
    weight = np.ones(len(sidebands.mjj)) if sidebands.weight is None else sidebands.weight / sidebands.weight.mean()
    data = (*coordinates.tensors(sidebands.features, sidebands.mjj, where), to_tensor(weight, where))
    used, held = split(len(sidebands.mjj), HELD_OUT, seed, settings.max_events)
    training, validation = (tuple(t[rows] for t in data) for rows in (used, held))

    def mean(x: Any, c: Any, w: Any) -> Any:
        return (w * loss(model, x, c)).mean()

    with one_thread():
        losses, _ = train(model, mean, training, validation, settings, seed, progress)
    return Fitted(model, coordinates, losses, where)
