"""N-subjettiness of jets (arXiv:1011.2268) from FastJet contrib: beta = 1, normalised by R0, one-pass kt axes.

tau_N = sum_i pt_i min_k dR_ik / sum_i pt_i R0
"""

from __future__ import annotations

import numpy as np

from tools.events.jets_kinds import RADIUS
from tools.jet_model.jets import DELTA_ETA, DELTA_PHI, LOG_PT, Jets
from tools.types import Floats

ORDERS = (1, 2, 3)
WHOLE_JET = 10.0  # radius at which all particles of a jet cluster into one


def nsubjettiness(jets: Jets, radius: float = RADIUS) -> Floats:
    """Return tau_1, tau_2, tau_3 (N, 3), with angles from the jets' axes; 0 for no more particles than axes."""
    import awkward as ak
    import fastjet

    fastjet._swig.ClusterSequence.set_fastjet_banner_stream(None)
    x = jets.particles[jets.mask].astype(np.float64)
    pt, eta, phi = np.exp(x[:, LOG_PT]), x[:, DELTA_ETA], x[:, DELTA_PHI]
    momenta = {"px": pt * np.cos(phi), "py": pt * np.sin(phi), "pz": pt * np.sinh(eta), "E": pt * np.cosh(eta)}
    particles = ak.unflatten(ak.zip(momenta), jets.multiplicity)
    sequence = fastjet.ClusterSequence(particles, fastjet.JetDefinition(fastjet.cambridge_algorithm, WHOLE_JET))
    tau = ak.to_numpy(ak.drop_none(sequence.njettiness(njets=list(ORDERS), beta=1.0, R0=radius), axis=0))
    return np.asarray(tau, dtype=np.float64).reshape(len(jets), len(ORDERS))
