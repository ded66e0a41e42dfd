"""A calorimeter of nine voxels and showers of a distribution in closed form, to train generators in seconds."""

from __future__ import annotations

import numpy as np

from tools.calorimeter.geometry import Geometry, Layer
from tools.calorimeter.showers import Showers

TINY = Geometry(
    "tiny",
    "photon",
    (Layer(0, (0.0, 10.0), 1, (0.0, 2.0)), Layer(1, (0.0, 10.0, 30.0), 4, (2.0, 10.0))),
)
THRESHOLD = 2.0  # MeV
CELLS = np.array([6.0, 5.0, 2.0, 5.0, 2.0, 5.0, 2.0, 5.0, 2.0])  # mean energies in units of 1, in all 34
UNIT = 5.0  # MeV: a voxel is UNIT times a gamma of shape CELLS * E/E_0, so that shares of groups are beta densities


def tiny_showers(n: int, seed: int, energies: tuple[float, ...] = (100.0, 200.0, 400.0)) -> Showers:
    """Voxels are independent gamma numbers; those below THRESHOLD are empty."""
    rng = np.random.default_rng(seed)
    incident = rng.choice(energies, n)
    return Showers(incident, tiny_voxels(incident, rng), TINY)


def tiny_voxels(incident: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    voxels = UNIT * rng.gamma(CELLS / CELLS.sum() * incident[:, None] / UNIT)
    return np.where(voxels < THRESHOLD, 0.0, voxels)
