"""What `beamcrew data` says about files of calorimeter showers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from tools.calorimeter.geometry import GEOMETRIES
from tools.calorimeter.showers import NAMES, check_arrays, read_showers
from tools.contract import ToolError
from tools.data_console import shown, tell
from tools.hdf5 import open_hdf5


def holds_showers(source: Path) -> bool:
    """Whether this is an HDF5 file with the data sets of showers; ToolError if a part of it is missing."""
    import h5py

    if not source.is_file() or not h5py.is_hdf5(source):
        return False
    with open_hdf5(source) as file:
        return all(isinstance(file.get(n, getlink=True), h5py.HardLink) for n in NAMES) and all(
            isinstance(file[n], h5py.Dataset) for n in NAMES
        )


def showers_voxels(source: Path) -> int | None:
    """Return the voxels of a shower, or None if this is no HDF5 file of showers; ToolError for other shapes."""
    if not holds_showers(source):
        return None
    with open_hdf5(source) as file:
        incident, voxels = (file[n] for n in NAMES)
        n_voxels = int(np.prod(voxels.shape[1:]))
        check_arrays(str(source), incident, voxels, n_voxels)
        return n_voxels


def print_showers(source: Path, n_voxels: int, first: int, out: Console) -> None:
    """Ranges of energies of the `first` showers; ToolError where no built-in geometry has as many voxels."""
    geometry = next((g for g in GEOMETRIES.values() if g.n_voxels == n_voxels), None)
    if geometry is None:
        known = ", ".join(f"{g.n_voxels} ({name})" for name, g in GEOMETRIES.items())
        raise ToolError("FILE", str(source), f"showers of {n_voxels} voxels; built-in geometries have {known}")
    showers = read_showers(source, geometry, 0, first)
    filled = showers.voxels[showers.voxels > 0]
    columns = {
        "incident energy": (showers.incident, "MeV"),
        "E_dep/E_inc": (showers.deposited / showers.incident, ""),
        "voxels with energy": ((showers.voxels > 0).sum(axis=1), ""),
        "energy of a voxel that has some": (filled, "MeV"),
    }
    table = Table("column", "unit", "minimum", "median", "maximum")
    for name, (values, unit) in columns.items():
        if len(values):
            table.add_row(shown(name), unit, *(f"{f(values):.4g}" for f in (np.min, np.median, np.max)))
    out.print(table)
    levels = len(np.unique(showers.incident))
    tell(f"{source}: showers of {n_voxels} voxels as in {geometry.name}; the first {len(showers)}, {levels} energies")
