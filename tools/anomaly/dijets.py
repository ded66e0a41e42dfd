"""Dijet events as the particles of their two jets, for CATHODE without hand-made features.

Both jets are transformed to a common frame: boosted along the beam to rapidity 0, rotated to phi = 0 and scaled to a pt
of FRAME, with massless particles. That keeps all of a jet's substructure (m/pt is invariant) and removes pt and
rapidity, which determine mjj: a classifier that can infer mjj would learn the bump itself, and sculpt.

The kinematics (JET_FEATURES) restore the measured jets: log m/pt and number of particles of both jets, the ratio of
their pt and their eta. Given mjj the pt follow (`axes`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from pydantic.json_schema import SkipJsonSchema

from tools.anomaly.data import Sidebands, Windowed, in_window, note
from tools.contract import Request, Seed, ToolError
from tools.events.copies import same_rows
from tools.events.jets_lhco import pair_mass
from tools.jet_model.inputs import read_file
from tools.jet_model.jets import DELTA_ETA, DELTA_PHI, LOG_PT, LOG_PT_NOT_ZERO, MAX_PARTICLES, Jets, in_order
from tools.jet_model.model import KINEMATICS
from tools.types import Floats

Rows = NDArray[np.int64]
Mask = NDArray[np.bool_]

FRAME = 600.0  # GeV: in the middle of the jets that the shipped weights were trained on
LIGHTEST = 1e-4  # lower bound on m/pt, which is 0 for collinear particles
JET_FEATURES = ("log_mass_l", "log_mass_h", "particles_l", "particles_h", "log_pt_ratio", "eta_l", "eta_h")


class DijetsRequest(Request):
    """Dijet events with their particles, and a signal region in mjj."""

    jets: str = Field(description="file of LHC Olympics particles, or (faster) of jets made from it by `data convert`")
    window: tuple[float, float] = Field(description="signal region: lower and upper edge in mjj, TeV, e.g. [3.3, 3.7]")
    max_particles: SkipJsonSchema[int] = Field(64, ge=8, le=MAX_PARTICLES, description="hardest particles kept per jet")
    seed: Seed = Field(1, ge=0)


@dataclass(frozen=True)
class Dijets:
    """N events: both jets in the common frame, their measured axes (N, 2, 4) (pt [GeV], eta, phi, mass [GeV]; lighter
    jet first), and mjj (N,) in TeV.
    """

    light: Jets
    heavy: Jets
    axes: Floats
    mjj: Floats

    def __len__(self) -> int:
        return len(self.mjj)

    def take(self, rows: Rows | Mask) -> Dijets:
        return Dijets(self.light.take(rows), self.heavy.take(rows), self.axes[rows], self.mjj[rows])

    def kinematics(self) -> Floats:
        """Return the columns JET_FEATURES (N, 7); masses are those of the particles kept."""
        pt, eta = self.axes[:, :, 0], self.axes[:, :, 1]
        columns = [log_mass(self.light), log_mass(self.heavy), self.light.multiplicity, self.heavy.multiplicity]
        return np.column_stack([*columns, np.log(pt[:, 0] / pt[:, 1]), eta])

    def sidebands(self, rows: Mask, window: tuple[float, float]) -> Sidebands:
        return Sidebands(self.kinematics()[rows], self.mjj[rows], window)


def load_dijets(request: DijetsRequest, need_sidebands: bool = True) -> tuple[Dijets, Windowed]:
    """Return the dijets of the request, and the same events with their kinematics as features.

    Raises ToolError for a missing file, jets without axes or not in dijet order, or a window with too few events.
    """
    dijets = read_dijet_file(request.jets, "jets", request.max_particles)
    inside = in_window(dijets.mjj, request.window, need_sidebands)
    original = same_rows(dijets.axes)
    note(original)
    return dijets, Windowed(dijets.kinematics(), dijets.mjj, inside, request.window, original)


def read_dijet_file(path: str, field: str, max_particles: int) -> Dijets:
    """Read dijets from LHCO particles or from a file of jets, light and heavy alternating; ToolError names `field`."""
    jets = read_file(path, field, max_particles)
    if jets.jet is None:
        raise ToolError(field, path, "jets with pt, eta, phi and mass: without mjj there are no sidebands")
    mass = jets.jet[:, 3]
    if len(jets) % 2 or np.any(mass[0::2] > mass[1::2] * (1 + 1e-5) + 1e-2):
        raise ToolError(field, path, "dijets: event after event, the two jets of each in a row, lighter first")
    return dijets_of(jets.take(slice(0, None, 2)), jets.take(slice(1, None, 2)))


def dijets_of(light: Jets, heavy: Jets) -> Dijets:
    """Return the events made of these pairs of jets."""
    assert light.jet is not None
    assert heavy.jet is not None
    axes = np.stack([light.jet, heavy.jet], axis=1).astype(np.float64)
    return Dijets(framed(light), framed(heavy), axes, pair_mass(axes))


def framed(jets: Jets) -> Jets:
    """Return the jets in the common frame, without kinds and axes, so that a classifier cannot use them."""
    x = jets.particles[:, :, :KINEMATICS].astype(np.float64)
    pt = np.where(jets.mask, np.exp(x[:, :, LOG_PT]), 0.0)
    eta, phi = x[:, :, DELTA_ETA], x[:, :, DELTA_PHI]
    px, py, pz, energy = ((pt * f).sum(axis=1) for f in (np.cos(phi), np.sin(phi), np.sinh(eta), np.cosh(eta)))
    rapidity = np.arctanh(np.clip(pz / energy, -1 + 1e-12, 1 - 1e-12))
    log_pt = x[:, :, LOG_PT] + np.log(FRAME / np.hypot(px, py))[:, None]
    return _massless(eta - rapidity[:, None], phi - np.arctan2(py, px)[:, None], log_pt, jets.mask)


def measured(jets: Jets, axis: Floats) -> Jets:
    """Return jets in the common frame as they would be measured with the axes (N, 4): the inverse of `framed`."""
    x = jets.particles.astype(np.float64)
    log_pt = x[:, :, LOG_PT] + np.log(axis[:, :1] / FRAME)
    made = _massless(x[:, :, DELTA_ETA], x[:, :, DELTA_PHI], log_pt, jets.mask, axis[:, 1:2])
    return replace(made, jet=axis.astype(np.float32))


def _massless(eta: Floats, phi: Floats, log_pt: Floats, mask: Mask, axis_eta: Floats | float = 0.0) -> Jets:
    phi = (phi + np.pi) % (2 * np.pi) - np.pi
    particles = np.stack([eta, phi, log_pt, log_pt + np.log(np.cosh(eta + axis_eta))], axis=2).astype(np.float32)
    particles[:, :, LOG_PT][particles[:, :, LOG_PT] == 0] = LOG_PT_NOT_ZERO
    return Jets(in_order(np.where(mask[:, :, None], particles, np.float32(0))))


def log_mass(jets: Jets) -> Floats:
    """Return log m/pt of jets in the common frame (N,)."""
    return np.asarray(np.log(np.maximum(jets.pt_and_mass()[1] / FRAME, LIGHTEST)))


def axes(kinematics: Floats, mjj: Floats) -> Floats:
    """Return the axes (N, 2, 4) [GeV] of back-to-back jets (phi = 0 and pi) with these JET_FEATURES and mjj [TeV].

    All momenta are proportional to the heavy jet's pt, which is mjj over the pair's mass for a heavy pt of 1.
    """
    pt = np.stack([np.exp(kinematics[:, 4]), np.ones(len(mjj))], axis=1)
    mass = pt * np.exp(kinematics[:, :2])
    phi = np.tile([0.0, np.pi], (len(mjj), 1))
    unit = np.stack([pt, kinematics[:, 5:7], phi, mass], axis=2)
    scale = mjj / pair_mass(unit)
    unit[:, :, [0, 3]] *= scale[:, None, None]
    return unit
