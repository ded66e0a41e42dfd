"""Do the stated errors of a number describe how it varies with the data?

    halves:    z = (x1 - x2) / sqrt(e1^2 + e2^2) on two disjoint halves, e as stated on each; normal if e is right
    bootstrap: s / e, s the standard deviation over B resamples; (B - 1) s^2 / e^2 follows chi^2 with B - 1 degrees
    nearly all: how far a number moves, over s, if a fraction f of the rows gives way to others that count twice, so
                that counts stay; sqrt(2 f) if it is computed, sqrt(2) if it is drawn, with whatever seed

Rows are drawn independently (each in either half with probability 1/2, each Poisson(1) times into a resample), so that
counts vary as counts do. Both need independent rows; copies of a row (`tools/events/copies.py`) stay with it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.special import chdtri

from tools.normal import z_value
from tools.types import Floats

Rows = NDArray[np.int64]
LEFT_OUT = 0.01  # of the rows


def half_rows(original: Rows, rng: np.random.Generator) -> tuple[Rows, Rows]:
    """Return the row numbers of two disjoint random halves; `original` (n,): the first row that each is a copy of."""
    first = (rng.random(len(original)) < 0.5)[original]
    return np.flatnonzero(first), np.flatnonzero(~first)


def bootstrap_rows(original: Rows, rng: np.random.Generator) -> Rows:
    """Return the row numbers of a resample, each Poisson(1) times, as often as the row that it is a copy of."""
    return np.repeat(np.arange(len(original)), rng.poisson(1.0, len(original))[original])


def nearly_all_rows(original: Rows, rng: np.random.Generator) -> Rows:
    """Return row numbers of which a random fraction LEFT_OUT, one at least, is replaced by others, copies included."""
    distinct = np.unique(original)
    few = max(1, round(LEFT_OUT * len(distinct)))
    chosen = rng.permutation(distinct)
    out, twice = (np.isin(original, chosen[rows]) for rows in (slice(few), slice(few, 2 * few)))
    return np.repeat(np.arange(len(original)), 1 - out.astype(int) + twice)


def largest_move(rows: int) -> float:
    """Return the root mean square move, over the spread, above which a number is not computed from so many rows.

    >>> round(largest_move(1000), 2), round(largest_move(20), 2)
    (0.42, 0.95)
    """
    return 3 * math.sqrt(2 * max(LEFT_OUT, 1 / max(rows, 1)))


def pull(one: tuple[float, float], other: tuple[float, float]) -> float:
    """Return the difference of two independent (value, error) in units of its error.

    >>> pull((3.0, 0.3), (2.0, 0.4))
    2.0
    """
    return (one[0] - other[0]) / math.hypot(one[1], other[1])


def spread_over_error(values: Sequence[float] | Floats, error: float) -> float:
    """Return the standard deviation of a number over bootstrap resamples (B,), in units of its stated error."""
    return float(np.std(values, ddof=1)) / error


def largest_pull(alpha: float) -> float:
    """Return the |z| that right errors exceed with probability alpha."""
    return z_value(alpha / 2)


def spread_range(resamples: int, alpha: float) -> tuple[float, float]:
    """Return the s / e outside of which right errors fall with probability alpha."""
    n = resamples - 1
    low, high = chdtri(n, [1 - alpha / 2, alpha / 2])
    return math.sqrt(low / n), math.sqrt(high / n)
