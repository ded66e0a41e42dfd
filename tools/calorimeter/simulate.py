"""Simulation of a file of GFlash showers, with its provenance in another file next to it."""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

from pydantic import Field

from tools.calorimeter.geometry import find_geometry
from tools.calorimeter.gflash import THRESHOLD_MEV, incident_energies, native_material, simulate
from tools.calorimeter.showers import SAFE, write_showers
from tools.contract import Frozen, Seed, ToolError

SUFFIXES = (".h5", ".hdf5", SAFE)


class ShowerSimulation(Frozen):
    """Settings of a sample; all fields together determine the result."""

    geometry: str = Field("ds1_photons", description="a built-in geometry, or a binning XML file with depths")
    particle: str = Field("photon", description="electron, photon or neutral_pion")
    material: str | None = Field(None, description="name of a material; default: that of the geometry")
    showers: int = Field(10_000, gt=0, le=10_000_000)
    threshold_mev: float = Field(THRESHOLD_MEV, ge=0, description="read-out threshold of a voxel [MeV]")
    seed: Seed = Field(1, ge=0)


def simulate_showers(
    simulation: ShowerSimulation, out: Path, progress: Callable[[int, int], None] | None = None
) -> dict[str, Any]:
    """Write `out` (CaloChallenge HDF5, or safetensors) and `out` + `.provenance.json`; return the provenance.

    Raises ToolError if `out` already exists or has another suffix, and as `gflash.simulate` does.
    """
    if out.exists():
        raise ToolError("out", str(out), "exists; remove it or choose another name")
    if out.suffix not in SUFFIXES:
        raise ToolError("out", str(out), f"showers are written as {', '.join(SUFFIXES)}")
    g = find_geometry(simulation.geometry)
    energies = incident_energies(g, simulation.showers, simulation.seed)
    showers = simulate(
        energies,
        g,
        simulation.seed,
        simulation.material,
        simulation.particle,
        simulation.threshold_mev,
        progress,
    )
    write_showers(out, showers)
    provenance = {
        "simulation": simulation.model_dump(mode="json"),
        "material": simulation.material or native_material(g),
        "model": "GFlash parametrisation (hep-ex/0001020); not Geant4",
        "units": "MeV",
        "versions": {package: version(package) for package in ("numpy", "scipy")},
        "deposited_over_incident": float(showers.deposited.sum() / energies.sum()),
    }
    out.with_name(out.name + ".provenance.json").write_text(json.dumps(provenance, indent=1) + "\n")
    return provenance
