"""Values that come in steps, because they were rounded or are whole numbers, and how they are spread over the steps."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tools.types import Floats

OFF = 0.02  # steps by which distances may miss a multiple of the step: values may be in single precision


def rounding(values: Floats) -> float | None:
    """Return the step to which values (n,) were rounded; None if half of them or more are distinct, or if their
    distances are no multiples of the smallest one.

    >>> rounding(np.array([9.46, 9.46, 9.47, 9.5, 9.5, 9.46]))
    0.01
    """
    distinct = np.unique(values)
    if len(distinct) < 3 or 2 * len(distinct) > len(values):
        return None
    steps = np.diff(distinct)
    multiples = steps / steps.min()
    if np.any(np.abs(multiples - np.rint(multiples)) > OFF * np.rint(multiples)):
        return None
    return float(f"{steps.min():.4g}")


def spread(values: Floats, step: float, rng: np.random.Generator, first: NDArray[np.int64] | None = None) -> Floats:
    """Return values (n,) spread uniformly over their steps (dequantisation, Uria et al., arXiv:1306.0186).

    Copies of an event, which have the same `first` row, stay copies.
    """
    by = rng.uniform(size=len(values)) - 0.5
    return np.asarray(values + step * (by if first is None else by[first]))
