"""Do claimed errors mean what they say? How often the truth lies within one and two of them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from agents.studies.statistics.proportions import Rate, rate
from tools.types import Floats

EXPECTED = {1: 0.6827, 2: 0.9545}  # of a normal distribution


@dataclass(frozen=True)
class Coverage:
    """Of claimed intervals; `without`: claims of the number that named no error. Pulls are (claimed - true) / error."""

    one: Rate
    two: Rate
    without: int
    pull_mean: float
    pull_rms: float
    bias: float


def coverage(claimed: Floats, error: Floats, true: Floats, cluster: NDArray[np.int64]) -> Coverage:
    """Claims (n,) with their errors (n,; NaN or not above zero: none named) and the truth (n,), on data sets (n,)."""
    with np.errstate(invalid="ignore"):
        named = error > 0
    pulls = (claimed[named] - true[named]) / error[named]
    one, two = (rate(np.abs(pulls) <= width, cluster[named]) for width in EXPECTED)
    return Coverage(
        one=one,
        two=two,
        without=int((~named).sum()),
        pull_mean=float(pulls.mean()) if len(pulls) else math.nan,
        pull_rms=float(np.sqrt((pulls**2).mean())) if len(pulls) else math.nan,
        bias=float((claimed - true).mean()) if len(claimed) else math.nan,
    )
