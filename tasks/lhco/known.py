"""Known resonances: masses whose events a search leaves out, so that others can be found beside them.

Without these events no window overlaps them, and fits and templates pass over them: a bin without events says nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import AfterValidator, Field

from tools.bumphunt.background import reach
from tools.bumphunt.windows import HALF_WIDTH, centres, overlapping, window_at
from tools.types import Floats

Range = tuple[float, float]


def _rising(known: list[Range]) -> list[Range]:
    if any(not 0 < low < high for low, high in known):
        raise ValueError("pairs of masses, 0 < low < high, such as [[3.2,3.8]]")
    return sorted(known)


Known = Annotated[
    list[Range],
    Field(default_factory=list, description="masses of known resonances, whose events are left out: [[low,high],...]"),
    AfterValidator(_rising),
]


def beside(mass: Floats, known: Sequence[Range]) -> NDArray[np.bool_]:
    """Mark the masses (n,) outside all of these ranges."""
    seen = np.ones(len(mass), dtype=bool)
    for low, high in known:
        seen &= (mass < low) | (mass >= high)
    return seen


def overlaps(window: Range, known: Sequence[Range]) -> bool:
    """Return whether a window shares masses with one of these ranges."""
    return any(window[0] < high and low < window[1] for low, high in known)


def between(search: Range, known: Sequence[Range]) -> list[Range]:
    """Return the parts of a search range outside the known ranges, in order.

    >>> between((2.0, 6.0), [(3.0, 3.5), (1.0, 2.5)])
    [(2.5, 3.0), (3.5, 6.0)]
    """
    parts, low = [], search[0]
    for start, end in sorted(known):
        parts.append((low, min(start, search[1])))
        low = max(low, end)
    return [(low, high) for low, high in [*parts, (low, search[1])] if low < high]


def around(mass: float, width: float) -> Range:
    """Return the masses, to four digits, that a resonance of this relative width may reach with its tails."""
    tails = reach(width)
    return float(f"{mass * (1 - tails):.4g}"), float(f"{mass * (1 + tails):.4g}")


def option(known: Sequence[Range]) -> str:
    """Return the option of a command that leaves out these resonances.

    >>> option([(3.2, 3.8)])
    '`--set "known=[[3.2,3.8]]"`'
    """
    return f'`--set "known={[list(masses) for masses in known]}"`'.replace(", ", ",")


def room(search: Range, known: Sequence[Range], half_width: float = HALF_WIDTH) -> list[Range]:
    """Return the parts of a search range between known ranges that have room for a window."""
    return [(low, high) for low, high in between(search, known) if low * (1 + half_width) <= high * (1 - half_width)]


def windows(search: Range, known: Sequence[Range], half_width: float = HALF_WIDTH) -> list[Range]:
    """Return the windows that cover the parts of a search range between known ranges, in order of mass."""
    return [
        window_at(centre, part, half_width)
        for part in room(search, known, half_width)
        for centre in centres(part, half_width, overlapping(half_width))
    ]


def window_around(mass: float, search: Range, known: Sequence[Range], half_width: float = HALF_WIDTH) -> Range:
    """Return the window around a mass, inside the part of the search range that is nearest to it."""
    parts = room(search, known, half_width)
    nearest = min(parts, key=lambda part: max(part[0] - mass, mass - part[1], 0.0))
    return window_at(mass, nearest, half_width)
