"""LHCO features from particles: anti-kt R=1 jets, their masses and N-subjettiness.

The two jets of highest pt define mjj; they are then ordered by mass, j1 being the lighter, as in
CATHODE (arXiv:2109.00546). N-subjettiness (arXiv:1011.2268) has beta = 1,

    tau_N = sum_i pt_i min_k(dR_ik) / sum_i pt_i R0,   R0 = R = 1,

with the normalised measure and one-pass kt axes, as in the LHCO feature files.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tools.types import Floats

RADIUS = 1.0
LEADING_PT_MIN = 1200.0  # GeV, the LHCO trigger
TEV = 1e-3

# Columns returned by `cluster` and held by every event file; masses in TeV.
COLUMNS = (
    "mjj", "mj1", "mj2",
    "tau1_j1", "tau2_j1", "tau3_j1",
    "tau1_j2", "tau2_j2", "tau3_j2",
    "delta_r_jj",
)  # fmt: skip


def cluster(particles: Any, leading_pt_min: float = LEADING_PT_MIN) -> tuple[dict[str, Floats], NDArray[np.bool_]]:
    """Return the features of the events that pass, and which events passed.

    `particles` is an awkward array of events of massless particles with fields pt [GeV], eta, phi. An event passes if
    its two leading jets have at least two particles each and the leading one is above `leading_pt_min` GeV. The
    features are one array per name in COLUMNS (masses in TeV), with one entry per passing event.
    """
    import awkward as ak
    import fastjet

    # FastJet allows hiding its banner, which would spoil the tools' output, to those who cite it (arXiv:1111.6097).
    fastjet._swig.ClusterSequence.set_fastjet_banner_stream(None)
    particles = ak.zip(
        {
            "px": particles.pt * np.cos(particles.phi),
            "py": particles.pt * np.sin(particles.phi),
            "pz": particles.pt * np.sinh(particles.eta),
            "E": particles.pt * np.cosh(particles.eta),
        }
    )
    # R must be a double: the integer overload of JetDefinition means something else.
    definition = fastjet.JetDefinition(fastjet.antikt_algorithm, RADIUS)
    n_events = len(particles)
    if n_events == 0:
        return {name: np.empty(0) for name in COLUMNS}, np.zeros(0, dtype=bool)

    sequence = fastjet.ClusterSequence(particles, definition)
    constituents = sequence.constituents(20.0)
    jets = ak.sum(constituents.px, axis=2), ak.sum(constituents.py, axis=2)
    order = ak.argsort(np.hypot(*jets), axis=1, ascending=False)[:, :2]
    constituents = constituents[order]
    pt = np.hypot(*jets)[order]
    size = ak.num(constituents, axis=2)
    passed = (ak.num(pt) == 2) & (ak.fill_none(ak.max(pt, axis=1), 0.0) > leading_pt_min) & ak.all(size >= 2, axis=1)
    constituents = constituents[passed]
    n_passed = len(constituents)
    if n_passed == 0:
        return {name: np.empty(0) for name in COLUMNS}, np.zeros(n_events, dtype=bool)

    # From here on there are two jets per event: (n, 2) arrays.
    px, py, pz, energy = (ak.to_numpy(ak.sum(constituents[c], axis=2)) for c in ("px", "py", "pz", "E"))
    mass = np.sqrt(np.maximum(energy**2 - px**2 - py**2 - pz**2, 0.0))

    each_jet = fastjet.ClusterSequence(ak.to_packed(ak.flatten(constituents, axis=1)), definition)
    tau = ak.to_numpy(each_jet.njettiness(njets=[1, 2, 3], beta=1.0, R0=RADIUS)).reshape(n_passed, 2, 3)
    return dijet_features(px, py, pz, energy, mass, tau), ak.to_numpy(passed)


def dijet_features(px: Floats, py: Floats, pz: Floats, energy: Floats, mass: Floats, tau: Floats) -> dict[str, Floats]:
    """Return COLUMNS for the two jets of n events: (n, 2) arrays in GeV and tau (n, 2, 3), in any order of jets."""
    total = [np.sum(c, axis=1) for c in (energy, px, py, pz)]
    mjj = np.sqrt(np.maximum(total[0] ** 2 - total[1] ** 2 - total[2] ** 2 - total[3] ** 2, 0.0))
    eta = np.arcsinh(pz / np.hypot(px, py))
    dphi = np.arctan2(py[:, 0], px[:, 0]) - np.arctan2(py[:, 1], px[:, 1])
    delta_phi = np.abs((dphi + np.pi) % (2 * np.pi) - np.pi)

    by_mass = np.argsort(mass, axis=1, kind="stable")
    rows = np.arange(len(mass))[:, None]
    mass, tau = mass[rows, by_mass], tau[rows, by_mass]
    features = {"mjj": mjj * TEV, "mj1": mass[:, 0] * TEV, "mj2": mass[:, 1] * TEV}
    for jet in (0, 1):
        for n in (0, 1, 2):
            features[f"tau{n + 1}_j{jet + 1}"] = tau[:, jet, n]
    features["delta_r_jj"] = np.hypot(eta[:, 0] - eta[:, 1], delta_phi)
    return features
