"""Windows in the mass that cover a range: all of the same relative width, each overlapping its neighbours."""

from __future__ import annotations

import math

Window = tuple[float, float]

SEARCH = (2.7, 5.5)  # TeV, range of dijet masses searched
HALF_WIDTH = 0.0571  # relative: 3.3 to 3.7 TeV at 3.5 TeV
STEP = 0.085  # relative distance of neighbouring windows: they overlap by a quarter
DIGITS = 4  # of a window's centre, to which its edges are rounded: in TeV, to a GeV


def overlapping(half_width: float) -> float:
    """Return the step between windows of this half width that overlap by as much as the default ones."""
    return STEP / HALF_WIDTH * half_width


def centres(search: Window, half_width: float = HALF_WIDTH, step: float = STEP) -> list[float]:
    """Return the centres of the windows over a range; the outermost edges are those of the range."""
    low, high = search
    found, last = [low / (1 - half_width)], high / (1 + half_width)
    while found[-1] < last:
        found.append(min(found[-1] * (1 + step), last))
    return found


def window_at(centre: float, search: Window, half_width: float = HALF_WIDTH) -> Window:
    """Return the window around a centre, rounded inwards to DIGITS, shifted if it would leave the range."""
    low, high = search
    half = half_width * centre
    centre = min(max(centre, low + half), high - half)
    step = 10.0 ** (DIGITS - 1 - math.floor(math.log10(centre)))
    return math.ceil(step * (centre - half)) / step, math.floor(step * (centre + half)) / step
