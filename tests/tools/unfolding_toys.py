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


def lossy(
    gen: np.ndarray, reco: np.ndarray, passed: np.ndarray, measured: np.ndarray, fakes: np.ndarray, more: np.ndarray
) -> Problem:
    """Simulated events, of which those `passed` are measured, and their fakes; data are measured and `more` fakes."""
    n = len(fakes)
    return Problem.of(
        np.concatenate([measured, more]),
        np.concatenate([gen, np.full(n, np.nan)]),
        np.concatenate([np.where(passed, reco, np.nan), fakes]),
        pass_gen=np.arange(len(gen) + n) < len(gen),
        pass_reco=np.concatenate([passed, np.ones(n, dtype=bool)]),
    )


def misses_and_fakes(n: int, seed: int, truth_mean: float) -> Problem:
    """Misses, and a tenth as many fakes as events; exact truth: a unit normal at `truth_mean` with n events."""
    rng = np.random.default_rng(seed)

    def sample(mean: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        x = rng.normal(mean, 1, n)
        return x, x + 0.3 * rng.standard_normal(n), rng.random(n) < 1 / (1 + np.exp(x - 1))

    (gen, reco, passed), (_, measured, seen) = sample(0.0), sample(truth_mean)
    return lossy(gen, reco, passed, measured[seen], *(rng.normal(-1, 1, n // 10) for _ in range(2)))


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
