"""Coordinates in which generative unfolding learns: every observable of a level as a standard normal variable.

Each value becomes its rank among the training events, and the rank a normal quantile (the probability integral
transform), whatever the edges and tails. A value that many events share (an integer, a zero of jets without
substructure) has a range of ranks, of which one is drawn: this dequantises it, and every rank in the range gives the
value back. Observables of whole numbers stay whole. Nothing is drawn beyond the range of the training events, except in
observables with a stated peak, whose ranks are those of its Breit-Wigner shape:

    z = (Phi^-1(1/2 + arctan(2 (m - mass)/width)/pi) - mean)/std    (arXiv:2411.02495 for the Z).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr, ndtri

from tools.types import Floats

ATOM = 0.002  # share of the training events from which on a value is given back exactly
TINY, EDGE = 1e-9, 1e-6  # least distance from 0 and 1 of the ranks of a peak, and of others


@dataclass(frozen=True)
class Ranks:
    """The distinct values (k,) of the training events, the ranks (k + 1,) between them; `whole`: all are integers."""

    values: Floats
    ranks: Floats
    whole: bool

    @staticmethod
    def of(x: Floats, weight: Floats) -> Ranks:
        values, index = np.unique(x, return_inverse=True)
        share = np.bincount(index, weight)
        ranks = np.concatenate([[0.0], np.cumsum(share)]) / share.sum()
        return Ranks(values, ranks, bool(np.all(values == np.round(values))))

    @property
    def middle(self) -> Floats:
        return np.asarray((self.ranks[1:] + self.ranks[:-1]) / 2)

    def forward(self, x: Floats, rng: np.random.Generator) -> Floats:
        """Return normal quantiles (n,)."""
        here = np.minimum(np.searchsorted(self.values, x), len(self.values) - 1)
        size = np.diff(self.ranks)
        drawn = self.ranks[here] + rng.uniform(size=len(x)) * size[here]
        known = (self.values[here] == x) & (size[here] > ATOM)
        rank = np.where(known, drawn, np.interp(x, self.values, self.middle))
        return np.asarray(ndtri(np.clip(rank, EDGE, 1 - EDGE)))

    def inverse(self, z: Floats) -> Floats:
        """Return values (n,) within the range of the training events."""
        rank = ndtr(z)
        here = np.clip(np.searchsorted(self.ranks, rank, "right") - 1, 0, len(self.values) - 1)
        smooth = np.interp(rank, self.middle, self.values)
        x = np.where(np.diff(self.ranks)[here] > ATOM, self.values[here], smooth)
        return np.asarray(np.round(x) if self.whole else x)


@dataclass(frozen=True)
class Peak:
    """A resonance of this mass and width; `mean` and `std` are those of its normal quantiles in training."""

    mass: float
    width: float
    mean: float = 0.0
    std: float = 1.0

    def of(self, x: Floats, weight: Floats) -> Peak:
        z = self._normal(x)
        mean = float(np.average(z, weights=weight))
        return Peak(self.mass, self.width, mean, float(np.sqrt(np.average((z - mean) ** 2, weights=weight))))

    def forward(self, x: Floats, rng: np.random.Generator) -> Floats:
        """Return standardised normal quantiles (n,)."""
        return (self._normal(x) - self.mean) / self.std

    def inverse(self, z: Floats) -> Floats:
        """Return masses (n,)."""
        rank = np.clip(ndtr(z * self.std + self.mean), TINY, 1 - TINY)
        return np.asarray(self.mass + self.width / 2 * np.tan(np.pi * (rank - 0.5)))

    def _normal(self, x: Floats) -> Floats:
        rank = 0.5 + np.arctan(2 * (x - self.mass) / self.width) / np.pi
        return np.asarray(ndtri(np.clip(rank, TINY, 1 - TINY)))


@dataclass(frozen=True)
class Marginals:
    """The coordinates of all observables of a level."""

    columns: list[Ranks | Peak]

    @staticmethod
    def of(x: Floats, weight: Floats, peaks: Mapping[int, Peak]) -> Marginals:
        """Make them from training events (n, d) with weights (n,); `peaks`: resonances by column."""
        x, weight = x[weight > 0], weight[weight > 0]
        return Marginals(
            [peaks[k].of(each, weight) if k in peaks else Ranks.of(each, weight) for k, each in enumerate(x.T)]
        )

    def forward(self, x: Floats, rng: np.random.Generator) -> Floats:
        """Return coordinates (n, d) of values (n, d)."""
        return np.column_stack([column.forward(each, rng) for column, each in zip(self.columns, x.T, strict=True)])

    def inverse(self, z: Floats) -> Floats:
        """Return values (n, d)."""
        return np.column_stack([column.inverse(each) for column, each in zip(self.columns, z.T, strict=True)])
