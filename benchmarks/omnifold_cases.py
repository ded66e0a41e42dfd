"""Arrays that OmniFold and its peer unfold, with the truth for judging."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.stats import norm

from tasks.unfolding.samples import NATURES, SAMPLE, SIMULATION
from tools.events.parquet import read_columns
from tools.events.zjets_jets import OBSERVABLES
from tools.types import Floats
from tools.unfolding.discriminator import triangular

SMEAR, MEAN, WIDTH = 0.5, 0.2, 0.8
BINS = 50


@dataclass(frozen=True)
class Case:
    """Data (n, d), simulation at both levels (m, d), and true events (k, d)."""

    names: tuple[str, ...]
    data: Floats
    gen: Floats
    reco: Floats
    truth: Floats

    def deltas(self, weight: Floats) -> list[float]:
        """Return triangular discriminators x 1000 of truth and weighted simulation (m,), by observable."""
        found = []
        for gen, truth in zip(self.gen.T, self.truth.T, strict=True):
            low, high = np.quantile(truth, (0.0005, 0.9995))
            edges = np.linspace(float(low), float(high), BINS + 1)
            found.append(triangular(np.histogram(gen, edges, weights=weight)[0], np.histogram(truth, edges)[0]))
        return found


def gaussian(n: int, seed: int, n_truth: int = 1_000_000) -> Case:
    """Return the peer's own test case: simulation N(0, 1), truth N(0.2, 0.8) with its own events, smearing 0.5."""
    rng = np.random.default_rng(seed)
    gen, truth = rng.standard_normal((n, 1)), rng.normal(MEAN, WIDTH, (n, 1))
    reco, data = (x + SMEAR * rng.standard_normal(x.shape) for x in (gen, truth))
    return Case(("x",), data, gen, reco, rng.normal(MEAN, WIDTH, (n_truth, 1)))


def exact(case: Case, iterations: int) -> Floats:
    """Return weights of the `gaussian` simulation (n,) from the same iterations with all densities known except that of
    the data, which is binned finely: the remaining distance to the truth is not due to learning.
    """
    x = np.linspace(-6, 6, 601)
    half = (x[1] - x[0]) / 2
    counts = np.histogram(case.data[:, 0], np.append(x - half, x[-1] + half))[0] / len(case.data)
    smeared = norm.pdf(x[:, None], x, SMEAR)
    smeared /= smeared.sum(axis=0)
    prior = norm.pdf(x) / norm.pdf(x).sum()
    weight = np.ones(len(x))
    for _ in range(iterations):
        weight = weight * (smeared.T @ (counts / (smeared @ (prior * weight))))
    return np.interp(case.gen[:, 0], x, weight)


def zjets(n: int | None = None) -> Case:
    """Return six observables of the shipped Z+jets sample, simulation and nature of the task `unfolding`.

    Only events that pass both levels, so that the treatment of misses and fakes does not matter; at most `n` of each.
    """

    def both(name: str) -> tuple[Floats, Floats]:
        table = read_columns(SAMPLE / f"{name}.parquet")
        rows = np.flatnonzero((table["pass_gen"] > 0) & (table["pass_reco"] > 0))[:n]
        gen, reco = (np.column_stack([table[f"{level}_{x}"][rows] for x in OBSERVABLES]) for level in ("gen", "reco"))
        return gen, reco

    (gen, reco), (truth, data) = both(SIMULATION), both(next(iter(NATURES)))
    return Case(tuple(OBSERVABLES), data, gen, reco, truth)
