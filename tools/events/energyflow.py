"""Reader for the published Z+jets files of OmniFold, as distributed by EnergyFlow (doi:10.5281/zenodo.3548091).

npz files of some 100,000 events, Pythia 8 (A14 and its variations 2+, 2-) or Herwig 7 with the CMS detector of Delphes.
Every event passes both levels (`gen`, `sim`); there are no misses or fakes. Arrays are named <level>_<key>:

    jets (n, 4): pt [GeV], y, phi, m [GeV]     particles (n, max, 4): pt, y and phi from the jet's axis, species
    mults, widths, tau2s, sdms [GeV], zgs: (n,)
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tools.contract import ToolError
from tools.events.zjets import COLUMNS
from tools.events.zjets_jets import LN_RHO_MIN
from tools.types import Floats

RECORD = 3548091
GENERATORS = ("Pythia21", "Pythia25", "Pythia26", "Herwig")
N_FILES = 17
# File name -> Zenodo record, which gives sizes and checksums.
ZJETS_FILES = {f"{generator}_Zjet_pTZ-200GeV_{i}.npz": RECORD for generator in GENERATORS for i in range(N_FILES)}
LEVELS = {"gen": "gen", "sim": "reco"}
SHAPES = {"jets": 2, "particles": 3, "mults": 1, "widths": 1, "tau2s": 1, "sdms": 1, "zgs": 1}


def read_zjets(path: Path) -> dict[str, Floats]:
    """Return the `zjets.COLUMNS` of a published file; masses in GeV.

    The width is computed from the particles, sum pt dR / sum pt; tau21 = tau2 / width with the file's values of both,
    which have the same normalisation. Raises ToolError for another layout, levels of unequal length, no events and
    numbers that are not finite, and FileNotFoundError.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            levels = {level: _level(path, file, level) for level in LEVELS}
    except (ValueError, OSError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        if isinstance(error, FileNotFoundError | ToolError):
            raise
        raise ToolError("path", str(path), f"an npz file of plain arrays ({error})") from None
    lengths = {level: len(columns["mass"]) for level, columns in levels.items()}
    if len(set(lengths.values())) > 1:
        raise ToolError("path", str(path), f"the same events at both levels; it has {lengths}")
    table = {f"{LEVELS[level]}_{name}": values for level, columns in levels.items() for name, values in columns.items()}
    if not lengths["gen"]:
        raise ToolError("path", str(path), "a file with events; it has no events")
    ones = np.ones(lengths["gen"])
    table |= {"pass_gen": ones, "pass_reco": ones}
    return {name: table[name] for name in COLUMNS}


def _level(path: Path, file: Mapping[str, NDArray[np.generic]], level: str) -> dict[str, Floats]:
    arrays: dict[str, Floats] = {}
    for key, ndim in SHAPES.items():
        name = f"{level}_{key}"
        if name not in file:
            raise ToolError("path", str(path), f"the array {name!r}; it has {sorted(file)}")
        arrays[key] = np.asarray(file[name], dtype=np.float64)
        if (
            arrays[key].ndim != ndim
            or len(arrays[key]) != len(arrays["jets"])
            or (ndim > 1 and arrays[key].shape[-1] != 4)
        ):
            raise ToolError("path", str(path), f"another shape of {name!r}, which has {arrays[key].shape}")
        if len(bad := np.argwhere(~np.isfinite(arrays[key]))):
            where = f"row {', column '.join(map(str, bad[0]))} of {path}"
            allowed = f"{where} must be finite; {len(bad)} values are not"
            raise ToolError(name, float(arrays[key][tuple(bad[0])]), allowed)
    pt, delta_y, delta_phi = np.moveaxis(arrays["particles"][:, :, :3], -1, 0)
    distance = np.hypot(delta_y, (delta_phi + np.pi) % (2 * np.pi) - np.pi)
    jet_pt, mass = arrays["jets"][:, 0], arrays["jets"][:, 3]
    if len(low := np.flatnonzero(jet_pt <= 0)):
        raise ToolError(f"{level}_jets", float(jet_pt[low[0]]), f"row {low[0]} of {path}: pt must be above 0")
    with np.errstate(divide="ignore", invalid="ignore"):
        width = np.where(pt.sum(axis=1) > 0, np.sum(pt * distance, axis=1) / pt.sum(axis=1), 0.0)
        tau21 = np.where(arrays["widths"] > 0, arrays["tau2s"] / arrays["widths"], 0.0)
        ln_rho = np.log(np.maximum(arrays["sdms"], 0.0) ** 2 / jet_pt**2)
    return {
        "mass": np.maximum(mass, 0.0),
        "mult": arrays["mults"],
        "width": width,
        "lnrho": np.maximum(ln_rho, LN_RHO_MIN),
        "tau21": tau21,
        "zg": np.maximum(arrays["zgs"], 0.0),
    }
