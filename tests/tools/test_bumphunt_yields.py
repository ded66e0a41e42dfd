"""The number of signal events in all of the data: exact on exact slices, unbiased on toys with a binormal ROC curve."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm

from tools.bumphunt.spectrum import SCALE, SIGMA, _crystal_ball_cdf
from tools.bumphunt.yields import OFFSET_PRIOR, SLICES, SLOPE_PRIOR, binormal_total, total_yield

WINDOW = (3.3, 3.7)
A, B = OFFSET_PRIOR[0], SLOPE_PRIOR[0]


def dijets(n: int, rng: np.random.Generator) -> np.ndarray:
    return 2.5 * (1 - rng.uniform(0, 1 - (2.5 / 6.4) ** 6, n)) ** (-1 / 6)


def resonance(n: int, rng: np.random.Generator) -> np.ndarray:
    """Masses drawn from the very shape that is fitted."""
    t = np.linspace(-30, 30, 60_001)
    return SCALE * 3.5 * (1 + SIGMA * np.interp(rng.uniform(size=n), _crystal_ball_cdf(t), t))


def toy(n_signal: int, seed: int, a: float = A, b: float = B) -> tuple[np.ndarray, np.ndarray]:
    """(mjj, score): background unit Gaussian, signal Gaussian such that eff_S = Phi(a + b Phi^-1(eff_B))."""
    rng = np.random.default_rng(seed)
    mjj = np.concatenate([dijets(60_000, rng), resonance(n_signal, rng)])
    return mjj, np.concatenate([rng.normal(size=60_000), (a + rng.standard_normal(n_signal)) / b])


def test_exact_slices_give_the_exact_total() -> None:
    at = norm.cdf(A + B * norm.ppf(SLICES))
    width = np.diff(SLICES, prepend=0.0)
    for against_all in (False, True):
        shared = width if against_all else width / (1 - SLICES[-1]) * (1 - at[-1])
        slices = 800 * (np.diff(at, prepend=0.0) - shared)
        n, error, chi2 = binormal_total(slices, np.full(len(SLICES), 10.0), against_all)
        assert n == pytest.approx(800, rel=1e-3)
        assert chi2 < 1e-3
        assert 10 < error < 200
        wide = binormal_total(slices, np.full(len(SLICES), 30.0), against_all)[1]
        assert wide > 1.5 * error


def test_the_toy_has_the_roc_curve_it_claims() -> None:
    mjj, score = toy(20_000, 1)
    is_signal = np.arange(len(mjj)) >= 60_000
    cuts = np.quantile(score[~is_signal], 1 - SLICES)
    measured = np.array([(score[is_signal] >= cut).mean() for cut in cuts])
    np.testing.assert_allclose(measured, norm.cdf(A + B * norm.ppf(SLICES)), atol=0.04)


def test_the_yield_is_unbiased_with_honest_errors_over_the_prior() -> None:
    rng = np.random.default_rng(5)
    found = []
    for seed in range(40):
        a, b = rng.normal(*OFFSET_PRIOR), max(0.1, rng.normal(*SLOPE_PRIOR))
        found.append(total_yield(*toy(600, 1000 + seed, a, b), WINDOW, 3.5, SIGMA))
    pulls = np.array([(y.n_signal - 600) / y.error for y in found])
    assert abs(pulls.mean()) < 4 / np.sqrt(40)
    assert 1 - 4 / np.sqrt(80) < pulls.std() < 1 + 4 / np.sqrt(80)
    assert np.median([y.n_signal for y in found]) == pytest.approx(600, rel=0.15)
    assert np.median([y.error for y in found]) < 200  # three standard deviations: it does measure
    assert min(y.slice_errors.min() for y in found) > 1  # a fit that went nowhere has no error


def test_without_signal_the_yield_is_compatible_with_none() -> None:
    for seed in range(6):
        found = total_yield(*toy(0, 100 + seed), WINDOW, 3.5, SIGMA)
        assert found.n_signal < 4 * max(found.error, 30)
        assert np.all(np.abs(found.slices) < 4.5 * np.maximum(found.slice_errors, 1))
