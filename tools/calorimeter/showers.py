"""Showers in memory and in files: `incident_energies` (N, 1) and `showers` (N, V), both MeV.

Files are CaloChallenge HDF5, or safetensors with the same two arrays, which are safe to read from any source.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tools.calorimeter.geometry import Geometry
from tools.contract import ToolError
from tools.files import written
from tools.hdf5 import open_hdf5, rows_of

NAMES = ("incident_energies", "showers")
SAFE = ".safetensors"
UNIT_RATIO = 100.0  # voxels in a different unit from the incident energy are off by 1000
FEW = 3  # showers, below which the ratio is meaningless
ODD = 0.2  # fraction of showers that may deposit far too much or little: of a bad generator, of hadrons that leak
MIN_INCIDENT = 100.0  # MeV: CaloChallenge starts at 256; 1 GeV to 1 TeV written in GeV has most rows below
MAX_INCIDENT = 1e8  # MeV: 100 TeV
CHUNK_ROWS = 256


@dataclass(frozen=True)
class Showers:
    """`incident` (N,) float64 and `voxels` (N, V) float32, both in MeV, in the order of `geometry`.

    Raises ToolError for a wrong number of voxels, for NaN, infinite or negative energies, and for incident energies
    that cannot be MeV.
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

    def check_units(self) -> Showers:
        """Return self; ToolError if energies show that they are not in MeV: both, or one of them in some showers."""
        if len(low := np.flatnonzero(self.incident < MIN_INCIDENT)):
            allowed = f"row {low[0]}, {len(low)} in all: MeV, {MIN_INCIDENT:g} or more; it looks like GeV"
            raise ToolError("incident", float(self.incident[low[0]]), allowed)
        ratio = self.deposited / self.incident
        seen = ratio > 0
        for odd in (ratio >= UNIT_RATIO, seen & (ratio <= 1 / UNIT_RATIO)):
            if seen.sum() >= FEW and odd.sum() > ODD * seen.sum():
                row = int(np.argmax(odd))
                allowed = f"deposited over incident energy of shower {row}, and of {int(odd.sum()) - 1} more like it: "
                raise ToolError("showers", float(ratio[row]), allowed + "both in MeV? One of them looks like GeV")
        return self

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
    """Raise ToolError unless incident energies are finite and from 1 MeV to MAX_INCIDENT; others cannot be in MeV."""
    bad = ~(np.isfinite(incident) & (incident >= 1.0) & (incident <= MAX_INCIDENT))
    if bad.any():
        row = int(np.argmax(bad))
        raise ToolError(field, float(incident[row]), f"row {row}: MeV, from 1 to {MAX_INCIDENT:g}; is it GeV or TeV?")


def read_showers(path: Path | str, geometry: Geometry, start: int = 0, stop: int | None = None) -> Showers:
    """Read rows start..stop of a file, HDF5 or (by its suffix) safetensors; ToolError for an invalid file."""
    path = Path(path)
    read = _from_safetensors if path.suffix == SAFE else _from_hdf5
    try:
        incident, voxels = read(path, start, stop, geometry.n_voxels)
    except OSError as error:
        hint = "there is no such file" if isinstance(error, FileNotFoundError) else f"not a readable file: {error}"
        raise ToolError("path", str(path), hint) from None
    return Showers(incident.reshape(-1), voxels.astype(np.float32, copy=False), geometry).check_units()


def _from_hdf5(path: Path, start: int, stop: int | None, n_voxels: int) -> tuple[Any, Any]:
    import h5py

    with open_hdf5(path) as file:
        # A link out of the file, or external data, could read any file that its author chooses.
        inside = [n for n in NAMES if isinstance(file.get(n, getlink=True), h5py.HardLink)]
        data = [file[n] for n in inside if isinstance(file[n], h5py.Dataset)]
        if len(data) < 2 or any(d.external or d.is_virtual for d in data):
            raise ToolError("path", str(path), f"needs plain data sets {', '.join(NAMES)}; it has {sorted(file)}")
        incident, voxels = data
        check_arrays(path.name, incident, voxels, n_voxels)
        return rows_of(path, incident, start, stop), rows_of(path, voxels, start, stop)


def _from_safetensors(path: Path, start: int, stop: int | None, n_voxels: int) -> tuple[Any, Any]:
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        arrays = load_file(path)
    except SafetensorError as error:
        raise ToolError("path", str(path), f"not a safetensors file: {error}") from None
    if not set(NAMES) <= set(arrays):
        raise ToolError("path", str(path), f"needs arrays {', '.join(NAMES)}; it has {sorted(arrays)}")
    incident, voxels = (arrays[name] for name in NAMES)
    check_arrays(path.name, incident, voxels, n_voxels)
    return incident[start:stop], voxels[start:stop]


def check_arrays(path: str, incident: Any, voxels: Any, n_voxels: int) -> None:
    """Raise ToolError unless these are (N, 1) or (N,) and (N, n_voxels) numbers."""
    if incident.dtype.kind not in "fiu" or voxels.dtype.kind not in "fiu":
        raise ToolError("path", path, "incident_energies (N, 1) and showers (N, V) of numbers")
    if len(voxels.shape) != 2:
        allowed = f"showers {tuple(voxels.shape)}; one row of voxels per shower is needed, (N, {n_voxels}): reshape it"
        raise ToolError("path", path, f"{allowed} to the order of the geometry, layer by layer, angles before radii")
    if incident.shape not in ((len(voxels),), (len(voxels), 1)):
        raise ToolError("path", path, f"{incident.shape} incident_energies for {voxels.shape} showers")
    if voxels.shape[1] != n_voxels:
        raise ToolError("path", path, f"the geometry has {n_voxels} voxels, the file {voxels.shape[1]}")
    if not len(voxels):
        raise ToolError("path", path, "a file with showers; it has no showers")


def write_showers(path: Path | str, showers: Showers) -> None:
    """Write HDF5 (float64 incident, float32 voxels, gzip) or, by the suffix, safetensors; whole or not at all."""
    path = Path(path)
    with written(path) as part:
        if path.suffix == SAFE:
            from safetensors.numpy import save_file

            save_file(dict(zip(NAMES, (showers.incident[:, None], showers.voxels), strict=True)), part)
        else:
            import h5py

            rows = max(1, min(CHUNK_ROWS, len(showers)))
            layout = {"chunks": (rows, showers.geometry.n_voxels), "compression": "gzip", "shuffle": True}
            with h5py.File(part, "w", locking=False) as file:
                file[NAMES[0]] = showers.incident[:, None]
                file.create_dataset(NAMES[1], data=showers.voxels, **(layout if len(showers) else {}))
