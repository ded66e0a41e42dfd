"""The leading jet and its substructure, at particle or detector level: the six observables of OmniFold.

Anti-kt jets with R = 0.4; the one of highest pt is used (arXiv:1911.09107, "Z+jets"). Angles are in rapidity and phi.

- mass, multiplicity (number of constituents);
- width = sum pt dR / sum pt, with dR to the jet's axis;
- tau21 = tau2 / tau1, N-subjettiness with beta = 1 and one-pass kt axes (arXiv:1011.2268);
- zg and the groomed mass from soft drop with z_cut = 0.1, beta = 0 on the Cambridge/Aachen tree (arXiv:1402.2657);
  zg = 0 if no splitting passes;
- ln rho = ln(m_groomed^2 / pt^2), pt of the ungroomed jet, but at least LN_RHO_MIN (the groomed mass may be 0).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tools.types import Floats

RADIUS = 0.4
Z_CUT = 0.1
LN_RHO_MIN = -14.0
OBSERVABLES = ("mass", "mult", "width", "lnrho", "tau21", "zg")
AXIS = ("pt", "rapidity", "phi")
CONSTITUENTS = "constituents"
WHOLE_JET = 10.0  # radius at which all constituents of a jet cluster into one


def leading_jets(particles: Any) -> dict[str, Any]:
    """Return AXIS and OBSERVABLES of each event's leading jet, with pt = 0 and the rest NaN if there is none.

    `particles` is an awkward array of events with fields pt [GeV], eta, phi, mass [GeV]. Masses are in GeV. The result
    also has CONSTITUENTS, an awkward array of px, py, pz, E [GeV].
    """
    import awkward as ak
    import fastjet

    fastjet._swig.ClusterSequence.set_fastjet_banner_stream(None)
    jets: dict[str, Any] = {name: np.full(len(particles), np.nan) for name in (*AXIS, *OBSERVABLES)}
    jets["pt"][:] = 0.0
    filled = ak.to_numpy(ak.num(particles.pt, axis=1) > 0)
    if not filled.any():
        return jets | {CONSTITUENTS: _momenta(particles)}
    momenta = _momenta(particles[filled])
    # R must be a double: the integer overload of JetDefinition means something else.
    sequence = fastjet.ClusterSequence(momenta, fastjet.JetDefinition(fastjet.antikt_algorithm, RADIUS))
    constituents = sequence.constituents(0.0)
    jet_pt = np.hypot(ak.sum(constituents.px, axis=2), ak.sum(constituents.py, axis=2))
    highest = _numbers(ak.argmax(jet_pt, axis=1))
    leading = ak.to_packed(constituents[np.arange(len(highest)), highest])
    for name, values in _observables(leading).items():
        jets[name][filled] = values
    counts = np.zeros(len(particles), dtype=np.int64)
    counts[filled] = _numbers(ak.num(leading.px, axis=1))
    return jets | {CONSTITUENTS: ak.unflatten(ak.flatten(leading), counts)}


def _momenta(particles: Any) -> Any:
    import awkward as ak

    px, py, pz = (particles.pt * f for f in (np.cos(particles.phi), np.sin(particles.phi), np.sinh(particles.eta)))
    energy = np.sqrt(px**2 + py**2 + pz**2 + particles.mass**2)
    return ak.zip({"px": px, "py": py, "pz": pz, "E": energy})


def _observables(jet: Any) -> dict[str, Floats]:
    """Return AXIS and OBSERVABLES of one jet per event, given by its constituents (px, py, pz, E)."""
    import awkward as ak
    import fastjet

    px, py, pz, energy = (_numbers(ak.sum(jet[c], axis=1)) for c in ("px", "py", "pz", "E"))
    pt, rapidity, phi = np.hypot(px, py), 0.5 * np.log((energy + pz) / (energy - pz)), np.arctan2(py, px)
    each_pt = np.hypot(jet.px, jet.py)
    each_rapidity = 0.5 * np.log((jet.E + jet.pz) / (jet.E - jet.pz))
    delta_phi = (np.arctan2(jet.py, jet.px) - phi + np.pi) % (2 * np.pi) - np.pi
    distance = np.hypot(each_rapidity - rapidity, delta_phi)

    tree = fastjet.ClusterSequence(jet, fastjet.JetDefinition(fastjet.cambridge_algorithm, WHOLE_JET))
    groomed = tree.exclusive_jets_softdrop_grooming(njets=1, beta=0.0, symmetry_cut=Z_CUT, R0=RADIUS)
    zg, groomed_mass = _numbers(groomed.symmetrysoftdrop), _numbers(groomed.msoftdrop)
    tau = _numbers(tree.njettiness(njets=[1, 2], beta=1.0, R0=RADIUS))
    with np.errstate(divide="ignore", invalid="ignore"):
        ln_rho = np.log(np.maximum(groomed_mass, 0.0) ** 2 / pt**2)
        tau21 = np.where(tau[:, 0] > 0, tau[:, 1] / tau[:, 0], 0.0)
    return {
        "pt": pt,
        "rapidity": rapidity,
        "phi": phi,
        "mass": np.sqrt(np.maximum(energy**2 - px**2 - py**2 - pz**2, 0.0)),
        "mult": _numbers(ak.num(jet.px, axis=1)).astype(np.float64),
        "width": _numbers(ak.sum(each_pt * distance, axis=1) / ak.sum(each_pt, axis=1)),
        "lnrho": np.maximum(ln_rho, LN_RHO_MIN),
        "tau21": tau21,
        "zg": np.maximum(zg, 0.0),  # FastJet gives -1 if nothing passes
    }


def _numbers(array: Any) -> NDArray[Any]:
    """Return a plain numpy array: FastJet and reductions give option types, whose masked arrays have log(0) = 1."""
    import awkward as ak

    return np.asarray(ak.to_numpy(ak.drop_none(array, axis=0), allow_missing=False))
