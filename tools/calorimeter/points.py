"""Showers as point clouds: one point for each voxel with energy, a variable number per shower."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tools.calorimeter.geometry import Geometry
from tools.calorimeter.showers import Showers, check_incident
from tools.contract import ToolError

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Points:
    """Points of N showers, one shower after the other: those of shower i are offsets[i]:offsets[i + 1].

    `offsets` (N + 1,); `layer`, `alpha`, `r` (P,) number layers, sectors and rings as in `Geometry`; `energy` (P,) in
    MeV, all above `threshold`; `incident` (N,) in MeV.
    """

    incident: NDArray[np.float64]
    offsets: Ints
    layer: Ints
    alpha: Ints
    r: Ints
    energy: NDArray[np.float32]
    threshold: float = 0.0

    def __post_init__(self) -> None:
        check_incident(self.incident)
        sizes = {name: len(getattr(self, name)) for name in ("layer", "alpha", "r", "energy")}
        n = len(self.energy)
        if len(set(sizes.values())) > 1:
            raise ToolError("points", sizes, "layer, alpha, r and energy must have one entry per point")
        rising = bool(np.all(np.diff(self.offsets) >= 0))
        if len(self.offsets) != len(self.incident) + 1 or self.offsets[0] != 0 or self.offsets[-1] != n or not rising:
            raise ToolError("offsets", self.offsets[-1:], f"{len(self.incident) + 1} rising numbers from 0 to {n}")
        if n and not (np.isfinite(self.energy).all() and (self.energy > self.threshold).all()):
            raise ToolError("energy", float(np.min(self.energy)), f"finite and above the threshold of {self.threshold}")

    def __len__(self) -> int:
        return len(self.incident)

    @property
    def counts(self) -> Ints:
        """Number of points of each shower (N,)."""
        return np.diff(self.offsets)

    @property
    def shower(self) -> Ints:
        """Shower of each point (P,)."""
        return np.repeat(np.arange(len(self)), self.counts)


def to_points(showers: Showers, threshold: float = 0.0) -> Points:
    """Return the voxels above `threshold` [MeV], in the order of the file; the others are dropped."""
    if not 0 <= threshold < np.inf:
        raise ToolError("threshold", threshold, "0 MeV or more")
    g = showers.geometry
    shower, voxel = np.nonzero(showers.voxels > threshold)
    offsets = np.concatenate([[0], np.cumsum(np.bincount(shower, minlength=len(showers)))]).astype(np.int64)
    energy = showers.voxels[shower, voxel]
    return Points(
        showers.incident, offsets, g.voxel_layer[voxel], g.voxel_alpha[voxel], g.voxel_r[voxel], energy, threshold
    )


def to_voxels(points: Points, geometry: Geometry) -> Showers:
    """Return the voxels of points; several in one voxel are added up. ToolError for a point outside the geometry."""
    n_alpha = np.array([layer.n_alpha for layer in geometry.layers])
    n_r = np.array([layer.n_r for layer in geometry.layers])
    limits = {"layer": np.full(len(points.layer), geometry.n_layers)}
    layer = np.clip(points.layer, 0, geometry.n_layers - 1)
    limits |= {"alpha": n_alpha[layer], "r": n_r[layer]}
    for name, limit in limits.items():
        values = getattr(points, name)
        outside = (values < 0) | (values >= limit)
        if outside.any():
            i = int(np.argmax(outside))
            raise ToolError(name, int(values[i]), f"point {i}, layer {int(points.layer[i])}: 0 to {int(limit[i]) - 1}")
    first = np.array([s.start for s in geometry.slices])
    voxel = first[points.layer] + points.alpha * n_r[points.layer] + points.r
    voxels = np.zeros((len(points), geometry.n_voxels), np.float32)
    np.add.at(voxels, (points.shower, voxel), points.energy)
    return Showers(points.incident, voxels, geometry)
