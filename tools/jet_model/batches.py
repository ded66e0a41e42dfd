"""Jets as tensors, in batches split by length so that hardly any padding is computed.

A batch is sorted by the number of particles and split into parts, each as wide as its longest jet. The gradients of the
parts add up to that of the whole padded batch, so the training is the same: only zeros are left out. Small parts also
stay in the cache of a CPU, which spends most of its time moving data.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tools.contract import ToolError
from tools.jet_model.jets import FEATURES, LAYOUTS, LOG_PT, Jets, in_order
from tools.jet_model.model import KINEMATICS, Architecture, JetModel, Scales
from tools.robust.attacks import Reach

NUMBERS = {"cpu": 1 << 14, "cuda": 1 << 22}  # particles times `dim` per part


@dataclass
class Batch:
    """Some jets: particles x (n, m, F), kinds y (n,), weights w (n,), conditions c (n, C) or None, and their rows."""

    x: Any
    y: Any
    w: Any
    c: Any
    rows: Any

    def __len__(self) -> int:
        return len(self.x)


class Source:
    """Jets in memory, as tensors on the model's device. Kinds are numbered as in the architecture."""

    def __init__(
        self,
        model: JetModel,
        jets: Jets,
        labels: NDArray[np.int64] | None = None,
        conditions: NDArray[np.float32] | None = None,
        weights: NDArray[np.floating] | None = None,
        device: str = "cpu",
    ) -> None:
        import torch

        features = used_features(model.architecture, jets)
        self.device = device
        self.x = torch.as_tensor(np.ascontiguousarray(in_order(jets.particles)[:, :, :features]), device=device)
        self.lengths = torch.as_tensor(jets.multiplicity)
        self.y = torch.as_tensor(np.zeros(len(jets), np.int64) if labels is None else labels, device=device)
        self.w = torch.ones(len(jets), device=device)
        if weights is not None:
            self.w = torch.as_tensor(np.asarray(weights, dtype=np.float32), device=device)
        self.c = None
        if conditions is not None:
            scaled = (conditions - np.array(model.scales.condition_mean)) / np.array(model.scales.condition_std)
            self.c = torch.as_tensor(scaled.astype(np.float32), device=device)
        # The package always looks for this many neighbours, the particle itself included, even if there are fewer.
        self.width = model.architecture.neighbours + 1
        self.particles = NUMBERS[device.split(":")[0]] // model.architecture.dim

    def __len__(self) -> int:
        return len(self.x)

    def parts(self, rows: Any, particles: int | None = None) -> Iterator[Batch]:
        """Yield the jets of `rows` sorted by length, longest first, about `particles` particles at a time."""
        import torch

        limit = particles or self.particles
        rows = torch.as_tensor(rows)
        rows = rows[torch.argsort(self.lengths[rows], descending=True, stable=True)]
        start = 0
        while start < len(rows):
            longest = max(int(self.lengths[rows[start]]), self.width)
            chosen = rows[start : start + max(1, limit // longest)]
            start += len(chosen)
            yield self.batch(chosen, longest)

    def batch(self, rows: Any, width: int | None = None) -> Batch:
        """Return the jets of `rows` as one batch, `width` slots wide (default: all slots)."""
        import torch

        there = rows.to(self.device)
        x = self.x[there] if width is None else self.x[there, :width]
        if x.shape[1] < self.width:
            x = torch.nn.functional.pad(x, (0, 0, 0, self.width - x.shape[1]))
        c = None if self.c is None else self.c[there]
        return Batch(x, self.y[there], self.w[there], c, rows)


def used_features(architecture: Architecture, jets: Jets) -> int:
    """Return the number of features that the network reads; ToolError when the jets have fewer."""
    needed, there = architecture.features, jets.particles.shape[2]
    if there < needed:
        names = ", ".join(LAYOUTS.get(needed, FEATURES))
        raise ToolError("jets", f"{there} features a particle", f"the model reads {needed}: {names}")
    return needed


def kinds_of(jets: Jets) -> tuple[str, ...]:
    """Return the names of the jets' kinds, or their numbers if they have no names; empty if jets have no labels."""
    if jets.pid is None:
        return ()
    return jets.kinds or tuple(str(number) for number in range(int(jets.pid.max()) + 1))


def labels_for(kinds: tuple[str, ...], jets: Jets) -> NDArray[np.int64]:
    """Return the jets' kinds, numbered as in `kinds`; ToolError if they have no labels or a kind not in `kinds`."""
    if jets.pid is None:
        raise ToolError("jets", "no labels", f"jets labelled with some of {', '.join(kinds)}")
    named = kinds_of(jets)
    present = [named[n] for n in np.unique(jets.pid)]
    if unknown := [kind for kind in present if kind not in kinds]:
        raise ToolError("kinds", unknown, f"the model knows {', '.join(kinds)}")
    number = np.array([kinds.index(kind) if kind in kinds else -1 for kind in named])
    return np.asarray(number[jets.pid], dtype=np.int64)


def reach(scales: Scales) -> Reach:
    """Return how far robust training moves particles x (..., m, F): by the spread of each kinematic feature.

    Empty slots, kinds of particles and vertices stay.
    """

    def of(x: Any) -> Any:
        spread = x.new_zeros(x.shape[-1])
        spread[:KINEMATICS] = x.new_tensor(scales.std)
        return (x[..., LOG_PT : LOG_PT + 1] != 0) * spread

    return of


def mask_of(x: Any) -> Any:
    """Mark the slots that hold a particle (n, m, 1), as the package does."""
    return x[:, :, LOG_PT : LOG_PT + 1] != 0
