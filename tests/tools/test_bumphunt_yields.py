"""The number of signal events in all of the data: back from exact slices, unbiased over its priors, honest errors."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binomtest, norm

from tools.bumphunt.spectrum import SCALE, SIGMA, _crystal_ball_cdf
from tools.bumphunt.yields import (
    LEARNED,
    OFFSET_WIDTH,
    PIVOT,
    PROBITS,
    REFERENCE_OFFSET,
    REFERENCE_SLOPE,
    SEEN,
    SLICES,
    SLOPE_PRIOR,
    _strength,
    binormal_total,
    expected_efficiency,
    total_yield,
)

WINDOW = (3.3, 3.7)
BACKGROUND = np.array([3.0, 6, 20, 60, 200, 600])  # under the bump, per slice


def dijets(n: int, rng: np.random.Generator) -> np.ndarray:
    return 2.5 * (1 - rng.uniform(0, 1 - (2.5 / 6.4) ** 6, n)) ** (-1 / 6)


def resonance(n: int, rng: np.random.Generator) -> np.ndarray:
    """Masses drawn from the very shape that is fitted."""
    t = np.linspace(-30, 30, 60_001)
    return SCALE * 3.5 * (1 + SIGMA * np.interp(rng.uniform(size=n), _crystal_ball_cdf(t), t))


def toy(n_signal: int, seed: int, t: float, b: float) -> tuple[np.ndarray, np.ndarray]:
    """(mjj, score): background unit Gaussian, signal Gaussian so that eff_S = Phi(t + b (Phi^-1(eff_B) - PIVOT))."""
    rng = np.random.default_rng(seed)
    mjj = np.concatenate([dijets(60_000, rng), resonance(n_signal, rng)])
    return mjj, np.concatenate([rng.normal(size=60_000), (t - b * PIVOT + rng.standard_normal(n_signal)) / b])


def held(n: float, t: float, b: float) -> np.ndarray:
    """Signal events in each slice."""
    return n * np.diff(norm.cdf(t + b * (PROBITS - PIVOT)), prepend=0.0)


def learned(n: float, aside: float, b: float, fraction: float = 1.0) -> float:
    """The t that a classifier reaches on `n` signal events, `aside` off the mean: t sets Z, and Z sets t."""
    t = -0.7
    for _ in range(100):
        z = _strength(held(n, t, b), BACKGROUND) / np.sqrt(fraction)
        t = (t + LEARNED[0] + LEARNED[1] * np.log(np.clip(z, *SEEN) / 10) + aside) / 2
    return t


def seen(n: float, t: float, b: float, against_all: bool = False) -> np.ndarray:
    """Expected excess in each slice, less the signal's share in the background estimate."""
    width = np.diff(SLICES, prepend=0.0)
    outside = n if against_all else n * (1 - norm.cdf(t + b * (PROBITS[-1] - PIVOT))) / (1 - SLICES[-1])
    return held(n, t, b) - width * outside


def test_expected_slices_give_the_total_back() -> None:
    for against_all in (False, True):
        for n in (150, 600):
            t, b = learned(n, 0.0, SLOPE_PRIOR[0]), SLOPE_PRIOR[0]
            if against_all:
                t, b = REFERENCE_OFFSET[0], REFERENCE_SLOPE[0]
            slices, errors = seen(n, t, b, against_all), np.sqrt(held(n, t, b) + BACKGROUND)
            found, error, chi2 = binormal_total(slices, errors, against_all)
            assert found == pytest.approx(n, rel=0.1)  # the mean of a skewed posterior lies above its mode
            assert 0.1 * n < error < (0.6 if against_all else 0.35) * n
            assert chi2 < 0.3
            assert binormal_total(slices, 2 * errors, against_all)[1] > 1.1 * error


def test_a_classifier_trained_on_more_events_has_learned_more() -> None:
    t = learned(100, 0.0, SLOPE_PRIOR[0], fraction=0.5)
    slices, errors = seen(100, t, SLOPE_PRIOR[0]), np.sqrt(held(100, t, SLOPE_PRIOR[0]) + BACKGROUND)
    assert binormal_total(slices, errors, fraction=0.5)[0] == pytest.approx(100, rel=0.15)
    assert binormal_total(slices, errors)[0] > 1.1 * 100


@pytest.mark.parametrize("n", [120, 400])
def test_over_the_priors_it_is_unbiased_and_its_errors_cover(n: int) -> None:
    rng = np.random.default_rng(n)
    pulls = []
    for _ in range(150):
        b = max(0.05, rng.normal(*SLOPE_PRIOR))
        t = learned(n, OFFSET_WIDTH * rng.standard_normal(), b)
        drawn = rng.poisson(held(n, t, b)) + rng.normal(0, np.sqrt(BACKGROUND))
        slices = drawn - held(n, t, b) + seen(n, t, b)
        found, error, _ = binormal_total(slices, np.sqrt(np.maximum(drawn, 0) + BACKGROUND))
        pulls.append((found - n) / error)
    assert abs(np.mean(pulls)) < 0.3
    assert abs(np.std(pulls) - 1) < 0.25
    for width, level in ((1, 0.683), (2, 0.954)):
        assert binomtest(int((np.abs(pulls) < width).sum()), len(pulls), level).pvalue > 1e-3


def test_events_with_a_resonance_give_their_number() -> None:
    b = SLOPE_PRIOR[0]
    for seed in range(4):
        found = total_yield(*toy(300, 1000 + seed, learned(300, 0.0, b), b), WINDOW, 3.5, SIGMA)
        assert found.n_signal == pytest.approx(300, abs=3 * found.error)
        assert 20 < found.error < 120  # it does measure
        assert found.slice_errors.min() > 1  # a fit that went nowhere has no error
        assert found.chi2 < 25  # six slices


def test_without_signal_the_yield_is_compatible_with_none() -> None:
    for seed in range(6):
        found = total_yield(*toy(0, 100 + seed, -0.7, 0.4), WINDOW, 3.5, SIGMA)
        assert found.n_signal < 4 * max(found.error, 30)
        assert np.all(np.abs(found.slices) < 4.5 * np.maximum(found.slice_errors, 1))


def test_the_expected_efficiency_is_the_priors_roc_curve() -> None:
    at_pivot, error = expected_efficiency(3e-3, 10)
    assert at_pivot == pytest.approx(norm.cdf(LEARNED[0]), abs=0.01)
    assert error == pytest.approx(OFFSET_WIDTH * norm.pdf(LEARNED[0]), rel=0.05)  # b says nothing there
    by_cut = [expected_efficiency(cut, 10)[0] for cut in SLICES]
    by_strength = [expected_efficiency(1e-2, z)[0] for z in (1, 3, 5, 10, 20)]
    assert by_cut == sorted(by_cut)
    assert by_strength[0] == by_strength[1]
    assert by_strength[1:] == sorted(by_strength[1:])
    with pytest.raises(ValueError, match="between 0 and 1"):
        expected_efficiency(0.0)
