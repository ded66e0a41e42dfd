"""Coordinates in which maps are learned: scores as normal scores, protected columns standardised.

Each score is mapped through its own quantiles, which are joined by straight lines: z = Phi^-1(F(s)) at the knots.
Beyond the outer knots the lines go on, so that the order of a signal beyond all background is kept. If scores do not
depend on the mass, z is a unit Gaussian at every mass, and the map to learn is the identity.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr, ndtri

from tools.contract import ToolError
from tools.types import Floats

KNOTS = 200
TAIL = 20  # events beyond the outer knots
LEAST = 1000  # events to learn from
FEW = 20  # different values that a score must have


@dataclass(frozen=True)
class NormalScores:
    """Knots of each score (d lists): values and their normal scores, both increasing."""

    values: list[Floats]
    normal: list[Floats]

    @staticmethod
    def of(scores: Floats) -> NormalScores:
        """Learn from (n, d). Raises ToolError for too few events and for scores with few different values."""
        n = len(scores)
        if n < LEAST:
            raise ToolError("events", n, f"at least {LEAST} background-like events to learn from")
        levels = ndtr(np.linspace(-1, 1, KNOTS) * -ndtri(TAIL / n))
        values, normal = [], []
        for i, column in enumerate(scores.T):
            at, first = np.unique(np.quantile(column, levels), return_index=True)
            # The middle of the levels that share a value: of equal scores, half lie below.
            last = np.append(first[1:], len(levels)) - 1
            if len(at) < FEW:
                raise ToolError("columns", i, f"a score with at least {FEW} different values; it has {len(at)}")
            values.append(at)
            normal.append(ndtri((levels[first] + levels[last]) / 2))
        return NormalScores(values, normal)

    def forward(self, scores: Floats) -> Floats:
        """Return the normal scores z (n, d)."""
        return np.column_stack([_line(*each) for each in zip(scores.T, self.values, self.normal, strict=True)])

    def inverse(self, z: Floats) -> Floats:
        """Return the scores (n, d) of z."""
        return np.column_stack([_line(*each) for each in zip(z.T, self.normal, self.values, strict=True)])


def untied(scores: Floats, seed: int) -> Floats:
    """Return scores (n, d) of which no two are equal: those that are get uniform values down to the next lower one.

    A map that changes with the mass would move all events of one value at once, and a cut would keep them below some
    mass and not above it.
    """
    rng = np.random.default_rng([seed, 17])
    return np.column_stack([_spread(column, rng) for column in scores.T])


def _spread(column: Floats, rng: np.random.Generator) -> Floats:
    values, at, counts = np.unique(column, return_inverse=True, return_counts=True)
    if len(values) < 2:
        return column
    gaps = np.diff(values, prepend=2 * values[0] - values[1])
    return np.asarray(column - np.where(counts[at] > 1, gaps[at] * rng.uniform(size=len(column)), 0.0))


def _line(x: Floats, at: Floats, to: Floats) -> Floats:
    """Return the values of the broken line through the knots (at, to); its ends have the slope of the last tenth."""
    inside = np.interp(x, at, to)
    few = max(1, len(at) // 10)
    below, above = np.minimum(x - at[0], 0), np.maximum(x - at[-1], 0)
    slopes = (to[few] - to[0]) / (at[few] - at[0]), (to[-1] - to[-1 - few]) / (at[-1] - at[-1 - few])
    return np.asarray(inside + slopes[0] * below + slopes[1] * above)


@dataclass(frozen=True)
class Context:
    """Protected columns (n, p), standardised, as logarithms where all are above 0; beyond the range seen, its edge."""

    low: Floats
    high: Floats
    log: tuple[bool, ...]
    mean: Floats
    std: Floats

    @staticmethod
    def of(protected: Floats) -> Context:
        """Learn from (n, p). Raises ToolError for a constant column."""
        low, high = protected.min(axis=0), protected.max(axis=0)
        for i in np.flatnonzero(low == high):
            raise ToolError("protected", int(i), f"a column that varies; this one is {low[i]:g} throughout")
        plain = Context(low, high, tuple(bool(value > 0) for value in low), np.zeros(len(low)), np.ones(len(low)))
        seen = plain.forward(protected)
        return Context(low, high, plain.log, seen.mean(axis=0), seen.std(axis=0))

    def forward(self, protected: Floats) -> Floats:
        """Return the standardised columns (n, p)."""
        inside = np.clip(protected, self.low, self.high)
        columns = [np.log(c) if log else c for c, log in zip(inside.T, self.log, strict=True)]
        return (np.column_stack(columns) - self.mean) / self.std
