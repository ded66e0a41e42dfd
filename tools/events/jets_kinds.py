"""Processes that produce each kind of jet, and the truth label of a jet, for `jets_simulate`.

The hard processes are pairs of one kind, or a Higgs boson with an invisible Z; parton pt around 500-700 GeV with a
flattened spectrum. A jet is of the kind if it is near the parton or boson and contains all quarks or gluons of its
decay ("fully merged", as in the community's top-tagging data, arXiv:1902.09914).
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import numpy as np

from tools.contract import Frozen
from tools.events.zjets import Tune
from tools.types import Floats

RADIUS = 0.8
NEAR = 0.4  # maximum distance between the jet's axis and the parton or boson
HARD = (5, 6)  # rows of the outgoing hard particles in Pythia's event record
BOSONS = (23, 24, 25)


class JetKind(StrEnum):
    """Origin of a jet; bosons and tops decay to quarks or gluons."""

    quark = "quark"  # light
    gluon = "gluon"
    w = "w"
    z = "z"
    top = "top"
    hbb = "hbb"
    hgg = "hgg"


ALL_KINDS = tuple(JetKind)
PARTICLE = {JetKind.w: 24, JetKind.z: 23, JetKind.top: 6, JetKind.hbb: 25, JetKind.hgg: 25}
TO_QUARKS = "onIfAny = 1 2 3 4 5"
W_DECAYS = ["24:onMode = off", f"24:{TO_QUARKS}"]
Z_DECAYS = ["WeakZ0:gmZmode = 2", "23:onMode = off"]
HIGGS = ["HiggsSM:ffbar2HZ = on", *Z_DECAYS, "23:onIfAny = 12 14 16", "25:onMode = off"]
SETTINGS = {
    JetKind.quark: ["HardQCD:qq2qq = on", "HardQCD:gg2qqbar = on", "HardQCD:qqbar2qqbarNew = on"],
    JetKind.gluon: ["HardQCD:gg2gg = on", "HardQCD:qqbar2gg = on"],
    JetKind.w: ["WeakDoubleBoson:ffbar2WW = on", *W_DECAYS],
    JetKind.z: ["WeakDoubleBoson:ffbar2gmZgmZ = on", *Z_DECAYS, f"23:{TO_QUARKS}"],
    JetKind.top: ["Top:gg2ttbar = on", "Top:qqbar2ttbar = on", *W_DECAYS],
    JetKind.hbb: [*HIGGS, "25:onIfMatch = 5 -5"],
    JetKind.hgg: [*HIGGS, "25:onIfMatch = 21 21"],
}


class JetProcess(Frozen):
    """Pythia settings for jets of one kind."""

    kind: JetKind
    tune: Tune = Tune.monash

    def settings(self) -> list[str]:
        """Return the settings. The spectrum falls roughly as pt^-5; biasing the selection by pt^5 flattens it."""
        return [
            *SETTINGS[self.kind],
            "PhaseSpace:pTHatMin = 480.",
            "PhaseSpace:pTHatMax = 800.",
            "PhaseSpace:bias2Selection = on",
            "PhaseSpace:bias2SelectionPow = 5.",
            *self.tune.settings(),
        ]


def decay_points(event: Any, kind: JetKind) -> list[Floats]:
    """Return, for each hard parton or boson of the kind, its (eta, phi) and, in further rows, those of the partons that
    it decays to.
    """
    points = []
    for number in HARD:
        hard = event[number]
        if (kind is JetKind.quark and abs(hard.id()) <= 5) or (kind is JetKind.gluon and hard.id() == 21):
            points.append(np.array([[hard.eta(), hard.phi()]]))
        elif kind in PARTICLE and abs(hard.id()) == PARTICLE[kind]:
            last = event[hard.iBotCopyId()]
            ends = [last, *_partons(event, last)]
            points.append(np.array([[p.eta(), p.phi()] for p in ends]))
    return points


def _partons(event: Any, particle: Any) -> list[Any]:
    """Return the partons that the particle decays to, including those of a W from a top."""
    partons = []
    for index in particle.daughterList():
        daughter = event[index]
        if abs(daughter.id()) in BOSONS:
            partons += _partons(event, event[daughter.iBotCopyId()])
        else:
            partons.append(daughter)
    return partons


def holds(axis: Floats, where: Floats) -> bool:
    """Return whether a jet at `axis` (eta, phi) is near the first of `decay_points` and contains the others."""
    delta_phi = (where[:, 1] - axis[1] + np.pi) % (2 * np.pi) - np.pi
    distance = np.hypot(where[:, 0] - axis[0], delta_phi)
    return bool(distance[0] < NEAR and np.all(distance < RADIUS))
