"""The number of signal events in all of the data: back from exact slices, unbiased over its priors, honest errors."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binomtest, norm

from tools.bumphunt.spectrum import RANGE, SCALE, Spectrum, _crystal_ball_cdf, make_edges
from tools.bumphunt.yields import (
    LEARNED,
    OFFSET_WIDTH,
    PIVOT,
    PROBITS,
    REFERENCE,
    SEEN,
    SLICES,
    SLOPE_PRIOR,
    Prior,
    _strength,
    binormal_total,
    reference_yield,
    total_yield,
)

WINDOW = (3.3, 3.7)
WIDTH = 0.009
EDGES = make_edges(*RANGE)
BEHIND = Spectrum(EDGES, np.zeros(len(EDGES) - 1), np.zeros(len(EDGES) - 1))  # degree and delta as they are by default
BACKGROUND = np.array([3.0, 6, 20, 60, 200, 600])  # under the bump, per slice


def dijets(n: int, rng: np.random.Generator) -> np.ndarray:
    return 2.5 * (1 - rng.uniform(0, 1 - (2.5 / 6.4) ** 6, n)) ** (-1 / 6)


def resonance(n: int, rng: np.random.Generator, width: float = WIDTH) -> np.ndarray:
    """Masses drawn from the very shape that is fitted."""
    t = np.linspace(-30, 30, 60_001)
    return SCALE * 3.5 * (1 + width * np.interp(rng.uniform(size=n), _crystal_ball_cdf(t), t))


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


def seen(n: float, t: float, b: float) -> np.ndarray:
    """Expected excess in each slice, less the signal's share in the background estimate."""
    width = np.diff(SLICES, prepend=0.0)
    outside = n * (1 - norm.cdf(t + b * (PROBITS[-1] - PIVOT))) / (1 - SLICES[-1])
    return held(n, t, b) - width * outside


@pytest.mark.parametrize("prior", [None, REFERENCE])
@pytest.mark.parametrize("n", [150, 600])
def test_expected_slices_give_the_total_back(prior: Prior | None, n: int) -> None:
    t, b = (learned(n, 0.0, SLOPE_PRIOR[0]), SLOPE_PRIOR[0]) if prior is None else (prior[0][0], prior[1][0])
    slices, errors = seen(n, t, b), np.sqrt(held(n, t, b) + BACKGROUND)
    found, error, chi2 = binormal_total(slices, errors, prior)
    assert found == pytest.approx(n, rel=0.1)  # the mean of a skewed posterior lies above its mode
    assert 0.1 * n < error < (0.6 if prior else 0.35) * n
    assert chi2 < 0.3
    assert binormal_total(slices, 2 * errors, prior)[1] > 1.1 * error


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
        found = total_yield(*toy(300, 1000 + seed, learned(300, 0.0, b), b), WINDOW, 3.5, WIDTH, BEHIND)
        assert found.n_signal == pytest.approx(300, abs=3 * found.error)
        assert 20 < found.error < 120  # it does measure
        assert found.slice_errors.min() > 1  # a fit that went nowhere has no error
        assert found.chi2 < 25  # six slices


def test_without_signal_the_yield_is_compatible_with_none() -> None:
    for seed in range(6):
        found = total_yield(*toy(0, 100 + seed, -0.7, 0.4), WINDOW, 3.5, WIDTH, BEHIND)
        assert found.n_signal < 4 * max(found.error, 30)
        assert np.all(np.abs(found.slices) < 4.5 * np.maximum(found.slice_errors, 1))


def test_a_reference_gives_the_number_of_a_signal_as_wide_as_the_region() -> None:
    """20,000 reference events beside 60,000: as in the signal region of the LHC Olympics, 3.4% wide."""
    t, b, rng = REFERENCE[0][0], REFERENCE[1][0], np.random.default_rng(5)
    pulls = []
    for _ in range(6):
        mjj = [rng.uniform(3.3, 3.7, n) for n in (60_000, 20_000)]
        masses = resonance(500, rng, 0.034)
        masses = masses[(masses > 3.3) & (masses < 3.7)]
        scores = [rng.normal(size=60_000), rng.normal(size=20_000)]
        signal = (t - b * PIVOT + rng.standard_normal(len(masses))) / b
        data = np.append(mjj[0], masses), np.append(scores[0], signal)
        found = reference_yield(data, (mjj[1], scores[1]), 3.5, 0.034, 0.01)
        pulls.append((found.n_signal - len(masses)) / found.error)
    assert abs(np.mean(pulls)) < 1.5
    assert np.max(np.abs(pulls)) < 3
