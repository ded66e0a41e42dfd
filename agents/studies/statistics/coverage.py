"""Coverage of claimed errors: how often the truth lies within one and two of them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from agents.studies.statistics.proportions import Rate, rate
from tools.types import Floats

EXPECTED = {1: 0.6827, 2: 0.9545}  # for a normal distribution


@dataclass(frozen=True)
class Coverage:
    """Coverage, pulls (claimed - true) / error and bias of claims; `without`: number of claims without an error."""

    one: Rate
    two: Rate
    without: int
    pull_mean: float
    pull_rms: float
    bias: float


def coverage(claimed: Floats, error: Floats, true: Floats, cluster: NDArray[np.int64]) -> Coverage:
    """Return the coverage of claims (n,) with errors (n,; NaN or <= 0: none) and truth (n,), on data sets (n,)."""
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
