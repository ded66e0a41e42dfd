"""Systematic variations of a signal: factors of its efficiency, mass and width; errors of the background under it.

A nuisance eta_k ~ N(0, 1) multiplies the efficiency, the mass and the width by f_k(eta_k), where log f_k goes through
its variations at -1, 0 and +1 as a parabola and on from there in a straight line (HistFactory's interpolation code 2,
in logarithms: Cranmer et al., CERN-OPEN-2012-016). Two variations that are inverse to each other give f**eta: a
log-normal error.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal, NamedTuple, Self

import numpy as np
from pydantic import Field

from tools.contract import Frozen
from tools.types import Floats

Factor = Annotated[float, Field(gt=0, le=100)]
Pair = tuple[Factor, Factor]
Quantity = Literal["efficiency", "mass", "width"]
QUANTITIES: tuple[Quantity, ...] = ("efficiency", "mass", "width")
SAME: Pair = (1.0, 1.0)


class Nuisance(Frozen):
    """One source of error; factors are those at -1 and +1 standard deviations."""

    name: str = Field(min_length=1, max_length=60)
    efficiency: Pair = Field(SAME, description="factors of efficiency times luminosity")
    mass: Pair = Field(SAME, description="factors of the mass of the peak")
    width: Pair = Field(SAME, description="factors of its width")
    background: float = Field(0.0, ge=0, le=1, description="relative error of the background under the peak")

    def symmetric(self, of: Quantity) -> float:
        """Return the relative error of a quantity: half the difference of the logarithms."""
        down, up = getattr(self, of)
        return float(np.log(up / down) / 2)


def stated(
    efficiency: float = 0.0, background: float = 0.0, scale: float = 0.0, resolution: float = 0.0
) -> list[Nuisance]:
    """Return the nuisances of relative errors that are stated as numbers; 0 is none."""
    found = []
    for name, of, error in (
        ("efficiency", "efficiency", efficiency),
        ("mass_scale", "mass", scale),
        ("resolution", "width", resolution),
    ):
        if error:
            found.append(Nuisance.model_validate({"name": name, of: (1 / (1 + error), 1 + error)}))
    return [*found, Nuisance(name="background", background=background)] if background else found


def together(nuisances: Sequence[Nuisance], of: Quantity) -> float:
    """Return the relative error of a quantity from all nuisances, in quadrature.

    >>> round(together(stated(scale=0.03) + [Nuisance(name="jes", mass=(0.96, 1.04))], "mass"), 2)
    0.05
    """
    return float(np.sqrt(sum(each.symmetric(of) ** 2 for each in nuisances)))


def background_error(nuisances: Sequence[Nuisance]) -> float:
    """Return the relative error of the background under a peak from all nuisances, in quadrature."""
    return float(np.sqrt(sum(each.background**2 for each in nuisances)))


class Effects(NamedTuple):
    """What K nuisances do to efficiency, mass and width."""

    down: Floats  # (3, K), logarithms of the factors at -1
    up: Floats  # (3, K)
    background: Floats  # (K,)

    @classmethod
    def of(cls, nuisances: Sequence[Nuisance]) -> Self:
        pairs = np.array([[getattr(each, of) for each in nuisances] for of in QUANTITIES]).reshape(3, -1, 2)
        down, up = np.moveaxis(np.log(pairs), -1, 0)
        return cls(down, up, np.array([each.background for each in nuisances], dtype=np.float64))

    @property
    def move(self) -> bool:
        """Return whether the peak changes its mass or width."""
        return bool(np.any(self.down[1:]) or np.any(self.up[1:]))

    def logs(self, eta: Floats) -> Floats:
        """Return the logarithms (t, 3) of the factors of efficiency, mass and width at eta (t, K)."""
        inside = np.clip(eta, -1.0, 1.0)
        bent = inside**2 / 2 + inside * (eta - inside)
        return np.asarray(eta @ (self.up - self.down).T / 2 + bent @ (self.up + self.down).T)

    def slopes(self, eta: Floats) -> Floats:
        """Return the derivatives (t, 3, K) of `logs`."""
        return np.asarray((self.up - self.down) / 2 + np.clip(eta, -1.0, 1.0)[:, None] * (self.up + self.down))
