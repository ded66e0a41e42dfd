"""Showers in memory and in CaloChallenge HDF5: `incident_energies` (N, 1) and `showers` (N, V), both MeV."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tools.calorimeter.geometry import Geometry
from tools.contract import ToolError

NAMES = ("incident_energies", "showers")
UNIT_RATIO = 100.0  # voxels in another unit than the incident energy are off by 1000
MAX_INCIDENT = 1e8  # MeV: 100 TeV
CHUNK_ROWS = 256


@dataclass(frozen=True)
class Showers:
    """`incident` (N,) float64 and `voxels` (N, V) float32, both in MeV, in the order of `geometry`.

    Raises ToolError for a wrong number of voxels, NaN, infinite or negative energies, and where the median of
    deposited over incident energy says that one of them is in GeV.
    """

    incident: NDArray[np.float64]
    voxels: NDArray[np.float32]
    geometry: Geometry

    def __post_init__(self) -> None:
        object.__setattr__(self, "incident", np.asarray(self.incident, np.float64))
        object.__setattr__(self, "voxels", np.asarray(self.voxels, np.float32))
        wanted = (len(self.incident), self.geometry.n_voxels)
        if self.incident.ndim != 1 or self.voxels.shape != wanted:
            shapes = f"incident {self.incident.shape}, voxels {self.voxels.shape}"
            raise ToolError("showers", shapes, f"(N,) and (N, {wanted[1]}) for {self.geometry.name}")
        check_incident(self.incident)
        row_sum = self.voxels.sum(axis=1, dtype=np.float64)  # NaN and infinities survive a sum
        lowest = self.voxels.min(axis=1, initial=0.0)
        bad = ~np.isfinite(row_sum) | (lowest < 0)
        if bad.any():
            row = int(np.argmax(bad))
            column = int(np.argmax(~np.isfinite(self.voxels[row]) | (self.voxels[row] < 0)))
            raise ToolError(
                "showers",
                float(self.voxels[row, column]),
                f"shower {row}, voxel {column}: finite energies of 0 MeV or more ({int(bad.sum())} showers are wrong)",
            )
        seen = row_sum > 0
        ratio = float(np.median(row_sum[seen] / self.incident[seen])) if seen.any() else 1.0
        if not 1 / UNIT_RATIO < ratio < UNIT_RATIO:
            raise ToolError(
                "showers", ratio, "median of deposited over incident energy: both in MeV? One of them looks like GeV"
            )

    def __len__(self) -> int:
        return len(self.incident)

    def __getitem__(self, rows: slice | NDArray[np.integer] | NDArray[np.bool_]) -> Showers:
        return Showers(self.incident[rows], self.voxels[rows], self.geometry)

    @property
    def layer_energies(self) -> NDArray[np.float64]:
        """Deposited energy of each layer [MeV] (N, layers)."""
        return np.stack([self.voxels[:, s].sum(axis=1, dtype=np.float64) for s in self.geometry.slices], axis=1)

    @property
    def deposited(self) -> NDArray[np.float64]:
        """Deposited energy [MeV] (N,)."""
        return np.asarray(self.voxels.sum(axis=1, dtype=np.float64))


def check_incident(incident: NDArray[np.float64], field: str = "incident") -> None:
    """Incident energies are positive and finite MeV; below 1 MeV the unit cannot be MeV."""
    bad = ~(np.isfinite(incident) & (incident >= 1.0) & (incident <= MAX_INCIDENT))
    if bad.any():
        row = int(np.argmax(bad))
        raise ToolError(field, float(incident[row]), f"row {row}: MeV, from 1 to {MAX_INCIDENT:g}; is it GeV or TeV?")


def read_showers(path: Path | str, geometry: Geometry, start: int = 0, stop: int | None = None) -> Showers:
    """Rows start..stop of a CaloChallenge file; ToolError says what is wrong with it."""
    import h5py

    path = Path(path)
    try:
        with h5py.File(path, "r") as file:
            # A link out of the file, or data stored outside, would read whatever the file's author likes.
            inside = [n for n in NAMES if isinstance(file.get(n, getlink=True), h5py.HardLink)]
            data = [file[n] for n in inside if isinstance(file[n], h5py.Dataset)]
            if len(data) < 2 or any(d.external or d.is_virtual for d in data):
                raise ToolError("path", str(path), f"needs plain data sets {', '.join(NAMES)}; it has {sorted(file)}")
            incident, voxels = data
            if incident.dtype.kind not in "fiu" or voxels.dtype.kind not in "fiu" or voxels.ndim != 2:
                raise ToolError("path", str(path), "incident_energies (N, 1) and showers (N, V) of numbers")
            if len(incident) != len(voxels) or incident.size != len(incident):
                raise ToolError("path", str(path), f"{incident.shape} incident_energies for {voxels.shape} showers")
            if voxels.shape[1] != geometry.n_voxels:
                allowed = f"{geometry.name} has {geometry.n_voxels} voxels, the file {voxels.shape[1]}"
                raise ToolError("path", str(path), allowed)
            return Showers(incident[start:stop].reshape(-1), voxels[start:stop].astype(np.float32), geometry)
    except OSError as error:
        hint = "there is no such file" if isinstance(error, FileNotFoundError) else f"not a readable HDF5 file: {error}"
        raise ToolError("path", str(path), hint) from None


def write_showers(path: Path | str, showers: Showers) -> None:
    """A CaloChallenge file (float64 incident, float32 voxels, gzip); it appears whole or not at all."""
    import h5py

    path = Path(path)
    part = path.with_name(path.name + ".part")
    with h5py.File(part, "w") as file:
        file["incident_energies"] = showers.incident[:, None]
        file.create_dataset(
            "showers",
            data=showers.voxels,
            chunks=(max(1, min(CHUNK_ROWS, len(showers))), showers.geometry.n_voxels),
            compression="gzip",
            compression_opts=4,
            shuffle=True,
        )
    part.replace(path)
