"""What generative methods learn: a true event x given a measured one c, both in coordinates that are about normal.

Levels      each level by itself, for methods that move a measured event to a true one.
Residuals   a true value minus the measured one, for methods that begin with noise. Both are first given the coordinates
            of all events of both levels, in which equal values are equal; the difference then becomes a normal quantile
            of its own. A detector often measures a value well and sometimes not at all (a jet's zg is that of another
            splitting): a narrow peak at the measured value, on a wide rest. As ranks of the difference the peak is as
            wide as anything else; in coordinates of the true value, a network has to learn where it is, to a small part
            of its range. The map is exact: for each c, x and the true event determine each other.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from tools.types import Floats
from tools.unfolding.marginals import Marginals, Peak, Ranks


class Coordinates(Protocol):
    """Coordinates of pairs of events."""

    def condition(self, reco: Floats, rng: np.random.Generator) -> Floats:
        """Return c (n, d) of measured events (n, d); of values that many events share, some rank is drawn."""
        ...

    def forward(self, gen: Floats, c: Floats, rng: np.random.Generator) -> Floats:
        """Return x (n, d) of true events (n, d)."""
        ...

    def inverse(self, x: Floats, c: Floats) -> Floats:
        """Return true events (n, d)."""
        ...


@dataclass(frozen=True)
class Levels:
    """Normal quantiles of each level."""

    gen: Marginals
    reco: Marginals

    @staticmethod
    def of(
        gen: Floats, reco: Floats, weight: Floats, peaks: Mapping[int, Peak], rng: np.random.Generator
    ) -> Coordinates:
        return Levels(*(Marginals.of(level, weight, peaks) for level in (gen, reco)))

    def condition(self, reco: Floats, rng: np.random.Generator) -> Floats:
        return self.reco.forward(reco, rng)

    def forward(self, gen: Floats, c: Floats, rng: np.random.Generator) -> Floats:
        return self.gen.forward(gen, rng)

    def inverse(self, x: Floats, c: Floats) -> Floats:
        return self.gen.inverse(x)


@dataclass(frozen=True)
class Residuals:
    """Coordinates of both levels together, those of the difference, and the range (d,) of the true training events."""

    both: Marginals
    difference: Marginals
    low: Floats
    high: Floats

    @staticmethod
    def of(
        gen: Floats, reco: Floats, weight: Floats, peaks: Mapping[int, Peak], rng: np.random.Generator
    ) -> Coordinates:
        both = Marginals.of(np.concatenate([gen, reco]), np.tile(weight, 2), peaks)
        difference = Marginals.of(both.forward(gen, rng) - both.forward(reco, rng), weight, {})
        wide = [not isinstance(column, Ranks) for column in both.columns]
        seen = gen[weight > 0]
        return Residuals(
            both, difference, np.where(wide, -np.inf, seen.min(axis=0)), np.where(wide, np.inf, seen.max(axis=0))
        )

    def condition(self, reco: Floats, rng: np.random.Generator) -> Floats:
        return self.both.forward(reco, rng)

    def forward(self, gen: Floats, c: Floats, rng: np.random.Generator) -> Floats:
        return self.difference.forward(self.both.forward(gen, rng) - c, rng)

    def inverse(self, x: Floats, c: Floats) -> Floats:
        return np.clip(self.both.inverse(c + self.difference.inverse(x)), self.low, self.high)
