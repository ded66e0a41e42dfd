"""Module of the two-stage flow (`flow.py`): the networks of both stages, with the tree and the trends as buffers.

M is the number of splits, B of showers, V of voxels. Groups are numbered as in `tree.py`; the last place, after the
voxels, is the rest of the root's energy.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from tools.calorimeter.generators import share
from tools.calorimeter.generators.tree import Tree
from tools.calorimeter.generators.trend import DEGREE, MIN_STD, Trend

FAR = 6.0  # standard deviations at which inputs are clipped
RARE = 1e-3  # count added to that of each outcome
TREE = ("start", "stop", "left", "right", "sibling", "parent", "layers", "depth")


class TrendTables(nn.Module):
    """The tables of a Trend of D quantities: log E_inc (B,) -> mean and standard deviation (B, D), float32."""

    mean: torch.Tensor
    log_std: torch.Tensor
    reach: torch.Tensor
    scale: torch.Tensor

    def __init__(self, d: int) -> None:
        super().__init__()
        for name, shape in (
            ("mean", (d, DEGREE + 1)),
            ("log_std", (d, DEGREE + 1)),
            ("reach", (d, 2)),
            ("scale", (2,)),
        ):
            self.register_buffer(name, torch.zeros(shape))

    def fill(self, trend: Trend) -> TrendTables:
        """Copy a trend's tables."""
        for name, table in vars(trend).items():
            getattr(self, name).copy_(torch.from_numpy(table))
        return self

    def standard(self, log_incident: Any) -> Any:
        """Return standardised log E_inc (B,)."""
        return (log_incident - self.scale[0]) / self.scale[1]

    def forward(self, log_incident: Any) -> tuple[Any, Any]:
        x = self.standard(log_incident)[:, None].clamp(self.reach[:, 0], self.reach[:, 1])
        return _polynomial(self.mean, x), _polynomial(self.log_std, x).exp().clamp_min(MIN_STD)


def _polynomial(table: Any, x: Any) -> Any:
    y = table[:, DEGREE]
    for power in range(DEGREE - 1, -1, -1):
        y = y * x + table[:, power]
    return y


class Stages(nn.Module):
    """Densities of the splits of all groups: layers in stage 0, groups within layers in stage 1."""

    start: torch.Tensor
    stop: torch.Tensor
    left: torch.Tensor
    right: torch.Tensor
    sibling: torch.Tensor
    parent: torch.Tensor
    layers: torch.Tensor
    depth: torch.Tensor
    least: torch.Tensor  # minimum energy [MeV] of a group that is not empty

    def __init__(self, tree: Tree, threshold: float, hidden: int, bins: int, bf16: bool) -> None:
        super().__init__()
        self.n, self.n_layers = len(tree), len(tree.layers)
        self.threshold, self.bf16 = threshold, bf16
        for name in TREE:  # follow from the geometry, so not stored in files
            self.register_buffer(name, torch.from_numpy(getattr(tree, name)), persistent=False)
        least = torch.full((2 * self.n + 1,), threshold, dtype=torch.float64)
        least[-1] = 0.0
        self.register_buffer("least", least, persistent=False)
        sizes = ((2, 2 * hidden, self.n_layers), (1, hidden, self.n))
        self.networks = nn.ModuleList(
            share.network(self.n_layers + 4, nodes, width, depth, bins) for depth, width, nodes in sizes
        )
        self.energies = TrendTables(2 * self.n + 1)  # trends of the groups' energies with E_inc
        self.shares = TrendTables(self.n)  # trends of z

    def standardise(self, places: Any, log_incident: Any) -> None:
        """Fit the trends of energies and z to a sample, and initialise outcomes with their frequencies."""
        logs, energy = log_incident.double().cpu().numpy(), self._group_energies(places)[0]
        shower, group = energy.nonzero(as_tuple=True)
        values = self._log(energy[shower, group]).double().cpu().numpy()
        self.energies.fill(Trend.fit(logs[shower.cpu().numpy()], values, group.cpu().numpy(), energy.shape[1]))
        rows = [self.rows(stage, places) for stage in (0, 1)]
        shower, node, outcome, z = (torch.cat([part[i] for part in rows]) for i in range(4))
        both = outcome == share.BOTH
        where, values, which = (tensor[both].cpu().numpy() for tensor in (shower, z.double(), node))
        self.shares.fill(Trend.fit(logs[where], values, which, self.n))
        for network in self.networks:
            # Outcomes that a group never had start as rare, or it would take many steps to unlearn them.
            table: torch.Tensor = network.get_parameter("offset.weight").data
            counts = torch.full_like(table[:, :3], RARE)
            mine = node < len(table)
            counts.index_put_((node[mine], outcome[mine]), torch.ones_like(z[mine]), accumulate=True)
            table[:, :3] = torch.log(counts / counts.sum(1, keepdim=True))

    def log_prob(self, stage: int, places: Any, log_incident: Any) -> Any:
        """Return the log density in nats of every split (M,) of a batch, given energies of places (B, V + 1) [MeV]."""
        shower, node, outcome, z, energy = self.rows(stage, places)
        trends = self.energies(log_incident), self.shares(log_incident)
        return self._density(stage, energy, log_incident, trends, shower, node).log_prob(outcome, z)

    def rows(self, stage: int, places: Any) -> tuple[Any, ...]:
        """Return shower, node, outcome and z (M,) of all groups of a stage with energy, and the energies of groups."""
        energy, filled = self._group_energies(places)
        first, last = (0, self.n_layers) if stage == 0 else (self.n_layers, self.n)
        shower, node = filled[:, first:last].nonzero(as_tuple=True)
        node = node + first
        left, right = self.left[node], self.right[node]
        has = filled[shower, left], filled[shower, right]
        outcome = torch.where(has[0] & has[1], share.BOTH, torch.where(has[0], share.LEFT, share.RIGHT))
        least = self.least[left], self.least[right]
        z = share.to_z(energy[shower, left], energy[shower, right], least, self.threshold).float()
        return shower, node, outcome, z, energy

    def draw(self, root: Any, log_incident: Any, generator: Any) -> Any:
        """Draw energies of places (B, V + 1) [MeV], float64, given those of the roots (B,)."""
        energy = torch.zeros((len(root), 2 * self.n + 1), dtype=torch.float64, device=root.device)
        energy[:, 0] = root
        trends = self.energies(log_incident), self.shares(log_incident)
        for depth in range(int(self.depth.max()) + 1):
            nodes = torch.nonzero(self.depth == depth)[:, 0]
            shower, which = (energy[:, nodes] > 0).nonzero(as_tuple=True)
            node = nodes[which]
            density = self._density(int(depth >= self.n_layers), energy, log_incident, trends, shower, node)
            left, right = self.left[node], self.right[node]
            least, whole = (self.least[left], self.least[right]), energy[shower, node]
            outcome, z = density.sample(whole > least[0] + least[1], generator)
            shared = share.to_energies(whole, z.double(), least)
            energy[shower, left] = torch.where(outcome == share.BOTH, shared[0], whole * (outcome == share.LEFT))
            energy[shower, right] = torch.where(outcome == share.BOTH, shared[1], whole * (outcome == share.RIGHT))
        return energy[:, self.n :]

    def _density(
        self, stage: int, energy: Any, log_incident: Any, trends: Any, shower: Any, node: Any
    ) -> share.ShareDensity:
        """Return the density of splits of groups `node` (M,) in showers `shower` (M,), given energies (B, 2V + 1)."""
        mean, std = trends[1]
        x = self._inputs(energy, log_incident, trends[0], shower, node)
        with torch.autocast(x.device.type, torch.bfloat16, enabled=self.bf16):
            parameters = self.networks[stage](x, node).float()
        return share.ShareDensity(parameters, mean[shower, node], std[shower, node])

    def _group_energies(self, places: Any) -> tuple[Any, Any]:
        """Return energies of all groups (B, 2V + 1) [MeV], float64, and which groups have any."""
        sums = nn.functional.pad(places.double().cumsum(1), (1, 0))
        hits = nn.functional.pad((places > 0).cumsum(1), (1, 0))
        filled = hits[:, self.stop] > hits[:, self.start]
        energy = torch.where(filled, sums[:, self.stop] - sums[:, self.start], 0.0)
        energy[:, self.n :] = places
        return energy, filled

    def _inputs(self, energy: Any, log_incident: Any, trend: Any, shower: Any, node: Any) -> Any:
        """Return the network's inputs at the split of a group (M, layers + 4), as deviations from the trend."""
        known = ((self._log(energy) - trend[0]) / trend[1]).clamp(-FAR, FAR)
        # Group i + 1 splits layer i from those behind it and knows layers 0..i-1; groups within layers know all layers.
        before = torch.arange(self.n_layers, device=node.device) < node[:, None] - 1
        drawn = before | (node >= self.n_layers)[:, None]
        near = (node, self.sibling[node], self.sibling[self.parent[node]])
        columns = [self.energies.standard(log_incident)[shower][:, None], *(known[shower, g][:, None] for g in near)]
        return torch.cat([known[:, self.layers][shower] * drawn, *columns], 1)

    def _log(self, energy: Any) -> Any:
        return (energy / self.threshold).log1p().float()
