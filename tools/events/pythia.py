"""Hard processes and showers with Pythia 8: QCD dijets, and a resonance A -> B(qq') C(qq').

QCD: `HardQCD:all` above a minimum transverse momentum. Resonance: a W' that decays only to W and Z, whose masses are
set to those of B and C: two polarised vectors that decay to quarks other than the top, as in the R&D signal of the LHC
Olympics. As in the R&D files, there are no multiparton interactions, and particles with a mean decay length above 10 mm
(K0s, Lambda) are left to the detector.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from tools.contract import Frozen, ToolError

PT_HAT_MIN = 700.0  # GeV; below, a jet of 1.2 TeV is rare, but many of those from 700 to 1,000 GeV have a high mass
VETO_SCALE = 50.0  # GeV
# Fraction of the required leading-jet pt that must be there when the shower reaches VETO_SCALE. This loses 0.5% of the
# events that would pass in the end, all within a few percent of the threshold.
VETO = 0.92
RADIUS = 1.0
NARROW = 0.001  # Gamma/m
SPAN = 0.3  # resonances are generated within this relative distance of their mass
WPRIME, B, C = 34, 24, 23
BATCH = 100  # events that Pythia makes at a time
PARTICLE = ("pt", "eta", "phi", "pdg", "charge", "mass")  # columns of an event, one row per particle; GeV


class Process(Frozen):
    """The simulated process: QCD dijets (`masses` None) or a resonance.

    `masses` is (m_A, m_B, m_C) in TeV for A -> B C, e.g. (3.5, 0.5, 0.1), the LHCO R&D signal.
    """

    masses: tuple[float, float, float] | None = None
    width: float = Field(default=NARROW, gt=0.0, le=0.15, description="natural width of A over its mass")
    pt_hat_min: float = Field(default=PT_HAT_MIN, ge=20.0, le=5000.0, description="QCD only, GeV")

    @model_validator(mode="after")
    def _kinematics(self) -> Process:
        if self.masses is not None:
            a, b, c = self.masses
            if not (0.5 <= a <= 12.0 and b >= 0.02 and c >= 0.02 and b + c < a):
                raise ToolError("masses", self.masses, "need 0.5 <= m_A <= 12 TeV, m_B, m_C >= 0.02, m_B + m_C < m_A")
        return self

    def settings(self) -> list[str]:
        """Return the process as Pythia command strings."""
        common = ["PartonLevel:MPI = off", "ParticleDecays:limitTau0 = on", "ParticleDecays:tau0Max = 10."]
        if self.masses is None:
            return [*common, "HardQCD:all = on", f"PhaseSpace:pTHatMin = {self.pt_hat_min}"]
        a, b, c = (1e3 * m for m in self.masses)
        return [
            *common,
            "NewGaugeBoson:ffbar2Wprime = on",
            "Wprime:coup2WZ = 1.",
            f"{WPRIME}:m0 = {a:g}",
            f"{WPRIME}:mWidth = {self.width * a:g}",
            f"{WPRIME}:doForceWidth = on",
            f"{WPRIME}:mMin = {(1 - SPAN) * a:g}",
            f"{WPRIME}:mMax = {(1 + SPAN) * a:g}",
            f"{WPRIME}:onMode = off",
            f"{WPRIME}:onIfAll = {B} {C}",
            f"{B}:m0 = {b:g}",
            f"{B}:onMode = off",
            f"{B}:onIfAny = 1 3",
            f"{C}:m0 = {c:g}",
            f"{C}:onMode = off",
            f"{C}:onIfAny = 1 2 3 4 5",
        ]

    def veto(self, leading_pt_min: float) -> Any:
        """Return a hook that makes Pythia drop QCD events without a hard jet early in the shower, which saves most of
        their cost; None if it does not apply.
        """
        if self.masses is not None or leading_pt_min == 0:
            return None
        import pythia8mc

        class TooSoft(pythia8mc.UserHooks):  # type: ignore[misc]
            jets = pythia8mc.SlowJet(-1, RADIUS, VETO * leading_pt_min, 25.0, 2, 2, None, False)

            def canVetoPT(self) -> bool:  # noqa: N802
                return True

            def scaleVetoPT(self) -> float:  # noqa: N802
                return VETO_SCALE

            def doVetoPT(self, _: int, event: Any) -> bool:  # noqa: N802
                self.jets.analyze(event)
                return bool(self.jets.sizeJet() == 0)

        return TooSoft()


class HasSettings(Protocol):
    """Anything that gives its process as Pythia command strings, which are read after the common ones."""

    def settings(self) -> list[str]: ...


def generate(process: HasSettings, seed: int, hook: Any = None) -> Iterator[NDArray[np.float64]]:
    """Yield events without end, as from `next_events`; those that Pythia or `hook` rejects are skipped."""
    pythia = start(process, seed, hook)
    while True:
        yield from next_events(pythia, BATCH)


def start(process: HasSettings, seed: int, hook: Any = None) -> Any:
    """Return an initialised Pythia: 13 TeV pp, default (Monash) tune with underlying event, unless the process sets
    otherwise.

    `hook`: UserHooks; `seed` in 1 .. 900,000,000 (Pythia's range). Raises ValueError for an unknown setting,
    RuntimeError if Pythia cannot be initialised.
    """
    import pythia8mc

    pythia = pythia8mc.Pythia("", False)
    base = ["Print:quiet = on", "Beams:eCM = 13000.", "Random:setSeed = on", f"Random:seed = {seed}"]
    for line in base + process.settings():
        if not pythia.readString(line):
            raise ValueError(f"Pythia does not accept the setting {line!r}")
    if hook is not None:
        pythia.setUserHooksPtr(hook)
    if not pythia.init():
        raise RuntimeError(f"Pythia could not be initialised for {process!r}")
    return pythia


def next_events(pythia: Any, n: int) -> list[NDArray[np.float64]]:
    """Return the stable particles (m, 6) of the next events, at most `n` (Pythia omits those it fails to generate).

    Columns: PARTICLE. This is much faster than reading the event record in Python, particle by particle.
    """
    import awkward as ak

    particles = pythia.nextBatch(n).prt
    particles = particles[particles.status > 0]
    flat = ak.flatten(particles)
    px, py, pz = (ak.to_numpy(flat.p[name]) for name in ("px", "py", "pz"))
    pt = np.maximum(np.hypot(px, py), 1e-12)
    pdg = ak.to_numpy(flat.id)
    kinds, which = np.unique(pdg, return_inverse=True)
    charge = np.array([pythia.particleData.charge(int(kind)) for kind in kinds])[which]
    rows = np.stack([pt, np.arcsinh(pz / pt), np.arctan2(py, px), pdg, charge, ak.to_numpy(flat.m)], axis=1)
    return np.split(rows, np.cumsum(ak.to_numpy(ak.num(particles.id)))[:-1])
