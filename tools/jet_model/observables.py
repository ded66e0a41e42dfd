"""Hand-made observables of jets from their particles, as used by taggers before networks and to check generators.

z is a particle's fraction of the sum of pt, R the distance between two particles, r that to the axis:

- mass [GeV], pt [GeV] of the sum of massless particles; multiplicity
- width = sum z r; pt dispersion = sqrt(sum z^2)
- energy correlations (arXiv:1305.0007, beta = 1) e2 = sum_{i<j} z_i z_j R_ij,
  e3 = sum_{i<j<k} z_i z_j z_k R_ij R_jk R_ik, and D2 = e3 / e2^3 (arXiv:1409.6298)
"""

from __future__ import annotations

import numpy as np

from tools.jet_model.jets import DELTA_ETA, DELTA_PHI, LOG_PT, Jets
from tools.types import Floats

OBSERVABLES = ("mass", "pt", "multiplicity", "width", "dispersion", "e2", "e3", "d2")
CHUNK = 500  # jets; memory for pairs of particles


def observables(jets: Jets) -> dict[str, Floats]:
    """Return all OBSERVABLES by name, (N,) each; D2 = 0 for jets with fewer than three particles."""
    pt, mass = jets.pt_and_mass()
    found = {"mass": mass, "pt": pt, "multiplicity": jets.multiplicity.astype(np.float64)}
    parts = [_substructure(jets.take(slice(i, i + CHUNK))) for i in range(0, len(jets), CHUNK)]
    return found | {name: np.concatenate([part[name] for part in parts]) for name in OBSERVABLES[3:]}


def _substructure(jets: Jets) -> dict[str, Floats]:
    x = jets.particles.astype(np.float64)
    eta, phi = x[:, :, DELTA_ETA], x[:, :, DELTA_PHI]
    z = np.where(jets.mask, np.exp(x[:, :, LOG_PT]), 0.0)
    z /= z.sum(axis=1, keepdims=True)
    distance = np.hypot(eta[:, :, None] - eta[:, None], phi[:, :, None] - phi[:, None])
    root = np.sqrt(z)
    # With B_ij = R_ij sqrt(z_i z_j), e3 is tr B^3 / 6: three matrix products in place of a triple sum.
    b = distance * root[:, :, None] * root[:, None]
    e2 = np.einsum("ni,nij,nj->n", z, distance, z) / 2
    e3 = np.einsum("nij,nji->n", b @ b, b) / 6
    return {
        "width": np.sum(z * np.hypot(eta, phi), axis=1),
        "dispersion": np.sqrt(np.sum(z**2, axis=1)),
        "e2": e2,
        "e3": e3,
        "d2": np.where(jets.multiplicity > 2, e3 / np.maximum(e2, 1e-12) ** 3, 0.0),
    }
