"""Density ratios from classifiers, as needed by both steps of OmniFold.

Each event carries two weights, one in the reference and one in the target sample. An event in only one of them has
weight 0 in the other, and step 2, where both samples are the same events, needs no copy. A classifier minimises

    sum_i reference_i log(1 + e^{z_i}) + target_i log(1 + e^{-z_i}),

whose optimum is z(x) = log p_target(x) / p_reference(x), with both samples scaled to the same sum. Each member of an
ensemble holds a different tenth of the events out of its fit. They decide when its training stops; those of all members
calibrate the ratio (slope and offset after Platt, in Advances in Large Margin Classifiers, 1999) and give the
significance of the difference.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from tools.events.copies import LEAST, adjacent, same_rows
from tools.types import Floats

FOLDS = 10  # a member holds out one of them
# Width of the prior on Platt's slope around 1: corrects a clear miscalibration without adding noise in the slope.
SLOPE_PRIOR = 0.1
MAX_LOG_RATIO = 7.0  # a factor of 1000: nothing is learned beyond, and one outlier cannot outweigh the rest

Rows = NDArray[np.int64]


@dataclass(frozen=True)
class Weighted:
    """Events x (n, d) with their weights (n,) in the reference and in the target."""

    x: Floats
    reference: Floats
    target: Floats

    def rows(self, rows: NDArray[np.bool_] | Rows) -> Weighted:
        return Weighted(self.x[rows], self.reference[rows], self.target[rows])

    def balanced(self) -> Weighted:
        """Return the n events with any weight, both samples scaled to a sum of n/2."""
        some = self.rows((self.reference > 0) | (self.target > 0))
        half = len(some.x) / 2
        return Weighted(
            some.x, some.reference * (half / some.reference.sum()), some.target * (half / some.target.sum())
        )


class Model(Protocol):
    """A trained ensemble: gives the log ratio (n,) of one member, and the mean of all."""

    def member(self, x: Floats, k: int) -> Floats: ...

    def log_ratio(self, x: Floats) -> Floats: ...


class Classifier(Protocol):
    """Classifier settings: train one member for each pair of rows (used, held out), all pairs of equal lengths.

    `start`: a model with the same settings from which to continue, if that helps.
    """

    def fit(
        self, events: Weighted, splits: list[tuple[Rows, Rows]], seed: int, start: Model | None = None
    ) -> Model: ...


@dataclass(frozen=True)
class Ratio:
    """A calibrated model: log p_target/p_reference = slope z(x) + offset.

    `gain`: mean decrease of the held-out loss relative to z = 0, in nats per event of unit weight; positive only if the
    samples differ. `gain_error`: its standard error.
    """

    model: Model
    slope: float
    offset: float
    gain: float
    gain_error: float

    def log_ratio(self, x: Floats) -> Floats:
        """Return the log ratio (n,) at x (n, d), between -MAX_LOG_RATIO and MAX_LOG_RATIO."""
        z = self.slope * self.model.log_ratio(x) + self.offset
        return np.asarray(np.clip(z, -MAX_LOG_RATIO, MAX_LOG_RATIO))


def ratio(
    classifier: Classifier, events: Weighted, split: int, seed: int, members: int, start: Ratio | None = None
) -> Ratio:
    """Train an ensemble and calibrate it on the events held out of its members' training.

    `split`: seed for the held-out events. It must stay the same for a model that continues from an earlier one, so that
    the earlier one has not seen them either.
    """
    events = events.balanced()
    order = np.random.default_rng(split).permutation(len(events.x))
    if events.x.shape[1] >= LEAST:
        order = adjacent(order, same_rows(events.x))
    size = max(1, len(order) // FOLDS)
    splits = [_split(order, (k % FOLDS) * size, size) for k in range(members)]
    model = classifier.fit(events, splits, seed, start.model if start else None)
    z = np.concatenate([model.member(events.x[held], k) for k, (_, held) in enumerate(splits)])
    return calibrated(model, z, events.rows(np.concatenate([held for _, held in splits])))


def _split(order: Rows, start: int, size: int) -> tuple[Rows, Rows]:
    """Hold out the rows of one fold; return (used, held)."""
    return np.concatenate([order[:start], order[start + size :]]), order[start : start + size]


def calibrated(model: Model, z: Floats, held: Weighted) -> Ratio:
    """Return the model with slope >= 0 and offset that minimise the loss of held-out z (n,), by Newton's method."""
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
