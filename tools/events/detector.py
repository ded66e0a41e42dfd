"""A parametric detector in place of Delphes: tracks, an ECAL grid and an HCAL grid.

Resolutions (a stochastic, b constant, c noise term, all added in quadrature):

- tracks, charged with |eta| < 2.5:   sigma(pt)/pt = 1% (+) 1.5e-4 * pt[GeV]
- ECAL, photons and electrons:        sigma(E)     = 5% sqrt(E) (+) 1% E (+) 0.2 GeV, cells 0.02 x 0.02
- HCAL, all other visible particles:  sigma(E)     = 70% sqrt(E) (+) 5% E,            cells 0.1 x 0.1

Cells are squares in (eta, phi) up to |eta| = 5; what falls into one cell is added up before
it is smeared, and leaves at the cell's centre as one massless particle. Objects below
0.5 GeV of pt are dropped. No magnetic field, pile-up, inefficiency or punch-through.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

TRACKER_ETA = 2.5
CALO_ETA = 5.0
PT_MIN = 0.5  # GeV
ECAL_CELL = 0.02
HCAL_CELL = 0.1
INVISIBLE = (12, 14, 16)
MUON = 13
ELECTROMAGNETIC = (11, 22)


def respond(
    event: Ints, pt: Floats, eta: Floats, phi: Floats, pdg: Ints, charged: NDArray[np.bool_], rng: np.random.Generator
) -> tuple[Ints, Floats, Floats, Floats]:
    """Detector objects (event, pt [GeV], eta, phi) from the stable particles of many events.

    All inputs are flat arrays of one length; `event` says which event a particle belongs to.
    The output is sorted by event. Muons leave a track only, neutrinos leave nothing.
    """
    kind = np.abs(pdg)
    seen = ~np.isin(kind, INVISIBLE) & (np.abs(eta) < CALO_ETA)
    is_track = seen & charged & (np.abs(eta) < TRACKER_ETA)
    is_ecal = seen & ~is_track & np.isin(kind, ELECTROMAGNETIC)
    is_hcal = seen & ~is_track & ~is_ecal & (kind != MUON)

    track_pt = pt[is_track]
    sigma = track_pt * np.hypot(0.01, 1.5e-4 * track_pt)
    parts = [(event[is_track], track_pt + sigma * rng.standard_normal(len(track_pt)), eta[is_track], phi[is_track])]
    for chosen, cell, (a, b, c) in (
        (is_ecal, ECAL_CELL, (0.05, 0.01, 0.2)),
        (is_hcal, HCAL_CELL, (0.70, 0.05, 0.0)),
    ):
        energy = pt[chosen] * np.cosh(eta[chosen])
        where, total, cell_eta, cell_phi = _cells(event[chosen], energy, eta[chosen], phi[chosen], cell)
        spread = np.sqrt(a**2 * total + (b * total) ** 2 + c**2)
        smeared = total + spread * rng.standard_normal(len(total))
        parts.append((where, smeared / np.cosh(cell_eta), cell_eta, cell_phi))

    out_event, out_pt, out_eta, out_phi = (np.concatenate(column) for column in zip(*parts, strict=True))
    kept = np.flatnonzero(out_pt > PT_MIN)
    kept = kept[np.argsort(out_event[kept], kind="stable")]
    return out_event[kept], out_pt[kept], out_eta[kept], out_phi[kept]


def _cells(event: Ints, energy: Floats, eta: Floats, phi: Floats, size: float) -> tuple[Ints, Floats, Floats, Floats]:
    """Energy summed in square (eta, phi) cells, with the cells' centres."""
    n_eta = int(np.ceil(2 * CALO_ETA / size))
    n_phi = int(np.ceil(2 * np.pi / size))
    i_eta = np.clip(((eta + CALO_ETA) / size).astype(np.int64), 0, n_eta - 1)
    i_phi = np.clip(((phi + np.pi) / (2 * np.pi) * n_phi).astype(np.int64), 0, n_phi - 1)
    key, inverse = np.unique((event * n_eta + i_eta) * n_phi + i_phi, return_inverse=True)
    total = np.bincount(inverse, weights=energy, minlength=len(key)).astype(np.float64)
    cell_phi = (key % n_phi + 0.5) * (2 * np.pi / n_phi) - np.pi
    cell_eta = (key // n_phi % n_eta + 0.5) * size - CALO_ETA
    return (key // (n_phi * n_eta)).astype(np.int64), total, cell_eta, cell_phi
