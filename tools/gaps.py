"""Gaps in a spectrum: bins that a selection has emptied, such as a veto of the Z."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tools.types import Floats

FULL = 20  # events next to a bin that is empty by chance with a probability of 2e-9 at most


def emptied(counts: Floats) -> NDArray[np.bool_]:
    """Mark the bins (n,) that a selection has emptied: without events, between bins with more than FULL on both sides.

    They say nothing, whereas an empty bin among hardly filled ones speaks against a signal there. Of two bins on each
    side the fuller one counts, as the nearest may be emptied in part.

    >>> emptied(np.array([50.0, 40, 3, 0, 0, 30, 2, 0, 1])).nonzero()[0]
    array([3, 4])
    """
    gaps, filled = np.zeros(len(counts), dtype=bool), np.flatnonzero(counts)
    for at in np.flatnonzero(np.diff(filled) > 1):
        left, right = filled[at : at + 2]
        sides = counts[max(left - 1, 0) : left + 1], counts[right : right + 2]
        gaps[left + 1 : right] = min(side.max() for side in sides) > FULL
    return gaps


def runs(chosen: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Return first and last index of each run of True.

    >>> runs(np.array([True, False, True, True]))
    [(0, 0), (2, 3)]
    """
    steps = np.flatnonzero(np.diff(np.concatenate([[False], chosen, [False]]).astype(int)))
    return [(int(first), int(end) - 1) for first, end in zip(steps[::2], steps[1::2], strict=True)]
