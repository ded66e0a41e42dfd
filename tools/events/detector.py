"""Fast detector simulation with the formulas of Delphes 3.4.1's CMS card: field, tracker, ECAL, HCAL and energy flow.

Particles travel from the beam through a solenoid (`field.py`) to the calorimeters. Charged ones bend on the way and so
hit towers away from their initial direction. `tracking` gives the efficiency and resolution of tracks. Photons and
electrons deposit in the ECAL, other visible particles except muons in the HCAL. Energy flow (`towers.py`) makes the
objects: tracks with their direction at the beam, photons and neutral hadrons.

There is no pile-up, noise, punch-through or conversion.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tools.events.field import propagate
from tools.events.towers import Layer, energy_flow, log_normal
from tools.types import Floats

Ints = NDArray[np.int64]

TRACKER_ETA = 2.5
CALO_ETA = 5.0
TRACK_PT_MIN = 0.1  # GeV
INVISIBLE = (12, 14, 16)
ELECTRON, MUON, PHOTON = 11, 13, 22
SHARED, ECAL_SHARE = (310, 3122), 0.3  # K0s and Lambda that reach the calorimeters leave this fraction in the ECAL
# Track resolution in |eta| < 0.5, < 1.5 and beyond: sigma(pt)/pt = noise (+) slope * pt/GeV.
RINGS = (0.5, 1.5)
NOISE = {ELECTRON: (0.03, 0.05, 0.15), MUON: (0.01, 0.015, 0.025)}
SLOPE = {MUON: (1.0e-4, 1.5e-4, 3.5e-4)}
HADRON_NOISE, OTHER_SLOPE = (0.06, 0.10, 0.25), (1.3e-3, 1.7e-3, 3.1e-3)


def ecal_resolution(eta: Floats, energy: Floats) -> Floats:
    """Return sigma(E) in GeV."""
    eta = np.abs(eta)
    fine = np.sqrt((0.008 * energy) ** 2 + 0.11**2 * energy + 0.40**2)
    shape = np.where(eta <= 1.5, 1 + 0.64 * eta**2, 2.16 + 5.6 * (eta - 2) ** 2)
    return np.where(eta <= 2.5, shape * fine, np.sqrt((0.107 * energy) ** 2 + 2.08**2 * energy))


def hcal_resolution(eta: Floats, energy: Floats) -> Floats:
    """Return sigma(E) in GeV."""
    central, forward = (np.sqrt((a * energy) ** 2 + b**2 * energy) for a, b in ((0.05, 1.5), (0.13, 2.7)))
    return np.where(np.abs(eta) <= 3.0, central, forward)


def _rings(*parts: tuple[list[float], int]) -> tuple[Floats, Ints]:
    """Return eta edges and numbers of towers of the rings on both sides; a part has upper edges in |eta| and its number
    of towers in phi.
    """
    upper = np.array([edge for edges, _ in parts for edge in edges])
    n_phi = np.array([n for edges, n in parts for _ in edges])
    return np.concatenate([-upper[::-1], [0.0], upper]), np.concatenate([n_phi[::-1], n_phi])


_ENDCAP = [1.74, 1.83, 1.93, 2.043, 2.172, 2.322, 2.5, 2.65, 2.868, 2.95]
_FORWARD = [3.125, 3.3, 3.475, 3.65, 3.825, 4.0, 4.175, 4.35, 4.525]
ECAL = Layer(
    *_rings(([0.0174 * i for i in range(1, 171)], 360), ([*_FORWARD, 4.7, CALO_ETA], 36)),
    resolution=ecal_resolution,
    energy_min=0.5,
    significance_min=2.0,
)
HCAL = Layer(
    *_rings(([0.087 * i for i in range(1, 20)], 72), ([*_ENDCAP, *_FORWARD], 36), ([4.7, CALO_ETA], 18)),
    resolution=hcal_resolution,
    energy_min=1.0,
    significance_min=1.0,
)


def respond(event: Ints, particles: Floats, rng: np.random.Generator) -> tuple[Ints, Floats, Floats, Floats]:
    """Return massless detector objects (event, pt [GeV], eta, phi), sorted by event, for the stable particles of many
    events.

    `particles` has the columns `pythia.PARTICLE`; `event` gives the event that each row belongs to.
    """
    kind = np.abs(particles[:, 3]).astype(np.int64)
    seen = np.flatnonzero(~np.isin(kind, INVISIBLE))
    event, kind = event[seen], kind[seen]
    pt, eta, phi, _, charge, mass = particles[seen].T
    energy = np.hypot(pt * np.cosh(eta), mass)
    at_eta, at_phi = propagate(pt, eta, phi, charge)

    efficiency, resolution = tracking(kind, pt, at_eta, charge)
    track = np.flatnonzero(rng.random(len(pt)) < efficiency)
    track_pt = log_normal(pt[track], (resolution * pt)[track], rng)
    track_energy = track_pt * np.cosh(eta[track])
    objects = []
    in_ecal = np.select([np.isin(kind, (ELECTRON, PHOTON)), np.isin(kind, SHARED)], [1.0, ECAL_SHARE], 0.0)
    for layer, fraction in ((ECAL, in_ecal), (HCAL, 1 - in_ecal)):
        here = (fraction > 0) & (kind != MUON) & (np.abs(at_eta) < CALO_ETA)
        tower = layer.towers_of(event, at_eta, at_phi)
        mine = np.flatnonzero(here[track])
        of_track = tower[track[mine]], track_energy[mine], resolution[track[mine]]
        flow = energy_flow(layer, (tower[here], (fraction * energy)[here]), of_track, rng)
        track_pt[mine] *= flow.track_factor
        objects.append((flow.event, flow.energy / np.cosh(flow.eta), flow.eta, flow.phi))
    objects.append((event[track], track_pt, eta[track], phi[track]))
    where, pt, eta, phi = (np.concatenate(column) for column in zip(*objects, strict=True))
    order = np.argsort(where, kind="stable")
    return where[order], pt[order], eta[order], phi[order]


def tracking(kind: Ints, pt: Floats, eta: Floats, charge: Floats) -> tuple[Floats, Floats]:
    """Return efficiency and relative pt resolution (at most 1) of tracks; `kind` is |pdg|, `eta` at the calorimeter.

    Efficiency in |eta| < 1.5 (and beyond): hadrons 0.70 (0.60) below 1 GeV, 0.95 (0.85) above; electrons 0.73 (0.50),
    0.95 (0.83) and, above 100 GeV, 0.99 (0.90); muons 0.75 (0.70) and 0.99 (0.98), which falls above 1 TeV.
    """
    ring = np.digitize(np.abs(eta), RINGS)
    barrel = ring < 2
    electron, muon = kind == ELECTRON, kind == MUON
    soft = np.select([electron & barrel, electron, muon & barrel, muon, barrel], [0.73, 0.50, 0.75, 0.70, 0.70], 0.60)
    hard_electron = np.where(pt > 100.0, np.where(barrel, 0.99, 0.90), np.where(barrel, 0.95, 0.83))
    hard_muon = np.where(barrel, 0.99, 0.98) * np.where(pt > 1000.0, np.exp(0.5 - 5e-4 * pt), 1.0)
    hard = np.select([electron, muon, barrel], [hard_electron, hard_muon, 0.95], 0.85)
    possible = (charge != 0) & (pt > TRACK_PT_MIN) & (np.abs(eta) < TRACKER_ETA)

    of_ring = [np.take(v, ring) for v in (NOISE[ELECTRON], NOISE[MUON], HADRON_NOISE, SLOPE[MUON], OTHER_SLOPE)]
    noise = np.select([electron, muon], of_ring[:2], of_ring[2])
    slope = np.where(muon, of_ring[3], of_ring[4])
    return np.where(possible, np.where(pt > 1.0, hard, soft), 0.0), np.minimum(np.hypot(noise, slope * pt), 1.0)
