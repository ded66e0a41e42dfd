"""Two-stage flow: layer energies, then voxels within layers, both by recursive splits.

CaloFlow (Krause and Shih, arXiv:2106.05285) and CaloINN (arXiv:2312.09290) learn layer energies first and then voxels
as fractions of their layer. Here the fractions are recursive down to single voxels (`tree.py`), each drawn from a mixed
density with a spline (`share.py`, with zuko). The likelihood is thus exact including zeros and thresholds, energy is
conserved, and a shower takes about as many network calls as layers plus log2 of the voxels per layer.

Stage 1 is conditioned on E_inc, the layers already drawn and the remaining energy; stage 2 on E_inc, all layer energies
and the energies of the group, its sibling and its parent's sibling. It cannot learn correlations between the splits of
different groups beyond those through these energies, e.g. a shower off axis on the same side in two layers.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import Field
from pydantic.json_schema import SkipJsonSchema

from tools.calorimeter.generators import base
from tools.calorimeter.generators.base import Losses, Progress, Stored
from tools.calorimeter.generators.tree import Tree
from tools.calorimeter.geometry import Geometry
from tools.calorimeter.showers import Showers
from tools.training import Training, device, split, train
from tools.types import Floats

HELD_OUT = 2000  # maximum number of showers to choose the epoch with
HEADROOM = 1.2  # the root's energy f E_inc exceeds the largest deposited energy by this factor
NETWORKS = "networks."  # prefix of tensor names in the module, left out in files
CHUNK = 800_000  # voxels at a time


class Flow(Training):
    """Two-stage flow: layer energies, then voxels; exact zeros and thresholds. The default: good and fast."""

    kind: Literal["flow"] = "flow"
    epochs: int = Field(15, ge=1, le=1000)
    layer_epochs: int = Field(30, ge=1, le=1000, description="epochs of the first stage, which trains quickly")
    hidden: int = Field(64, ge=8, le=1024)
    bins: SkipJsonSchema[int] = Field(8, ge=2, le=64, description="bins of the splines")
    batch: SkipJsonSchema[int] = Field(
        64, ge=16, description="showers per batch; each has as many splits as groups with energy"
    )
    learning_rate: SkipJsonSchema[float] = Field(5e-3, gt=0, lt=1)
    bf16: SkipJsonSchema[bool] = Field(False, description="networks in bfloat16, densities in float32; for GPUs")

    def fit(self, showers: Showers, seed: int, progress: Progress | None = None) -> TwoStageFlow:
        """Train by maximum likelihood; on a CPU the same seed gives the same flow. ToolError when training diverges."""
        import torch

        seen = base.check_training(showers)
        where = device()
        tree = Tree.of(showers.geometry)
        deposited = showers.deposited
        f = HEADROOM * float((deposited / showers.incident).max())
        threshold = base.threshold_of(showers)
        energies = np.empty((len(showers), len(tree) + 1), np.float32)
        energies[:, :-1] = showers.voxels[:, tree.order]
        energies[:, -1] = f * showers.incident - deposited
        used, held = split(len(showers), min(0.1, HELD_OUT / len(showers)), seed, self.max_events)
        data = torch.from_numpy(energies), torch.from_numpy(np.log(showers.incident)).float()
        torch.manual_seed(seed)
        stages = build(self, tree, threshold).to(where)
        stages.standardise(*(t[used[:HELD_OUT]].to(where) for t in data))
        flow = TwoStageFlow(self, showers.geometry, seen, [], f, threshold, tree, stages)
        for stage, epochs in ((0, self.layer_epochs), (1, self.epochs)):
            training, validation = (tuple(t[rows].to(where) for t in data) for rows in (used, held))

            def loss(places: Any, log_incident: Any, stage: int = stage) -> Any:
                parts = zip(places.split(self.batch), log_incident.split(self.batch), strict=True)
                return -torch.cat([stages.log_prob(stage, *part) for part in parts]).mean()

            settings = self.model_copy(update={"epochs": epochs})
            network = stages.networks[stage]
            flow.losses += train(network, loss, training, validation, settings, seed + stage, progress)[0]
        return flow


def build(settings: Flow, tree: Tree, threshold: float) -> Any:
    """Return the untrained module of both stages."""
    from tools.calorimeter.generators.stages import Stages

    return Stages(tree, threshold, settings.hidden, settings.bins, settings.bf16)


@dataclass
class TwoStageFlow:
    """A trained flow: `stages` is the module; losses are in nats per split, stage after stage."""

    settings: Flow
    geometry: Geometry
    seen: tuple[float, float]
    losses: Losses
    f: float
    threshold: float
    tree: Tree
    stages: Any

    @property
    def at_once(self) -> int:
        """Number of showers in memory at a time."""
        return max(1, CHUNK // self.geometry.n_voxels)

    def generate(self, incident: Floats, seed: int) -> Showers:
        """See Generator."""
        import torch

        incident = base.check_energies(incident, self.seen)
        where = self.stages.least.device
        generator = torch.Generator(where).manual_seed(seed)
        voxels = np.zeros((len(incident), self.geometry.n_voxels), np.float32)
        with torch.no_grad():
            for first in range(0, len(incident), self.at_once):
                part = torch.from_numpy(incident[first : first + self.at_once]).to(where)
                places = self.stages.draw(self.f * part, part.log().float(), generator)[:, :-1].float()
                # Rounding to float32 must not take an energy below the threshold.
                least = float(np.float32(self.threshold))
                places = torch.where(places > 0, places.clamp_min(least), 0.0)
                voxels[first : first + self.at_once, self.tree.order] = places.cpu().numpy()
        return Showers(incident, voxels, self.geometry)

    def save(self, path: Path) -> None:
        """See Generator."""
        state = self.stages.state_dict().items()
        arrays = {name.removeprefix(NETWORKS): tensor.cpu().numpy() for name, tensor in state}
        arrays["f"], arrays["threshold"] = np.array([self.f]), np.array([self.threshold])
        base.save(path, Stored("flow", self.settings.model_dump(), self.geometry, self.seen, self.losses, arrays))


def restore(stored: Stored) -> TwoStageFlow:
    """Return the generator stored in a file; KeyError, ValueError or RuntimeError if the contents do not fit."""
    import torch

    arrays = dict(stored.arrays)
    f, threshold = (float(arrays.pop(name)[0]) for name in ("f", "threshold"))
    settings, tree = Flow.model_validate(stored.settings), Tree.of(stored.geometry)
    stages = build(settings, tree, threshold)
    trends = ("energies.", "shares.")
    names = {name: name if name.startswith(trends) else NETWORKS + name for name in arrays}
    stages.load_state_dict({names[name]: torch.from_numpy(array) for name, array in arrays.items()})
    stages.to(device()).eval()
    return TwoStageFlow(settings, stored.geometry, stored.seen, stored.losses, f, threshold, tree, stages)
