"""Jets with their constituents from events of massless particles: anti-kt, hardest constituents first."""

from __future__ import annotations

from typing import Any

import numpy as np

from tools.types import Floats


def find_jets(particles: Any, radius: float, pt_min: float, max_particles: int) -> dict[str, Floats]:
    """Find all anti-kt jets above `pt_min` GeV in events, an awkward array of particles with pt [GeV], eta, phi.

    Returns `event` (N,), the event of each jet; `axis` (N, 4), pt, eta, phi, mass of all its constituents; `pt`, `eta`,
    `phi` (N, max_particles) of the hardest constituents, with pt = 0 in empty slots.
    """
    import awkward as ak
    import fastjet

    # FastJet allows hiding its banner, which would spoil the tools' output, to those who cite it (arXiv:1111.6097).
    fastjet._swig.ClusterSequence.set_fastjet_banner_stream(None)
    filled = np.flatnonzero(ak.to_numpy(ak.num(particles.pt, axis=1)))
    if not len(filled):
        none = np.zeros((0, max_particles))
        return {"event": np.zeros(0), "axis": np.zeros((0, 4)), "pt": none, "eta": none, "phi": none}
    particles = particles[filled]
    momenta = ak.zip(
        {
            "px": particles.pt * np.cos(particles.phi),
            "py": particles.pt * np.sin(particles.phi),
            "pz": particles.pt * np.sinh(particles.eta),
            "E": particles.pt * np.cosh(particles.eta),
        }
    )
    # R must be a double: the integer overload of JetDefinition means something else.
    sequence = fastjet.ClusterSequence(momenta, fastjet.JetDefinition(fastjet.antikt_algorithm, float(radius)))
    constituents = sequence.constituents(float(pt_min))
    event = np.repeat(filled, ak.to_numpy(ak.num(constituents.px, axis=1)))
    constituents = ak.flatten(constituents, axis=1)
    px, py, pz, energy = (_numbers(ak.sum(constituents[c], axis=1)) for c in ("px", "py", "pz", "E"))
    jet_pt = np.hypot(px, py)
    mass = np.sqrt(np.maximum(energy**2 - jet_pt**2 - pz**2, 0.0))
    axis = np.stack([jet_pt, np.arcsinh(pz / jet_pt), np.arctan2(py, px), mass], axis=1)
    order = ak.argsort(np.hypot(constituents.px, constituents.py), axis=1, ascending=False)
    px, py, pz = (_padded(constituents[c][order], max_particles) for c in ("px", "py", "pz"))
    pt = np.hypot(px, py)
    eta = np.arcsinh(pz / np.where(pt > 0, pt, 1.0))
    return {"event": event, "axis": axis, "pt": pt, "eta": eta, "phi": np.arctan2(py, px)}


def _padded(values: Any, width: int) -> Floats:
    import awkward as ak

    return _numbers(ak.fill_none(ak.pad_none(values, width, clip=True), 0.0)).reshape(-1, width)


def _numbers(array: Any) -> Floats:
    import awkward as ak

    return np.asarray(ak.to_numpy(array, allow_missing=False), dtype=np.float64)
