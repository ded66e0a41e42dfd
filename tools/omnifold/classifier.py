"""Density ratios from classifiers: what every step of OmniFold asks for.

Each event carries two weights, one in the reference and one in the target: an event of only one sample has a zero in
the other, and step 2, where both samples are the same events, needs no copy. A classifier minimises

    sum_i reference_i log(1 + e^{z_i}) + target_i log(1 + e^{-z_i}),

whose optimum is z(x) = log p_target(x) / p_reference(x), with both samples scaled to the same sum. Each member of an
ensemble leaves another share of the events out of its fit. They stop its training; together they calibrate the ratio
(Platt's slope and offset, in Advances in Large Margin Classifiers, 1999) and tell how significant the difference is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from tools.types import Floats

FOLDS = 10  # a member holds one of them out
# Width of the prior on Platt's slope around 1: a clear miscalibration is corrected, noise of the slope is not added.
SLOPE_PRIOR = 0.1
MAX_LOG_RATIO = 7.0  # a factor of 1000: nothing is learnt beyond, and one stray event cannot outweigh the rest

Rows = NDArray[np.int64]


@dataclass(frozen=True)
class Weighted:
    """Events x (n, d) with their weights in the reference and in the target (n,)."""

    x: Floats
    reference: Floats
    target: Floats

    def rows(self, rows: NDArray[np.bool_] | Rows) -> Weighted:
        return Weighted(self.x[rows], self.reference[rows], self.target[rows])

    def balanced(self) -> Weighted:
        """Events with weight, both samples scaled to a sum of n/2."""
        some = self.rows((self.reference > 0) | (self.target > 0))
        half = len(some.x) / 2
        return Weighted(
            some.x, some.reference * (half / some.reference.sum()), some.target * (half / some.target.sum())
        )


class Model(Protocol):
    """A trained ensemble: the log ratio (n,) of one member, and the mean of all."""

    def member(self, x: Floats, k: int) -> Floats: ...

    def log_ratio(self, x: Floats) -> Floats: ...


class Classifier(Protocol):
    """Settings that can be trained: a member for each pair of rows (used, held out), all pairs of equal lengths.

    `start`: a model of the same settings to go on from, where that helps.
    """

    def fit(
        self, events: Weighted, splits: list[tuple[Rows, Rows]], seed: int, start: Model | None = None
    ) -> Model: ...


@dataclass(frozen=True)
class Ratio:
    """A calibrated model: log p_target/p_reference = slope z(x) + offset. `gain` says what it knows of held-out events.

    `gain`: mean decrease of the held-out loss against z = 0, per event of unit weight, in nats; positive only where the
    samples differ. `gain_error`: its standard error.
    """

    model: Model
    slope: float
    offset: float
    gain: float
    gain_error: float

    def log_ratio(self, x: Floats) -> Floats:
        """(n,) at x (n, d), between -MAX_LOG_RATIO and MAX_LOG_RATIO."""
        z = self.slope * self.model.log_ratio(x) + self.offset
        return np.asarray(np.clip(z, -MAX_LOG_RATIO, MAX_LOG_RATIO))


def ratio(
    classifier: Classifier, events: Weighted, split: int, seed: int, members: int, start: Ratio | None = None
) -> Ratio:
    """Train an ensemble, and calibrate it on what its members have not seen.

    `split`: seed of what is held out; the same for a model that goes on from an earlier one, which then has not seen
    those events either.
    """
    events = events.balanced()
    order = np.random.default_rng(split).permutation(len(events.x))
    size = max(1, len(order) // FOLDS)
    splits = [_split(order, (k % FOLDS) * size, size) for k in range(members)]
    model = classifier.fit(events, splits, seed, start.model if start else None)
    z = np.concatenate([model.member(events.x[held], k) for k, (_, held) in enumerate(splits)])
    return calibrated(model, z, events.rows(np.concatenate([held for _, held in splits])))


def _split(order: Rows, start: int, size: int) -> tuple[Rows, Rows]:
    """Hold out the rows of one fold; return (used, held)."""
    return np.concatenate([order[:start], order[start + size :]]), order[start : start + size]


def calibrated(model: Model, z: Floats, held: Weighted) -> Ratio:
    """Slope and offset that minimise the loss of held-out log ratios z (n,), by Newton's method; slope >= 0."""
    slope, offset = 1.0, 0.0
    for _ in range(20):
        p = 1 / (1 + np.exp(-(slope * z + offset)))
        residual = held.reference * p - held.target * (1 - p)
        curvature = (held.reference + held.target) * p * (1 - p)
        gradient = np.array([residual @ z + (slope - 1) / SLOPE_PRIOR**2, residual.sum()])
        hessian = np.array([[curvature @ z**2 + SLOPE_PRIOR**-2, curvature @ z], [curvature @ z, curvature.sum()]])
        step = np.linalg.solve(hessian, gradient)
        slope, offset = max(slope - step[0], 0.0), offset - step[1]
        if np.abs(step).max() < 1e-10:
            break
    z = slope * z + offset
    gains = held.reference * (np.log(2) - np.logaddexp(0, z)) + held.target * (np.log(2) - np.logaddexp(0, -z))
    error = gains.std() / np.sqrt(len(gains))
    return Ratio(model, float(slope), float(offset), float(gains.mean()), float(error))
