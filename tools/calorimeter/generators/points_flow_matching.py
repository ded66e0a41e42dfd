"""Conditional flow matching on point clouds, after AllShowers (arXiv:2601.11716).

Points are hits; a flow first draws energy and number of points of each layer (`totals.py`). The velocity of all points
of a shower (Lipman et al., arXiv:2210.02747),

    x_t = (1 - t) x_0 + t x_1,   loss = E |v(x_t, t | layer, E_inc, E_layer, N_layer) - (x_1 - x_0)|^2,

is a transformer with an embedding of the layer; x_0 is Gaussian noise, matched to the points of each layer by optimal
transport, so that paths are short and do not cross. x = (rho cos a, rho sin a, log excess over the threshold), with
positions dequantised within voxels, rho = (ring + u)/rings. Optimal transport also assigns generated points to voxels,
one per voxel, where they share the layer's energy above N thresholds: counts, zeros and layer energies are exactly
those drawn.
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
from tools.calorimeter.generators.totals import Totals
from tools.calorimeter.generators.trend import Trend
from tools.calorimeter.geometry import Geometry
from tools.calorimeter.showers import Showers
from tools.contract import ToolError
from tools.training import Training, device, split, train
from tools.types import Floats

HELD_OUT = 300  # maximum number of showers to choose the epoch with
CHUNK = 100  # showers at a time
SPREAD = 2.0  # factor that brings transverse coordinates to order 1
EXCESS = 1e-2  # fraction of the threshold added to energies above it before taking logarithms


class PointsFlowMatching(Training):
    """Flow matching on point clouds. Slow to train and to sample; learns positions of hits without voxels."""

    kind: Literal["points_flow_matching"] = "points_flow_matching"
    epochs: int = Field(10, ge=1, le=1000)
    totals_epochs: int = Field(
        30, ge=1, le=1000, description="epochs of the flow for layer energies and numbers of points"
    )
    batch: SkipJsonSchema[int] = Field(64, ge=4)
    learning_rate: SkipJsonSchema[float] = Field(2e-3, gt=0, lt=1)
    dim: int = Field(64, ge=8, le=2048)
    heads: int = Field(4, ge=1, le=64)
    blocks: int = Field(3, ge=1, le=64)
    steps: int = Field(16, ge=1, le=1000, description="integration steps, two evaluations each")

    def fit(self, showers: Showers, seed: int, progress: Progress | None = None) -> PointGenerator:
        """Train the generator; on a CPU the same seed gives the same one. ToolError when training diverges."""
        import torch

        if self.dim % self.heads:
            raise ToolError("heads", self.heads, f"a divisor of dim={self.dim}")
        seen, threshold = base.check_training(showers), base.threshold_of(showers)
        torch.manual_seed(seed)
        rows = split(len(showers), min(0.1, HELD_OUT / len(showers)), seed, self.max_events)
        first = self.model_copy(update={"epochs": self.totals_epochs, "batch": 256})
        totals, losses = Totals.fit(showers, threshold, rows, first, seed, progress)
        made = PointGenerator(self, showers.geometry, seen, losses, totals)
        where = device()
        rng = np.random.default_rng([seed, 7])

        def loss(index: Any) -> Any:
            cloud = _clouds(showers[index.cpu().numpy()], threshold, rng)
            noise = _matched(cloud, rng)
            arrays = noise, cloud.x, cloud.layer, cloud.context
            x0, x1, layer, context = (torch.from_numpy(a).to(where) for a in arrays)
            here = (layer >= 0)[..., None]
            t = torch.rand((len(x1), 1, 1), device=where)
            v = made.model((1 - t) * x0 + t * x1, layer, t[:, 0, 0], context)
            return ((v - (x1 - x0)).square() * here).sum() / (3 * here.sum())

        used, held = (torch.from_numpy(part).to(where) for part in rows)
        made.losses = losses + train(made.model, loss, (used,), (held,), self, seed, progress)[0]
        return made


@dataclass(frozen=True)
class Cloud:
    """Padded points of B showers: x (B, P, 3), layer (B, P), -1 for none; context (B, L, 3) of layers, float32.

    Context: log E_inc, log(1 + E_layer/threshold), log(1 + N_layer).
    """

    x: Any
    layer: Any
    context: Any


def _clouds(showers: Showers, threshold: float, rng: np.random.Generator) -> Cloud:
    g = showers.geometry
    shower, voxel = np.nonzero(showers.voxels)
    counts = np.bincount(shower, minlength=len(showers))
    column = np.arange(len(shower)) - (np.cumsum(counts) - counts)[shower]
    layer, most = np.full((len(showers), max(1, counts.max())), -1), max(1, int(counts.max()))
    layer[shower, column] = g.voxel_layer[voxel]
    number = np.stack([(layer == i).sum(axis=1) for i in range(g.n_layers)], axis=1)
    energies = showers.layer_energies
    n_r = np.array([part.n_r for part in g.layers])[g.voxel_layer[voxel]]
    n_alpha = np.array([part.n_alpha for part in g.layers])[g.voxel_layer[voxel]]
    rho = (g.voxel_r[voxel] + rng.random(len(voxel))) / n_r
    angle = 2 * np.pi * (g.voxel_alpha[voxel] + rng.random(len(voxel))) / n_alpha
    mean = (energies / number.clip(1))[shower, g.voxel_layer[voxel]]
    excess = (showers.voxels[shower, voxel] - threshold).clip(0) + EXCESS * threshold
    x = np.zeros((len(showers), most, 3), np.float32)
    x[shower, column] = np.stack(
        [SPREAD * rho * np.cos(angle), SPREAD * rho * np.sin(angle), 0.5 * np.log(excess / mean)], axis=1
    )
    return Cloud(x, layer, context_of(showers.incident, energies, number, threshold))


def context_of(incident: Floats, energies: Floats, number: Any, threshold: float) -> Any:
    """Return the velocity's inputs for each layer (B, L, 3), float32."""
    logs = np.broadcast_to(np.log(incident)[:, None], energies.shape)
    return np.stack([logs, np.log1p(energies / threshold), np.log1p(number)], axis=2).astype(np.float32)


def _matched(cloud: Cloud, rng: np.random.Generator) -> Any:
    """Return noise like cloud.x, ordered in each layer of each shower so that the sum of squared paths is smallest."""
    from scipy.optimize import linear_sum_assignment
    from scipy.spatial.distance import cdist

    noise = rng.standard_normal(cloud.x.shape).astype(np.float32)
    for x, z, layer in zip(cloud.x, noise, cloud.layer, strict=True):
        for i in np.unique(layer[layer >= 0]):
            rows = np.flatnonzero(layer == i)
            _, order = linear_sum_assignment(cdist(x[rows], z[rows], "sqeuclidean"))
            z[rows] = z[rows][order]
    return noise


@dataclass
class PointGenerator:
    """A trained generator: the first stage and the velocity."""

    settings: PointsFlowMatching
    geometry: Geometry
    seen: tuple[float, float]
    losses: Losses
    totals: Totals
    model: Any = None

    def __post_init__(self) -> None:
        if self.model is None:
            from tools.calorimeter.generators.velocity import Velocity

            s = self.settings
            self.model = Velocity(self.geometry.n_layers, s.dim, s.heads, s.blocks).to(device())

    def generate(self, incident: Floats, seed: int) -> Showers:
        """See Generator."""
        incident = base.check_energies(incident, self.seen)
        energies, number = self.totals.draw(np.log(incident), seed)
        voxels = np.zeros((len(incident), self.geometry.n_voxels), np.float32)
        rng = np.random.default_rng([seed, 8])
        for first in range(0, len(incident), CHUNK):
            part = slice(first, first + CHUNK)
            layer = _padded_layers(number[part])
            x = self._points(incident[part], energies[part], number[part], layer, rng)
            for i, (points, of, energy) in enumerate(zip(x, layer, energies[part], strict=True)):
                for which in np.unique(of[of >= 0]):
                    at = self.geometry.slices[which]
                    voxels[first + i, at] = self._fill(points[of == which], which, energy[which])
        return Showers(incident, voxels, self.geometry)

    def _points(self, incident: Floats, energies: Floats, number: Any, layer: Any, rng: np.random.Generator) -> Floats:
        """Return the end points of streamlines (B, P, 3), by the midpoint rule."""
        import torch

        where = next(self.model.parameters()).device
        x = torch.from_numpy(rng.standard_normal((*layer.shape, 3)).astype(np.float32)).to(where)
        context = torch.from_numpy(context_of(incident, energies, number, self.totals.threshold)).to(where)
        of, h = torch.from_numpy(layer).to(where), 1 / self.settings.steps
        self.model.eval()
        with torch.no_grad():
            for i in range(self.settings.steps):
                t = torch.full((len(x),), i * h, device=where)
                middle = x + 0.5 * h * self.model(x, of, t, context)
                x = x + h * self.model(middle, of, t + 0.5 * h, context)
        ends: Floats = x.cpu().numpy().astype(np.float64)
        return ends

    def _fill(self, points: Floats, which: int, energy: float) -> Floats:
        """Return a layer's voxel energies for its points (n, 3), each in its own voxel, with minimal total distance."""
        from scipy.optimize import linear_sum_assignment

        part, at = self.geometry.layers[which], self.geometry.slices[which]
        # Distance of a point from a voxel, in radius and angle; 0 if it is inside.
        rho = np.hypot(points[:, 0], points[:, 1])[:, None] / SPREAD
        around = np.arctan2(points[:, 1], points[:, 0])[:, None] - self.geometry.angle[at]
        around = np.abs((around + np.pi) % (2 * np.pi) - np.pi) - np.pi / part.n_alpha
        across = np.abs(rho - (self.geometry.voxel_r[at] + 0.5) / part.n_r) - 0.5 / part.n_r
        cost = across.clip(0) ** 2 + (rho * around.clip(0)) ** 2
        _, voxel = linear_sum_assignment(cost)
        weight = np.exp(2 * (points[:, 2] - points[:, 2].max()))
        threshold = self.totals.threshold
        out = np.zeros(part.n_voxels)
        out[voxel] = threshold + (energy - len(points) * threshold) * weight / weight.sum()
        # Rounding to float32 must not take an energy below the threshold.
        return np.where(out > 0, np.maximum(out, np.float32(threshold)), 0)

    def save(self, path: Path) -> None:
        """See Generator."""
        arrays = {"points." + name: t.cpu().numpy() for name, t in self.model.state_dict().items()}
        arrays |= {"flow." + name: t.cpu().numpy() for name, t in self.totals.flow.state_dict().items()}
        arrays |= self.totals.trend.arrays("trend.")
        arrays["threshold"] = np.array([self.totals.threshold])
        kind, settings = self.settings.kind, self.settings.model_dump()
        base.save(path, Stored(kind, settings, self.geometry, self.seen, self.losses, arrays))


def _padded_layers(number: Any) -> Any:
    """Return the layer of each point (B, P) for numbers of points (B, L); -1 for no point."""
    counts = number.sum(axis=1)
    layer = np.full((len(number), max(1, int(counts.max()))), -1)
    for row, numbers in zip(layer, number, strict=True):
        row[: numbers.sum()] = np.repeat(np.arange(len(numbers)), numbers)
    return layer


def restore(stored: Stored) -> PointGenerator:
    """Return the generator stored in a file; KeyError, ValueError or RuntimeError if the contents do not fit."""
    import torch

    parts: dict[str, Any] = {"points": {}, "flow": {}}
    for name, array in stored.arrays.items():
        first, _, rest = name.partition(".")
        if first in parts:
            parts[first][rest] = torch.from_numpy(array)
    voxels = np.array([layer.n_voxels for layer in stored.geometry.layers], np.float64)
    totals = Totals(
        Totals.build(len(voxels)), Trend.of(stored.arrays, "trend."), voxels, float(stored.arrays["threshold"][0])
    )
    totals.flow.load_state_dict(parts["flow"])
    settings = PointsFlowMatching.model_validate(stored.settings)
    made = PointGenerator(settings, stored.geometry, stored.seen, stored.losses, totals)
    made.model.load_state_dict(parts["points"])
    return made
