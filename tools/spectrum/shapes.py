"""Binning of a mass spectrum and the shapes of a resonance in it.

A resolution that is the same for all events gives a Gaussian. Where it differs from event to event, or photons are
radiated, the peak has tails: Student's t with 5 degrees of freedom is a mixture of Gaussians of many widths. Fitted as
a Gaussian, the tails of a strong peak would be found as resonances beside it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import Literal

import numpy as np
from scipy.special import ndtr, stdtr

from tools.types import Floats

BINS_PER_WIDTH = 2  # bins in the narrowest standard deviation that is looked for
MAX_BINS = 2000
TAILS = 5  # degrees of freedom
Name = Literal["gaussian", "tailed"]
SHAPES: dict[Name, Callable[[Floats], Floats]] = {"gaussian": ndtr, "tailed": partial(stdtr, TAILS)}


def edges_for(low: float, high: float, narrowest: float, fixed: tuple[float, ...] = ()) -> Floats:
    """Return bin edges from `low` to `high`, of nearly equal relative width, with the `fixed` ones among them.

    `narrowest` is the smallest relative width of a resonance. There are at most MAX_BINS bins.
    """
    step = max(narrowest / BINS_PER_WIDTH, np.log(high / low) / MAX_BINS)
    stops = [low, *sorted(each for each in fixed if low < each < high), high]
    pieces = [np.geomspace(a, b, 1 + max(1, round(np.log(b / a) / step))) for a, b in pairwise(stops)]
    return np.concatenate([*(piece[:-1] for piece in pieces), [high]])


def centres_of(edges: Floats) -> Floats:
    """Return the geometric centre of every bin."""
    return np.asarray(np.sqrt(edges[:-1] * edges[1:]))


def resonance(edges: Floats, mass: float | Floats, width: float | Floats, shape: Name) -> Floats:
    """Return the fraction of a resonance in every bin (..., n); `width` is the relative width of the shape's core."""
    mass, width = np.asarray(mass)[..., None], np.asarray(width)[..., None]
    return np.asarray(np.diff(SHAPES[shape]((edges / mass - 1) / width)))
