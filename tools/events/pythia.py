"""Hard processes and showers with Pythia 8: QCD dijets, and a resonance A -> B(qq') C(qq').

QCD: `HardQCD:all` above a minimum transverse momentum. Resonance: a narrow neutral spin-2
state made in ffbar and gg annihilation (`ExtraDimensionsG*`), with a single decay channel to
two new narrow scalars, each of which decays to light quarks.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator

from tools.contract import ToolError

PT_HAT_MIN = 1000.0  # GeV; a higher cut biases the spectrum near the 1.2 TeV jet threshold
GRAVITON, SCALAR_B, SCALAR_C = 5100039, 9000001, 9000002


class Process(BaseModel):
    """What is simulated: QCD dijets (`masses` empty) or a resonance.

    `masses` is (m_A, m_B, m_C) in TeV for A -> B C, e.g. (3.5, 0.5, 0.1), the LHCO R&D signal.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    masses: tuple[float, float, float] | None = None
    pt_hat_min: float = Field(default=PT_HAT_MIN, ge=20.0, le=5000.0, description="QCD only, GeV")

    @model_validator(mode="after")
    def _kinematics(self) -> Process:
        if self.masses is not None:
            a, b, c = self.masses
            if not (0.5 <= a <= 12.0 and b >= 0.02 and c >= 0.02 and b + c < a):
                raise ToolError("masses", self.masses, "need 0.5 <= m_A <= 12 TeV, m_B, m_C >= 0.02, m_B + m_C < m_A")
        return self

    def settings(self) -> list[str]:
        """The process as Pythia command strings."""
        if self.masses is None:
            return ["HardQCD:all = on", f"PhaseSpace:pTHatMin = {self.pt_hat_min}"]
        a, b, c = (1e3 * m for m in self.masses)
        lines = ["ExtraDimensionsG*:ffbar2G* = on", "ExtraDimensionsG*:gg2G* = off"]
        for code, name, mass in ((SCALAR_B, "B0", b), (SCALAR_C, "C0", c)):
            # name, antiname, spin type, charge, colour, mass, width, mass range, lifetime
            lines.append(f"{code}:new = {name} void 1 0 0 {mass} 0.01 {0.9 * mass} {1.1 * mass} 0")
            lines.append(f"{code}:isResonance = on")
            lines.append(f"{code}:oneChannel = 1 0.5 100 1 -1")
            lines.append(f"{code}:addChannel = 1 0.5 100 2 -2")
            lines.append(f"{code}:doForceWidth = on")
        lines += [
            f"{GRAVITON}:m0 = {a}",
            f"{GRAVITON}:mMin = {0.9 * a}",
            f"{GRAVITON}:mMax = {1.1 * a}",
            f"{GRAVITON}:mWidth = {0.001 * a}",
            f"{GRAVITON}:doForceWidth = on",
            f"{GRAVITON}:oneChannel = 1 1.0 101 {SCALAR_B} {SCALAR_C}",
        ]
        return lines


class HasSettings(Protocol):
    """Whatever names its process as Pythia command strings, read after the ones that all have in common."""

    def settings(self) -> list[str]: ...


def generate(process: HasSettings, seed: int, hook: Any = None) -> Iterator[NDArray[np.float64]]:
    """Endless events, as `rows_of` gives them; those that Pythia itself or `hook` rejects are skipped."""
    pythia = start(process, seed, hook)
    while True:
        if pythia.next():
            yield rows_of(pythia.event)


def start(process: HasSettings, seed: int, hook: Any = None) -> Any:
    """Pythia, ready: 13 TeV pp, its default (Monash) tune with underlying event, unless the process says otherwise.

    `hook`: its UserHooks; `seed` in 1 .. 900,000,000 (Pythia's range).
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


def rows_of(event: Any) -> NDArray[np.float64]:
    """(n, 6): pt [GeV], eta, phi, pdg id, charge (as 0/1), mass [GeV] of the stable particles."""
    return np.array([_row(p) for p in event if p.isFinal()])


def _row(p: Any) -> tuple[float, ...]:
    return p.pT(), p.eta(), p.phi(), p.id(), p.isCharged(), p.m()
