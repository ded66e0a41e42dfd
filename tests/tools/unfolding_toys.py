"""A problem whose unfolded truth is known, and a classifier in bins, for the tests of unfolding."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.stats import norm

from tools.unfolding.classifier import Weighted
from tools.unfolding.problem import Problem

SMEAR = 0.5
MEAN, WIDTH = 0.2, 0.8  # of the truth; the simulation is a standard normal


def gaussian(n: int, seed: int, mean: float = MEAN, width: float = WIDTH) -> tuple[Problem, np.ndarray]:
    """(problem, the data's truth): the case of the `omnifold` package's own comparison."""
    rng = np.random.default_rng(seed)
    gen, truth = rng.standard_normal(n), rng.normal(mean, width, n)
    return Problem.of(truth + SMEAR * rng.standard_normal(n), gen, gen + SMEAR * rng.standard_normal(n)), truth


def log_ratio(x: np.ndarray, mean: float = MEAN, width: float = WIDTH) -> np.ndarray:
    return np.asarray(norm.logpdf(x, mean, width) - norm.logpdf(x))


@dataclass(frozen=True)
class Counts:
    """A classifier that counts in unit bins of all events: with it OmniFold is iterative Bayesian unfolding."""

    events: Weighted

    def log_ratio(self, x: np.ndarray) -> np.ndarray:
        ours, theirs = self.events.x[:, 0].astype(int), x[:, 0].astype(int)
        n = max(ours.max(), theirs.max()) + 1
        have, want = (np.bincount(ours, w, n) for w in (self.events.reference, self.events.target))
        return np.asarray(np.log(np.divide(want, have, out=np.ones(n), where=have > 0))[theirs])

    def member(self, x: np.ndarray, k: int) -> np.ndarray:
        return self.log_ratio(x)
