"""The fit of many spectra at once: against a plain minimiser; its p-values, pulls and intervals on toys."""

from __future__ import annotations

import numpy as np
import pytest
from iminuit import Minuit
from scipy.stats import binomtest, kstest, norm

from tools.bumphunt.fit import fit_signal
from tools.bumphunt.profile import (
    Tether,
    deviance,
    fit_background,
    fit_signal_at,
    make_basis,
    scan,
    transfer,
    under_peak,
)
from tools.bumphunt.spectrum import RANGE, SCALE_ERROR, Spectrum, hypotheses, make_edges, one, signal_shape

EDGES = make_edges(*RANGE)
CENTRES = np.sqrt(EDGES[1:] * EDGES[:-1])
FALLING = np.diff(EDGES) * CENTRES**-7
FALLING /= FALLING.sum()
X = make_basis(EDGES, 2)
WIDTH = 0.009
AT_3500 = one(3.5, WIDTH).shapes(EDGES)


def toys(
    n: int, passing: float, signal: float = 0, mass: float = 3.5, seed: int = 1, scale_error: float = 0.0
) -> tuple[np.ndarray, np.ndarray]:
    """`n` pairs of spectra: `passing` background events pass on average, 100,000 fail."""
    rng = np.random.default_rng(seed)
    seen = mass * (1 + scale_error * rng.standard_normal(n))
    expected = passing * FALLING + signal * np.array([signal_shape(EDGES, each, WIDTH) for each in seen])
    return (
        rng.poisson(expected, (n, len(FALLING))).astype(float),
        rng.poisson(1e5 * FALLING, (n, len(FALLING))).astype(float),
    )


def one_by_one(
    passed: np.ndarray, failed: np.ndarray, shape: np.ndarray, fixed: float | None, tau: float = 0.0, degree: int = 2
) -> tuple[float, float]:
    """(-2 log L, signal) by Minuit; with `tau` a nuisance parameter moves the fixed signal."""
    basis = make_basis(EDGES, degree)

    def loss(p: np.ndarray) -> float:
        signal = p[0] + tau * p[1]
        prior = p[1] ** 2 + (np.array(p[3:]) ** 2).sum()
        return float(deviance(passed, failed, transfer(p[2:], basis), signal * shape) + prior)

    flat = [np.log(passed.sum() / failed.sum()), *np.zeros(degree)]
    minuit = Minuit(loss, [fixed or 0.0, 0.0, *flat])
    minuit.errordef = Minuit.LEAST_SQUARES
    minuit.fixed[0], minuit.fixed[1] = fixed is not None, tau == 0
    minuit.strategy = 2
    minuit.migrad()
    minuit.migrad()
    return float(minuit.fval or 0), float(minuit.values[0] + tau * minuit.values[1])


@pytest.mark.parametrize(("passing", "degree"), [(2000, 4), (2000, 2), (500, 3), (200, 2), (40, 2), (40, 1)])
def test_it_finds_the_maximum_that_a_minimiser_finds(passing: float, degree: int) -> None:
    passed, failed = toys(6, passing, signal=10, seed=int(passing))
    shape, basis = np.broadcast_to(AT_3500[0], passed.shape), make_basis(EDGES, degree)
    null = fit_background(passed, failed, basis)
    free = fit_signal_at(passed, failed, basis, shape)
    held = fit_signal_at(passed, failed, basis, shape, Tether(np.full(6, 7.0), np.zeros(6)))
    moved = fit_signal_at(passed, failed, basis, shape, Tether(np.full(6, 2.0), np.full(6, 4.0)))
    for i in range(6):
        for found, fixed, tau in ((null, 0.0, 0.0), (held, 7.0, 0.0), (free, None, 0.0), (moved, 2.0, 4.0)):
            value, signal = one_by_one(passed[i], failed[i], shape[i], fixed, tau, degree)
            assert found.deviance[i] <= value + 1e-4
            assert found.deviance[i] == pytest.approx(value, abs=1e-3)
            assert found.signal[i] == pytest.approx(signal, abs=0.03 * free.error[i])
    # The error is where -2 log L has risen by one, to the order of its curvature.
    there = Tether(free.signal + free.error, np.zeros(6))
    above = fit_signal_at(passed, failed, basis, shape, there).deviance - free.deviance
    np.testing.assert_allclose(above, 1, atol=0.35)


def test_a_spurious_signal_adds_its_error_in_quadrature() -> None:
    """Many events: S**2 / (sigma**2 + tau**2) is the square of the significance, tau from the events under the peak."""
    passed, failed = 1e6 * FALLING + 1500 * AT_3500[0], 1e8 * FALLING
    free = fit_signal_at(passed[None], failed[None], X, AT_3500)
    under = under_peak(1e6 * FALLING[None], failed[None], np.full((1, len(FALLING)), 0.01), AT_3500)
    tau = 0.03 * under[0]
    assert tau > 0.5 * free.error[0]
    plain, sure = (scan(passed[None], failed[None], X, AT_3500, delta)[0][0, 0] for delta in (0.0, 0.03))
    assert plain == pytest.approx(free.signal[0] / free.error[0], rel=0.02)
    assert sure == pytest.approx(free.signal[0] / np.hypot(free.error[0], tau), rel=0.03)
    # A background that is wrong by 3% under the peak looks like tau signal events.
    bump = 1 + 0.03 * AT_3500[0] / AT_3500[0].max()
    wrong = fit_signal_at(1e6 * FALLING[None] * bump, failed[None], X, AT_3500).signal[0]
    assert 0.6 * tau < wrong < tau


def test_a_background_that_is_as_rough_as_delta_says_gives_no_small_p_values() -> None:
    n, delta, rng = 1500, 0.2, np.random.default_rng(6)
    under = under_peak(2000 * FALLING[None], 1e5 * FALLING[None], np.full((1, len(FALLING)), 0.02), AT_3500)[0]
    rough = delta * under * rng.standard_normal((n, 1)) * AT_3500
    passed = rng.poisson(np.maximum(2000 * FALLING + rough, 0)).astype(float)
    failed = rng.poisson(1e5 * FALLING, passed.shape).astype(float)
    blind, known = (norm.sf(scan(passed, failed, X, AT_3500, d)[0][:, 0]) for d in (0.0, delta))
    assert (blind < 0.01).mean() > 0.03
    for level in (0.3, 0.1, 0.05, 0.01):
        assert binomtest(int((known < level).sum()), n, level, alternative="greater").pvalue > 1e-3
    assert (known < 0.3).mean() > 0.25


def test_a_reference_is_bins_without_signal() -> None:
    """A wide bump in a narrow range: the reference's count tells it from background, as nothing else does."""
    edges = make_edges(3.3, 3.7)
    shape = one(3.5, 0.035).shapes(edges)[0]
    flat = np.full(len(shape), 1.0)
    passed, failed = 10 * flat + 100 * shape, 1000 * flat
    alone = Spectrum(edges, passed, failed)
    beside = Spectrum(edges, passed, failed, 1, 0.0, (2 * flat, 200 * flat))
    tested = one(3.5, 0.035)
    by_itself, found = (fit_signal_at(*s.pair, s.basis, s.shapes(tested)) for s in (alone, beside))
    # Nearly a count: 14 bins of 10 events and 100 of the signal, background known to the root of 28 reference events.
    counted = np.hypot(np.sqrt(passed.sum()), 5 * np.sqrt(2 * len(shape)))
    assert found.signal[0] == pytest.approx(100, rel=0.02)
    assert 0.8 * counted < found.error[0] < 1.2 * counted
    assert by_itself.error[0] > 1.5 * found.error[0]


def test_without_signal_it_is_a_binomial_regression() -> None:
    passed, failed = toys(1, 500)
    a = fit_background(passed, failed, X).coefficients[0]
    kept = transfer(a, X) / (1 + transfer(a, X))
    score = passed[0] - (passed[0] + failed[0]) * kept  # derivative of the binomial likelihood by the logit
    np.testing.assert_allclose(score @ X, [0, *a[1:]], atol=0.01)  # minus half the derivative of the prior


def test_spectra_without_a_passing_event_are_no_error() -> None:
    passed, failed = toys(3, 300)
    passed[0] = 0
    z, signal = scan(passed, failed, X, hypotheses(3.3, 3.7, 0.01).shapes(EDGES))
    assert np.all(np.isfinite(z))
    assert np.all(np.isfinite(signal))
    assert np.all(z[0] < 1e-3)


def test_empty_bins_and_deficits_have_errors_of_counts() -> None:
    """Bins without any event tell nothing of the error, neither does the bound that a deficit runs into."""
    passed, failed = toys(40, 100, seed=5)
    passed[:, :8], failed[:, :8], passed[:, -20:], failed[:, -20:] = 0, 0, 0, 0
    shape = np.broadcast_to(AT_3500[0], passed.shape)
    found = fit_signal_at(passed, failed, X, shape)
    assert (found.signal < 0).sum() > 5
    bump = (shape[0] ** 2).sum() / (shape[0] * 100 * FALLING).sum()  # 1 / (events under the bump)
    assert found.error.min() > 0.5 / np.sqrt(bump)
    assert found.error.max() < 20 / np.sqrt(bump)


@pytest.mark.parametrize("passing", [5000, 300, 60])
def test_local_p_values_are_uniform_and_with_few_events_too_large_not_too_small(passing: float) -> None:
    """60 events in 123 bins are half an event a bin: deficits cannot be told apart there, excesses can."""
    n = 1500
    z = scan(*toys(n, passing, seed=3), X, AT_3500)[0][:, 0]
    p = norm.sf(z)
    if passing == 5000:
        assert kstest(p, "uniform").pvalue > 1e-3
    for level in (0.3, 0.1, 0.05, 0.01):
        assert binomtest(int((p < level).sum()), n, level, alternative="greater").pvalue > 1e-3


def test_mass_and_yield_pulls_and_coverage_over_strengths_and_masses() -> None:
    pulls: dict[str, list[float]] = {"mass": [], "signal": []}
    points = [(3.0, 300, 40), (3.5, 2000, 60), (3.5, 300, 30), (4.2, 300, 20), (4.2, 100, 25)]
    for seed, (mass, passing, signal) in enumerate(points):
        window = (mass * 3.3 / 3.5, mass * 3.7 / 3.5)
        passed, failed = toys(40, passing, signal, mass, seed, SCALE_ERROR)
        for i in range(40):
            fit = fit_signal(Spectrum(EDGES, passed[i], failed[i]), window, WIDTH)
            pulls["mass"].append((fit.mass - mass) / fit.mass_error)
            pulls["signal"].append((fit.signal - signal) / fit.signal_error)
    # 2.8 standard errors of 200 toys; averaging over masses takes a little from the weakest signals.
    for values, bias in ((np.array(pulls["mass"]), 0.2), (np.array(pulls["signal"]), 0.35)):
        assert abs(values.mean()) < bias
        assert abs(values.std() - 1) < 0.2  # four
        for level, width in ((0.683, 1), (0.954, 2)):
            inside = int((np.abs(values) < width).sum())
            assert binomtest(inside, len(values), level).pvalue > 1e-3


def test_where_there_is_only_a_deficit_the_fit_says_so_and_claims_no_signal() -> None:
    hole = 1 - 0.8 * (np.abs(np.log(CENTRES / 3.5)) < 0.05)
    fit = fit_signal(Spectrum(EDGES, 3000 * FALLING * hole, 1e5 * FALLING), (3.42, 3.58))
    assert fit.signal == pytest.approx(0, abs=0.5)
    assert fit.z < 0.05
    passed, failed = toys(40, 100, seed=8)
    for i in range(40):
        assert fit_signal(Spectrum(EDGES, passed[i], failed[i]), (3.48, 3.52)).signal >= 0
