"""Poisson likelihood of binned counts, maximised by Fisher scoring.

A model maps parameters (p,) to expected counts (n,) and their derivatives (n, p). Each step solves
(J^T W J) step = J^T W (counts - expected) with W = 1 / expected, and is halved until the likelihood does not fall.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from tools.types import Floats

Model = Callable[[Floats], tuple[Floats, Floats]]
STEPS = 100
HALVINGS = 25
TOLERANCE = 1e-7  # in -2 log L
TINY = 1e-9  # expected counts are at least this


class Fit(NamedTuple):
    """A maximum of the likelihood."""

    parameters: Floats  # (p,)
    expected: Floats  # (n,)
    jacobian: Floats  # (n, p)
    deviance: float  # -2 log L, relative to that of the saturated model

    @property
    def covariance(self) -> Floats:
        """The inverse of the Fisher information (p, p)."""
        return np.asarray(np.linalg.pinv(information(self)))


def information(fit: Fit) -> Floats:
    """Return the Fisher information J^T W J (p, p)."""
    return np.asarray(fit.jacobian.T @ (fit.jacobian / fit.expected[:, None]))


def deviance(counts: Floats, expected: Floats) -> float:
    """Return 2 sum(expected - counts + counts log(counts / expected))."""
    logs = np.where(counts > 0, counts * np.log(np.maximum(counts, TINY) / expected), 0.0)
    return float(2 * np.sum(expected - counts + logs))


def maximise(counts: Floats, model: Model, start: Floats) -> Fit:
    """Return the maximum reached from `start` (p,); all counts (n,) are used."""
    now = _at(counts, model, start)
    for _ in range(STEPS):
        score = now.jacobian.T @ ((counts - now.expected) / now.expected)
        step = np.linalg.lstsq(information(now), score, rcond=1e-12)[0]
        for halving in range(HALVINGS):
            later = _at(counts, model, now.parameters + step / 2**halving)
            if later.deviance <= now.deviance:
                break
        else:
            return now
        gained, now = now.deviance - later.deviance, later
        if gained < TOLERANCE:
            break
    return now


def _at(counts: Floats, model: Model, parameters: Floats) -> Fit:
    with np.errstate(over="ignore", invalid="ignore"):
        expected, jacobian = model(parameters)
        expected = np.nan_to_num(np.maximum(expected, TINY), nan=np.inf)
        reached = deviance(counts, expected) if np.isfinite(expected).all() else np.inf
    return Fit(parameters, expected, jacobian, reached)
