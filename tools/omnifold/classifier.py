"""Density ratios from classifiers: what every step of OmniFold asks for.

Each event carries two weights, one in the reference and one in the target: an event of only one sample has a zero in
the other, and step 2, where both samples are the same events, needs no copy. A classifier minimises

    sum_i reference_i log(1 + e^{z_i}) + target_i log(1 + e^{-z_i}),

whose optimum is z(x) = log p_target(x) / p_reference(x), with both samples scaled to the same sum. A random share of
the events is held out of the fit: it stops the training, calibrates the result (Platt's slope and offset, in Advances
in Large Margin Classifiers, 1999) and tells how significant the difference is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from tools.omnifold.problem import Floats

HELD_OUT = 0.2  # of the events
# Width of the prior on Platt's slope around 1: a clear miscalibration is corrected, noise of the slope is not added.
SLOPE_PRIOR = 0.1


@dataclass(frozen=True)
class Weighted:
    """Events x (n, d) with their weights in the reference and in the target (n,)."""

    x: Floats
    reference: Floats
    target: Floats

    def rows(self, rows: NDArray[np.bool_] | NDArray[np.int64]) -> Weighted:
        return Weighted(self.x[rows], self.reference[rows], self.target[rows])

    def balanced(self) -> Weighted:
        """Both samples scaled to a sum of n/2."""
        half = len(self.x) / 2
        return Weighted(
            self.x, self.reference * (half / self.reference.sum()), self.target * (half / self.target.sum())
        )


class Model(Protocol):
    """A trained classifier."""

    def log_ratio(self, x: Floats) -> Floats: ...


class Classifier(Protocol):
    """Settings that can be trained. `start`: a model of the same settings to go on from, where that helps."""

    def fit(
        self, training: Weighted, validation: Weighted, seed: int, members: int, start: Model | None = None
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
        """(n,) at x (n, d)."""
        return self.slope * self.model.log_ratio(x) + self.offset


def ratio(classifier: Classifier, events: Weighted, seed: int, members: int, start: Ratio | None = None) -> Ratio:
    """Train on most of the events, calibrate on the rest."""
    used = events.rows((events.reference > 0) | (events.target > 0))
    order = np.random.default_rng(seed).permutation(len(used.x))
    n_held = max(1, int(HELD_OUT * len(order)))
    held, training = used.rows(order[:n_held]).balanced(), used.rows(order[n_held:]).balanced()
    model = classifier.fit(training, held, seed, members, start.model if start else None)
    return calibrated(model, held)


def calibrated(model: Model, held: Weighted) -> Ratio:
    """Slope and offset that minimise the held-out loss, by Newton's method; the slope is kept at 0 or above."""
    z = model.log_ratio(held.x)
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
