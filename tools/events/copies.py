"""Copies: the same event more than once, as in a file that was joined to itself.

A copy has nothing new to say. If it lies on the other side of a split into training and test, what was learned by heart
looks like a discovery; if it is counted, fluctuations look larger than they are. So copies stay on one side of every
split, and an event counts once.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tools.events.cluster import COLUMNS
from tools.events.table import DERIVED
from tools.types import Floats

Ints = NDArray[np.int64]
LEAST = 4  # columns to compare: fewer rounded numbers agree by chance
CHUNK = 50_000  # rows at a time: each takes 8 bytes per number


def originals(columns: Mapping[str, Floats]) -> Ints:
    """Return for each event the first row with the same values (n,): its own, unless it is a copy.

    Only features of events are compared where there are LEAST of them, as copies may be numbered anew; with fewer than
    LEAST columns in all, no event is taken for a copy.
    """
    known = [name for name in columns if name in COLUMNS or name in DERIVED]
    names = known if len(known) >= LEAST else list(columns)
    if len(names) < LEAST:
        return np.arange(len(next(iter(columns.values()))))
    return same_rows(np.column_stack([np.asarray(columns[name], dtype=np.float32) for name in names]))


def same_rows(table: NDArray[Any]) -> Ints:
    """Return for each row (n, k) of float32 the first row equal to it (n,).

    >>> same_rows(np.array([[1, 2], [3, 4], [1, 2]], dtype=np.float32))
    array([0, 1, 0])
    """
    flat = np.ascontiguousarray(table, dtype=np.float32).reshape(len(table), -1) + np.float32(0)  # -0 is 0
    factors = np.random.default_rng(1).integers(1, 2**63, flat.shape[1], dtype=np.uint64) | np.uint64(1)
    mixed = np.empty(len(flat), dtype=np.uint64)
    for start in range(0, len(flat), CHUNK):
        words = flat[start : start + CHUNK].view(np.uint32).astype(np.uint64)
        mixed[start : start + CHUNK] = ((words ^ (words >> np.uint64(15))) * factors).sum(axis=1, dtype=np.uint64)
    _, first, key = np.unique(mixed, return_index=True, return_inverse=True)
    found = np.asarray(first[key], dtype=np.int64)
    different = np.flatnonzero(found != np.arange(len(flat)))
    different = different[(flat[different] != flat[found[different]]).any(axis=1)]
    found[different] = different
    return found


def is_first(original: Ints) -> NDArray[np.bool_]:
    """Mark the rows (n,) that are no copies."""
    return np.asarray(original == np.arange(len(original)))


def count(original: Ints) -> int:
    """Return the number of copies."""
    return int((~is_first(original)).sum())


def adjacent(order: Ints, original: Ints) -> Ints:
    """Return the rows `order` with copies right behind their originals, so that a cut hardly ever divides them.

    >>> adjacent(np.array([2, 1, 0]), np.array([0, 1, 0]))
    array([2, 0, 1])
    """
    place = np.full(len(original), len(order))
    np.minimum.at(place, original[order], np.arange(len(order)))
    return order[np.argsort(place[original[order]], kind="stable")]


def said(original: Ints, what: str = "events") -> str:
    """Return a sentence on the number of copies; empty if there are none."""
    if not (copies := count(original)):
        return ""
    return f"{copies} of {len(original)} {what} are copies of others"
