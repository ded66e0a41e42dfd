"""Bins of a mass spectrum and the shapes of a resonance in it.

A resolution that is the same for all events gives a Gaussian. Where it differs from event to event, or photons are
radiated, the peak has tails: Student's t with 5 degrees of freedom is a mixture of Gaussians of many widths. Fitted as
a Gaussian, the tails of a strong peak would be found as resonances beside it.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Literal, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from tools.types import Floats

BINS_PER_WIDTH = 2  # bins in the narrowest standard deviation that is looked for
MAX_BINS = 2000
Name = Literal["gaussian", "tailed"]


def student(t: Floats) -> Floats:
    """Return the cumulative distribution of Student's t with 5 degrees of freedom.

    >>> [round(float(student(np.array(t))), 4) for t in (0, 1, 2.571)]
    [0.5, 0.8184, 0.975]
    """
    x = t / np.sqrt(5)
    y = 1 / (1 + x * x)
    return np.asarray(0.5 + (np.arctan(x) + x * y * (1 + 2 * y / 3)) / np.pi)


SHAPES: dict[Name, Callable[[Floats], Floats]] = {"gaussian": ndtr, "tailed": student}


class Bins(NamedTuple):
    """Bins by rising mass, with gaps where nothing may be seen.

    `per`: how many events with a weight of one tell as much as one unit of weight in the bin (`filled.py`), 1 if
    events are counted. Counts and expected counts are in such events, yields of resonances in units of weight.
    """

    low: Floats  # (n,)
    high: Floats
    per: Floats

    @classmethod
    def between(cls, edges: Floats) -> Self:
        """Return the bins between edges (n + 1,)."""
        return cls(edges[:-1], edges[1:], np.ones(len(edges) - 1))

    @property
    def centres(self) -> Floats:
        """The geometric centre of every bin."""
        return np.asarray(np.sqrt(self.low * self.high))

    @property
    def edges(self) -> Floats:
        """The edges (n + 1,) of bins without gaps."""
        return np.append(self.low, self.high[-1])

    def among(self, chosen: NDArray[np.bool_]) -> Self:
        """Return some of the bins."""
        return type(self)(self.low[chosen], self.high[chosen], self.per[chosen])

    def holds(self, mass: float) -> bool:
        """Return whether a mass is in one of the bins."""
        return bool(np.any((self.low <= mass) & (mass <= self.high)))

    def inside(self, window: tuple[float, float]) -> NDArray[np.bool_]:
        """Return which bins (n,) have their centre in a window."""
        return np.asarray((self.centres > window[0]) & (self.centres < window[1]))


def bins_for(low: float, high: float, narrowest: float, fixed: tuple[float, ...] = ()) -> Bins:
    """Return bins from `low` to `high`, of nearly equal relative width, with the `fixed` masses among their edges.

    `narrowest` is the smallest relative width of a resonance. There are at most MAX_BINS bins.
    """
    step = max(narrowest / BINS_PER_WIDTH, np.log(high / low) / MAX_BINS)
    stops = [low, *sorted({each for each in fixed if low < each < high}), high]
    pieces = [np.geomspace(a, b, 1 + max(1, round(np.log(b / a) / step))) for a, b in pairwise(stops)]
    return Bins.between(np.concatenate([*(piece[:-1] for piece in pieces), [high]]))


def resonance(bins: Bins, mass: float | Floats, width: float | Floats, shape: Name) -> Floats:
    """Return the counts (..., n) of a resonance with a yield of one: the fraction of it in every bin, times `per`.

    `width` is the relative width of the shape's core.
    """
    mass, width = np.asarray(mass)[..., None], np.asarray(width)[..., None]
    ends = np.flatnonzero(np.append(bins.high[:-1] != bins.low[1:], True))  # other bins end where the next one begins
    below, last = np.split(
        SHAPES[shape]((np.append(bins.low, bins.high[ends]) / mass - 1) / width), [len(bins.low)], -1
    )
    above = np.roll(below, -1, axis=-1)
    above[..., ends] = last
    return np.asarray((above - below) * bins.per)
