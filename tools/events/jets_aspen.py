"""Reader for AspenOpenJets, 180 million jets of CMS open data of 2016 (arXiv:2412.10504; doi:10.25592/uhhfdm.16505).

HDF5 with one row per AK8 jet: `jet_kinematics` (N, 4) has pt [GeV], eta, phi and the soft-drop mass; `PFCands`
(N, 150, 11) has px, py, pz, E [GeV], d0, its error, dz, its error [cm], charge, PDG number and PUPPI weight of the
particles, padded with zeros. The jets were clustered from momenta times the PUPPI weight, the probability that a
particle does not come from pile-up: so are the particles here. They get all nine features of OmniLearned; d0 and dz are
in mm, as in JetClass, and 0 without a track. There are no labels: these are collisions.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from tools.contract import ToolError
from tools.hdf5 import open_hdf5, rows_of
from tools.jet_model.jets import MAX_PARTICLES, PARTICLE_KINDS, Jets, from_momenta, sum_momenta
from tools.jet_model.jets_file import check_range
from tools.types import Floats

PARTICLES, KINEMATICS = "PFCands", "jet_kinematics"
COLUMNS = ("px", "py", "pz", "E", "d0", "d0Err", "dz", "dzErr", "charge", "pdgId", "puppiWeight")
FORWARD = {1: 130, 2: 22}  # hadrons and photons of the forward calorimeter
MM = 10.0  # in a cm


def is_aspen(file: Any) -> bool:
    """Return True if an open HDF5 file has both data sets."""
    return PARTICLES in file and KINEMATICS in file


def read_aspen(path: Path, max_particles: int = MAX_PARTICLES, start: int = 0, stop: int | None = None) -> Jets:
    """Read jets start..stop with nine features per particle, without kinds.

    Raises ToolError for other shapes, unknown particles, weights outside 0 to 1 and as `from_momenta` does,
    FileNotFoundError if there is no file.
    """
    with open_hdf5(path) as file:
        particles, kinematics = file[PARTICLES], file[KINEMATICS]
        n = len(kinematics)
        if particles.ndim != 3 or particles.shape[2] != len(COLUMNS) or kinematics.shape != (len(particles), 4):
            shapes = {PARTICLES: particles.shape, KINEMATICS: kinematics.shape}
            raise ToolError("path", str(path), f"shapes (N, M, {len(COLUMNS)}) and (N, 4); these are {shapes}")
        check_range(path, start, n, n)
        rows, jet = (np.asarray(rows_of(path, data, start, stop), np.float64) for data in (particles, kinematics))
    px, py, pz, energy, d0, d0_error, dz, dz_error, _, pdg, weight = np.moveaxis(rows, 2, 0)
    there = energy > 0
    if len(bad := np.argwhere(there & ~((weight >= 0) & (weight <= 1)))):
        row, slot = bad[0]
        raise ToolError("puppiWeight", float(weight[row, slot]), f"jet {start + row}, particle {slot}: from 0 to 1")
    kept = np.where(there, weight, 0.0)
    pt = np.hypot(px, py)
    eta, phi = np.arcsinh(pz / np.where(pt > 0, pt, 1.0)), np.arctan2(py, px)
    pt, energy = pt * kept, energy * kept
    tracked = d0_error > 0
    vertex = [np.where(tracked, v, 0.0) for v in (np.tanh(MM * d0), MM * d0_error, np.tanh(MM * dz), MM * dz_error)]
    mass = sum_momenta(pt, eta, phi, energy)[:, 3]
    return from_momenta(
        pt,
        eta,
        phi,
        energy,
        axis=np.column_stack([jet[:, :3], mass]),
        extra=np.stack([_kinds(pdg, kept > 0, start), *vertex], axis=2),
        max_particles=max_particles,
    )


def _kinds(pdg: Floats, there: Any, start: int) -> Floats:
    """Return the indices into PARTICLE_KINDS (N, M); ToolError for another particle."""
    for forward, kind in FORWARD.items():
        pdg = np.where(np.abs(pdg) == forward, kind, pdg)
    if len(bad := np.argwhere(there & ~np.isin(pdg, PARTICLE_KINDS))):
        row, slot = bad[0]
        known = ", ".join(map(str, (*PARTICLE_KINDS, *FORWARD)))
        raise ToolError("pdgId", float(pdg[row, slot]), f"jet {start + row}, particle {slot}: one of {known}")
    return np.asarray(np.searchsorted(PARTICLE_KINDS, pdg), dtype=np.float64)
