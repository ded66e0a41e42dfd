"""Frozen-shower library: showers of the simulation, stored and reused (as in ATLAS, ATL-PHYS-PUB-2009-006).

For an incident energy E the library returns one of the `neighbours` showers nearest in log E at random, with all voxels
multiplied by E / E_library; voxels that fall below the threshold are emptied. There is no training and no
interpolation: this is the baseline that a generator has to beat in variety, in size, and between energies.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import Field

from tools.calorimeter.generators import base
from tools.calorimeter.generators.base import Arrays, Losses, Progress, Stored
from tools.calorimeter.geometry import Geometry
from tools.calorimeter.showers import Showers
from tools.contract import Frozen
from tools.types import Floats


class FrozenShowers(Frozen):
    """A library of frozen showers: instant, but repeats itself. The baseline."""

    kind: Literal["frozen"] = "frozen"
    size: int = Field(2000, ge=1, le=1_000_000, description="number of showers kept, chosen at random")
    neighbours: int = Field(20, ge=1, description="number of showers nearest in incident energy, of which one is taken")

    def fit(self, showers: Showers, seed: int, progress: Progress | None = None) -> FrozenLibrary:
        """Keep `size` showers that are not empty."""
        seen = base.check_training(showers)
        filled = np.flatnonzero(showers.voxels.any(axis=1))
        rows = np.random.default_rng(seed).permutation(filled)[: self.size]
        rows = rows[np.argsort(showers.incident[rows], kind="stable")]
        return FrozenLibrary(self, showers[rows], base.threshold_of(showers), seen, [])


@dataclass
class FrozenLibrary:
    """A library of showers, ordered by incident energy."""

    settings: FrozenShowers
    library: Showers
    threshold: float
    seen: tuple[float, float]
    losses: Losses

    @property
    def geometry(self) -> Geometry:
        return self.library.geometry

    def generate(self, incident: Floats, seed: int) -> Showers:
        """See Generator."""
        incident = base.check_energies(incident, self.seen)
        rng = np.random.default_rng(seed)
        chosen = np.empty(len(incident), np.int64)
        logs = np.log(self.library.incident)
        n = min(self.settings.neighbours, len(logs))
        for energy in np.unique(incident):
            rows = np.flatnonzero(incident == energy)
            distance = np.abs(logs - np.log(energy))
            # Include all that are as near as the last neighbour: for discrete energies, every shower of that energy.
            near = np.flatnonzero(distance <= np.partition(distance, n - 1)[n - 1])
            chosen[rows] = rng.choice(near, len(rows))
        scale = incident / self.library.incident[chosen]
        voxels = self.library.voxels[chosen] * scale[:, None].astype(np.float32)
        return Showers(incident, np.where(voxels < np.float32(self.threshold), 0, voxels), self.geometry)

    def save(self, path: Path) -> None:
        """See Generator."""
        arrays: Arrays = {
            "incident": self.library.incident,
            "voxels": self.library.voxels,
            "threshold": np.array([self.threshold]),
        }
        base.save(path, Stored("frozen", self.settings.model_dump(), self.geometry, self.seen, self.losses, arrays))


def restore(stored: Stored) -> FrozenLibrary:
    """Return the generator stored in a file; KeyError or ValueError if the contents do not fit."""
    library = Showers(stored.arrays["incident"], stored.arrays["voxels"], stored.geometry)
    settings = FrozenShowers.model_validate(stored.settings)
    return FrozenLibrary(settings, library, float(stored.arrays["threshold"][0]), stored.seen, stored.losses)
