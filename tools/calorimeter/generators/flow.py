"""A two-stage flow: energies of layers, then voxels within layers, both by recursive splits.

CaloFlow (Krause and Shih, arXiv:2106.05285) and CaloINN (arXiv:2312.09290) learn layer energies first and then voxels
as fractions of their layer. Here the fractions are recursive down to single voxels (`tree.py`), each drawn from a mixed
density with a spline (`share.py`, on zuko). So the likelihood is exact with zeros and thresholds in it, energy is
conserved, and a shower takes about as many network calls as it has layers plus log2 of voxels in a layer.

Stage 1 knows E_inc, layers already drawn and what is left; stage 2 knows E_inc, all layer energies, and energies of the
group, its sibling and its parent's sibling. What it cannot learn: correlations between the shares of different groups
beyond those that these energies bring, e.g. a shower that leans to one side in two layers at once.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import Field
from pydantic.json_schema import SkipJsonSchema

from tools.calorimeter.generators import base, share
from tools.calorimeter.generators.base import Losses, Progress, Stored
from tools.calorimeter.generators.tree import Tree
from tools.calorimeter.generators.trend import Trend
from tools.calorimeter.geometry import Geometry
from tools.calorimeter.showers import Showers
from tools.training import Training, device, split, train
from tools.types import Floats

HELD_OUT = 2000  # showers at most, to choose the epoch
HEADROOM = 1.2  # f: the energy at the root over the largest energy seen, both over E_inc
FAR = 6.0  # standard deviations at which inputs are cut off
RARE = 1e-3  # counts that are added to those of outcomes
CHUNK = 800_000  # voxels at once


class Flow(Training):
    """Two-stage flow: layer energies, then voxels; exact zeros and thresholds. The default: good and quick."""

    kind: Literal["flow"] = "flow"
    epochs: int = Field(15, ge=1, le=1000)
    layer_epochs: int = Field(30, ge=1, le=1000, description="of the first stage, which is quick to train")
    hidden: int = Field(64, ge=8, le=1024)
    bins: SkipJsonSchema[int] = Field(8, ge=2, le=64, description="of the splines")
    batch: SkipJsonSchema[int] = Field(64, ge=16, description="showers; each has as many shares as groups with energy")
    learning_rate: SkipJsonSchema[float] = Field(5e-3, gt=0, lt=1)
    bf16: SkipJsonSchema[bool] = Field(False, description="networks in bfloat16, densities in float32: for GPUs")

    def fit(self, showers: Showers, seed: int, progress: Progress | None = None) -> TwoStageFlow:
        """Maximum likelihood. Same seed, same flow on a CPU. Raises ToolError when training diverges."""
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
        flow = TwoStageFlow(self, showers.geometry, seen, [], f, threshold, tree)
        flow.build(where)
        flow.standardise(*(t[used[:HELD_OUT]].to(where) for t in data))
        flow.to_trends()
        for stage, epochs in ((0, self.layer_epochs), (1, self.epochs)):
            training, validation = (tuple(t[rows].to(where) for t in data) for rows in (used, held))

            def loss(places: Any, log_incident: Any, stage: int = stage) -> Any:
                parts = zip(places.split(self.batch), log_incident.split(self.batch), strict=True)
                return -torch.cat([flow.log_prob(stage, *part) for part in parts]).mean()

            settings = self.model_copy(update={"epochs": epochs})
            flow.losses += train(flow.networks[stage], loss, training, validation, settings, seed + stage, progress)[0]
        return flow


@dataclass
class TwoStageFlow:
    """Networks of the two stages and what their inputs are measured in; losses in nats a share, stage after stage."""

    settings: Flow
    geometry: Geometry
    seen: tuple[float, float]
    losses: Losses
    f: float
    threshold: float
    tree: Tree
    energies: Any = None  # trends with the incident energy, of energies of groups and of z
    shares: Any = None
    networks: Any = None
    index: dict[str, Any] = field(default_factory=dict)

    @property
    def at_once(self) -> int:
        """Showers that are held in memory at a time."""
        return max(1, CHUNK // self.geometry.n_voxels)

    def build(self, where: str) -> None:
        """Untrained networks on a device."""
        import torch
        from torch import nn

        n, layers = len(self.tree), len(self.tree.layers)
        for name in ("start", "stop", "left", "right", "sibling", "parent", "layers"):
            self.index[name] = torch.from_numpy(getattr(self.tree, name)).to(where)
        self.index["least"] = torch.full((2 * n + 1,), self.threshold, dtype=torch.float64, device=where)
        self.index["least"][-1] = 0.0
        stages = []
        for depth, hidden, nodes in ((2, 2 * self.settings.hidden, layers), (1, self.settings.hidden, n)):
            stage = share.network(layers + 4, nodes, hidden, depth, self.settings.bins)
            stages.append(stage)
        self.networks = nn.ModuleList(stages).to(where)

    def standardise(self, places: Any, log_incident: Any) -> None:
        """Learn the trends of energies and of z, and how often each outcome occurs, from a sample."""
        import torch

        logs, energy = log_incident.double().cpu().numpy(), self._energies(places)[0]
        shower, group = energy.nonzero(as_tuple=True)
        values = self._log(energy[shower, group]).double().cpu().numpy()
        self.energies = Trend.fit(logs[shower.cpu().numpy()], values, group.cpu().numpy(), energy.shape[1])
        rows = [self._shares(stage, places) for stage in (0, 1)]
        shower, node, outcome, z = (torch.cat([part[i] for part in rows]) for i in range(4))
        both = outcome == share.BOTH
        arrays = (tensor[both].cpu().numpy() for tensor in (shower, z.double(), node))
        where, values, which = arrays
        self.shares = Trend.fit(logs[where], values, which, len(self.tree))
        for network in self.networks:
            # What a group never did begins as rare: else many steps go by until it is unlearned.
            table = network.offset.weight.data
            counts = torch.full_like(table[:, :3], RARE)
            mine = node < len(table)
            counts.index_put_((node[mine], outcome[mine]), torch.ones_like(z[mine]), accumulate=True)
            table[:, :3] = torch.log(counts / counts.sum(1, keepdim=True))

    def to_trends(self) -> None:
        """Bring the trends to the device."""
        where = str(self.index["start"].device)
        self.index["energies"], self.index["shares"] = self.energies.on(where), self.shares.on(where)

    def log_prob(self, stage: int, places: Any, log_incident: Any) -> Any:
        """(M,) nats of every share of a batch: energies of places (B, V + 1) [MeV], log E_inc (B,)."""
        shower, node, outcome, z, energy = self._shares(stage, places)
        trends = self.index["energies"](log_incident), self.index["shares"](log_incident)
        return self._density(stage, energy, log_incident, trends, shower, node).log_prob(outcome, z)

    def _density(
        self, stage: int, energy: Any, log_incident: Any, trends: Any, shower: Any, node: Any
    ) -> share.ShareDensity:
        """Of the shares of groups `node` (M,) of showers `shower` (M,), given energies of groups (B, 2V + 1)."""
        import torch

        mean, std = trends[1]
        x = self._inputs(energy, log_incident, trends[0], shower, node)
        with torch.autocast(x.device.type, torch.bfloat16, enabled=self.settings.bf16):
            parameters = self.networks[stage](x, node).float()
        return share.ShareDensity(parameters, mean[shower, node], std[shower, node])

    def _energies(self, places: Any) -> tuple[Any, Any]:
        """Energies of all groups (B, 2V + 1) [MeV], float64, and which of them have any."""
        import torch

        at = self.index
        sums = torch.nn.functional.pad(places.double().cumsum(1), (1, 0))
        hits = torch.nn.functional.pad((places > 0).cumsum(1), (1, 0))
        filled = hits[:, at["stop"]] > hits[:, at["start"]]
        energy = torch.where(filled, sums[:, at["stop"]] - sums[:, at["start"]], 0.0)
        energy[:, len(self.tree) :] = places
        return energy, filled

    def _shares(self, stage: int, places: Any) -> tuple[Any, ...]:
        """Shower, node, outcome and z (M,) of all groups of a stage that have energy, and energies of groups."""
        import torch

        at, layers, n = self.index, len(self.tree.layers), len(self.tree)
        energy, filled = self._energies(places)
        first, last = (0, layers) if stage == 0 else (layers, n)
        shower, node = filled[:, first:last].nonzero(as_tuple=True)
        node = node + first
        left, right = at["left"][node], at["right"][node]
        has = filled[shower, left], filled[shower, right]
        outcome = torch.where(has[0] & has[1], share.BOTH, torch.where(has[0], share.LEFT, share.RIGHT))
        least = at["least"][left], at["least"][right]
        z = share.to_z(energy[shower, left], energy[shower, right], least, self.threshold).float()
        return shower, node, outcome, z, energy

    def _inputs(self, energy: Any, log_incident: Any, trend: Any, shower: Any, node: Any) -> Any:
        """What is known when a group's energy is shared (M, layers + 4), in standard deviations from the trend."""
        import torch

        at, layers = self.index, len(self.tree.layers)
        known = ((self._log(energy) - trend[0]) / trend[1]).clamp(-FAR, FAR)
        # Group i + 1 parts layer i from those behind it, and then knows layers 0..i-1; groups in layers know them all.
        drawn = (torch.arange(layers, device=node.device) < node[:, None] - 1) | (node >= layers)[:, None]
        centre, width = self.energies.scale.tolist()
        parent = at["parent"][node]
        near = (node, at["sibling"][node], at["sibling"][parent])
        columns = [((log_incident[shower] - centre) / width)[:, None], *(known[shower, g][:, None] for g in near)]
        return torch.cat([known[:, at["layers"]][shower] * drawn, *columns], 1)

    def _log(self, energy: Any) -> Any:
        return (energy / self.threshold).log1p().float()

    def generate(self, incident: Floats, seed: int) -> Showers:
        """See Generator."""
        import torch

        incident = base.check_energies(incident, self.seen)
        where = self.index["start"].device
        generator = torch.Generator(where).manual_seed(seed)
        voxels = np.zeros((len(incident), self.geometry.n_voxels), np.float32)
        with torch.no_grad():
            for first in range(0, len(incident), self.at_once):
                part = torch.from_numpy(incident[first : first + self.at_once]).to(where)
                places = self._draw(part, generator)[:, :-1].float()
                # Rounding to float32 must not carry an energy below the threshold.
                least = float(np.float32(self.threshold))
                places = torch.where(places > 0, places.clamp_min(least), 0.0)
                voxels[first : first + self.at_once, self.tree.order] = places.cpu().numpy()
        return Showers(incident, voxels, self.geometry)

    def _draw(self, incident: Any, generator: Any) -> Any:
        """Energies of places (B, V + 1) [MeV], float64."""
        import torch

        at, layers, n = self.index, len(self.tree.layers), len(self.tree)
        energy = torch.zeros((len(incident), 2 * n + 1), dtype=torch.float64, device=incident.device)
        energy[:, 0] = self.f * incident
        log_incident = incident.log().float()
        trends = at["energies"](log_incident), at["shares"](log_incident)
        for depth in range(int(self.tree.depth.max()) + 1):
            nodes = torch.from_numpy(np.flatnonzero(self.tree.depth == depth)).to(incident.device)
            shower, which = (energy[:, nodes] > 0).nonzero(as_tuple=True)
            node = nodes[which]
            density = self._density(int(depth >= layers), energy, log_incident, trends, shower, node)
            left, right = at["left"][node], at["right"][node]
            least, whole = (at["least"][left], at["least"][right]), energy[shower, node]
            outcome, z = density.sample(whole > least[0] + least[1], generator)
            shared = share.to_energies(whole, z.double(), least)
            energy[shower, left] = torch.where(outcome == share.BOTH, shared[0], whole * (outcome == share.LEFT))
            energy[shower, right] = torch.where(outcome == share.BOTH, shared[1], whole * (outcome == share.RIGHT))
        return energy[:, n:]

    def save(self, path: Path) -> None:
        """See Generator."""
        arrays = {name: tensor.cpu().numpy() for name, tensor in self.networks.state_dict().items()}
        arrays |= self.energies.arrays("energies.") | self.shares.arrays("shares.")
        arrays["f"], arrays["threshold"] = np.array([self.f]), np.array([self.threshold])
        base.save(path, Stored("flow", self.settings.model_dump(), self.geometry, self.seen, self.losses, arrays))


def restore(stored: Stored) -> TwoStageFlow:
    """The generator of a file; KeyError, ValueError or RuntimeError where it does not fit."""
    import torch

    arrays = dict(stored.arrays)
    f, threshold = (float(arrays.pop(name)[0]) for name in ("f", "threshold"))
    settings, tree = Flow.model_validate(stored.settings), Tree.of(stored.geometry)
    flow = TwoStageFlow(settings, stored.geometry, stored.seen, stored.losses, f, threshold, tree)
    flow.build(device())
    flow.energies, flow.shares = (Trend.of(arrays, f"{name}.") for name in ("energies", "shares"))
    flow.to_trends()
    state = {name: torch.from_numpy(a) for name, a in arrays.items() if not name.startswith(("energies.", "shares."))}
    flow.networks.load_state_dict(state)
    flow.networks.eval()
    return flow
