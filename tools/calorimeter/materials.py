"""Calorimeter materials for the GFlash parametrisation: plates of elements and their effective quantities.

As in Grindhammer and Peters, hep-ex/0001020, section 2, with mass fractions w_i: 1/X0 = sum w_i/X0_i,
Ec = X0 sum w_i Ec_i/X0_i, 1/R_M = sum w_i Ec_i/X0_i / 21 MeV, Z = sum w_i Z_i, and the critical energy of Rossi's
approximation, Ec_i = 2.66 MeV (X0_i Z_i/A_i)^1.1, X0_i in g/cm2.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from tools.contract import ToolError

SCATTERING_MEV = 21.0


@dataclass(frozen=True)
class Medium:
    """An element or compound: Z and Z/A (by mass), density [g/cm3], radiation length [g/cm2] (PDG)."""

    z: float
    z_over_a: float
    density: float
    x0: float

    @property
    def critical_energy(self) -> float:
        """Critical energy [MeV]."""
        return float(2.66 * (self.x0 * self.z_over_a) ** 1.1)


@dataclass(frozen=True)
class Material:
    """One cell of a calorimeter: absorber and active medium, with their thicknesses [mm].

    A homogeneous calorimeter has no absorber. `sampling` c: sigma(E)/E = c/sqrt(E/GeV), sampling or photostatistics.
    """

    name: str
    active: tuple[Medium, float]
    sampling: float
    absorber: tuple[Medium, float] | None = None

    @cached_property
    def _parts(self) -> list[tuple[float, Medium, float]]:
        parts = [part for part in (self.absorber, self.active) if part is not None]
        total = sum(medium.density * mm for medium, mm in parts)
        return [(medium.density * mm / total, medium, mm) for medium, mm in parts]

    @cached_property
    def z(self) -> float:
        return sum(w * medium.z for w, medium, _ in self._parts)

    @cached_property
    def x0(self) -> float:
        """Radiation length [g/cm2]."""
        return 1 / sum(w / medium.x0 for w, medium, _ in self._parts)

    @cached_property
    def density(self) -> float:
        """Mean density [g/cm3]."""
        return sum(m.density * mm for _, m, mm in self._parts) / sum(mm for *_, mm in self._parts)

    @cached_property
    def x0_mm(self) -> float:
        return 10 * self.x0 / self.density

    @cached_property
    def critical_energy(self) -> float:
        """Effective critical energy [MeV]."""
        return self.x0 * sum(w * m.critical_energy / m.x0 for w, m, _ in self._parts)

    @cached_property
    def moliere_mm(self) -> float:
        return SCATTERING_MEV / self.critical_energy * self.x0_mm

    @cached_property
    def inverse_frequency(self) -> float:
        """1/F_S = (d_active + d_absorber)/X0, radiation lengths per cell; 0 for a homogeneous calorimeter."""
        return sum(mm for *_, mm in self._parts) / self.x0_mm if self.absorber else 0.0

    @cached_property
    def e_over_mip(self) -> float:
        """e-hat = e/mip = 1/(1 + 0.007 (Z_absorber - Z_active)); 1 for a homogeneous calorimeter."""
        return 1 / (1 + 0.007 * (self.absorber[0].z - self.active[0].z)) if self.absorber else 1.0


_LEAD = Medium(82, 0.39575, 11.35, 6.37)
_TUNGSTEN = Medium(74, 0.40252, 19.3, 6.76)
_IRON = Medium(26, 0.46557, 7.874, 13.84)
_SILICON = Medium(14, 0.49848, 2.329, 21.82)
_ARGON = Medium(18, 0.45059, 1.396, 19.55)
_KRYPTON = Medium(36, 0.42959, 2.418, 11.37)
_SCINTILLATOR = Medium(5.61, 0.54141, 1.032, 43.90)  # polyvinyltoluene
_PBWO4 = Medium(68.4, 0.41315, 8.30, 7.39)

MATERIALS = {
    m.name: m
    for m in (
        Material("lead_argon", (_ARGON, 4.2), 0.10, (_LEAD, 1.5)),  # as in ATLAS's accordion
        Material("tungsten_silicon", (_SILICON, 0.3), 0.17, (_TUNGSTEN, 1.4)),  # data sets 2 and 3
        Material("lead_scintillator", (_SCINTILLATOR, 4.0), 0.09, (_LEAD, 2.0)),
        Material("iron_scintillator", (_SCINTILLATOR, 5.0), 0.20, (_IRON, 10.0)),
        Material("liquid_krypton", (_KRYPTON, 1.0), 0.035),
        Material("lead_tungstate", (_PBWO4, 1.0), 0.028),  # crystals as in CMS
    )
}


def find_material(name: str) -> Material:
    """Return a material by its name; the ToolError for an unknown name lists them.

    >>> m = find_material("lead_tungstate")
    >>> round(m.x0_mm, 1), round(m.critical_energy, 1), round(m.moliere_mm)
    (8.9, 9.1, 21)
    """
    if name not in MATERIALS:
        raise ToolError("material", name, f"one of {', '.join(MATERIALS)}")
    return MATERIALS[name]
