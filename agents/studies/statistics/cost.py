"""Cost of a success: the total spent, including on failures, divided by the number of successes."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from agents.studies.statistics.proportions import NO_INTERVAL, Interval
from agents.studies.statistics.spread import drawn, percentiles
from tools.types import Floats


@dataclass(frozen=True)
class Spent:
    """Cost in total, per run, and per success with an interval over data sets; infinite if nothing succeeds."""

    total: float
    per_run: float
    per_success: float
    interval: Interval


def spent(amount: Floats, success: NDArray[np.bool_], cluster: NDArray[np.int64], seed: int = 1) -> Spent:
    """Return the cost from runs (n,): the amount each spent, whether it succeeded, and its data set."""
    if not len(amount):
        return Spent(0.0, math.nan, math.nan, NO_INTERVAL)
    total, successes, clusters = float(amount.sum()), int(success.sum()), len(np.unique(cluster))
    counts = drawn(cluster, seed)
    with np.errstate(divide="ignore", invalid="ignore"):
        found = counts @ amount / (counts @ success)
    return Spent(
        total=total,
        per_run=total / len(amount),
        per_success=total / successes if successes else math.inf,
        interval=percentiles(found, clusters) if successes else NO_INTERVAL,
    )
