"""The fit of many spectra at once: against a plain minimiser; its p-values, pulls and intervals on toys."""

from __future__ import annotations

import numpy as np
import pytest
from iminuit import Minuit
from scipy.stats import binomtest, kstest, norm

from tools.bumphunt.fit import fit_signal
from tools.bumphunt.measure import mass_grid
from tools.bumphunt.profile import (
    STEP,
    Window,
    deviance,
    fit_background,
    fit_signal_at,
    make_basis,
    scan,
    transfer,
)
from tools.bumphunt.spectrum import RANGE, SCALE_ERROR, Spectrum, make_edges, signal_shape

EDGES = make_edges(*RANGE)
CENTRES = np.sqrt(EDGES[1:] * EDGES[:-1])
FALLING = np.diff(EDGES) * CENTRES**-7
FALLING /= FALLING.sum()
X = make_basis(EDGES)
WINDOW = (3.3, 3.7)


def toys(
    n: int, passing: float, signal: float = 0, mass: float = 3.5, seed: int = 1, scale_error: float = 0.0
) -> tuple[np.ndarray, np.ndarray]:
    """`n` pairs of spectra: `passing` background events pass on average, 100,000 fail."""
    rng = np.random.default_rng(seed)
    seen = mass * (1 + scale_error * rng.standard_normal(n))
    expected = passing * FALLING + signal * np.array([signal_shape(EDGES, each) for each in seen])
    return (
        rng.poisson(expected, (n, len(FALLING))).astype(float),
        rng.poisson(1e5 * FALLING, (n, len(FALLING))).astype(float),
    )


def one_by_one(
    passed: np.ndarray, failed: np.ndarray, shape: np.ndarray, fixed: float | None, window: Window
) -> tuple[float, float]:
    """(-2 log L, signal) by Minuit."""
    basis = make_basis(EDGES, window)

    def loss(p: np.ndarray) -> float:
        constraint = p[4] ** 2 if window else 0.0
        return float(deviance(passed, failed, transfer(p[1:], basis), p[0] * shape) + constraint)

    flat = [np.log(passed.sum() / failed.sum()), *np.zeros(basis.shape[1] - 1)]
    minuit = Minuit(loss, [fixed or 0.0, *flat])
    minuit.errordef = Minuit.LEAST_SQUARES
    minuit.fixed[0] = fixed is not None
    minuit.strategy = 2
    minuit.migrad()
    minuit.migrad()
    return float(minuit.fval or 0), float(minuit.values[0])


@pytest.mark.parametrize("window", [None, WINDOW])
@pytest.mark.parametrize("passing", [2000, 200, 40])
def test_it_finds_the_maximum_that_a_minimiser_finds(passing: float, window: Window) -> None:
    passed, failed = toys(6, passing, signal=10, seed=int(passing))
    shape = np.broadcast_to(signal_shape(EDGES, 3.5), passed.shape)
    null = fit_background(passed, failed, EDGES, window)
    free = fit_signal_at(passed, failed, EDGES, shape, window=window)
    held = fit_signal_at(passed, failed, EDGES, shape, np.full(6, 7.0), window)
    for i in range(6):
        for found, fixed in ((null, 0.0), (held, 7.0), (free, None)):
            value, signal = one_by_one(passed[i], failed[i], shape[i], fixed, window)
            assert found.deviance[i] <= value + 1e-4
            assert found.deviance[i] == pytest.approx(value, abs=1e-3)
            assert found.signal[i] == pytest.approx(signal, abs=0.03 * free.error[i])
    # The error is where -2 log L has risen by one, to the order of its curvature.
    above = fit_signal_at(passed, failed, EDGES, shape, free.signal + free.error, window).deviance - free.deviance
    np.testing.assert_allclose(above, 1, atol=0.35)


def test_without_signal_it_is_a_binomial_regression() -> None:
    passed, failed = toys(1, 500)
    a = fit_background(passed, failed, EDGES).coefficients[0]
    kept = transfer(a, X) / (1 + transfer(a, X))
    score = passed[0] - (passed[0] + failed[0]) * kept  # derivative of the binomial likelihood by the logit
    assert np.all(np.abs(score @ X) < 0.01)


def test_spectra_without_a_passing_event_are_no_error() -> None:
    passed, failed = toys(3, 300)
    passed[0] = 0
    z, signal = scan(passed, failed, EDGES, mass_grid((3.3, 3.7)))
    assert np.all(np.isfinite(z))
    assert np.all(np.isfinite(signal))
    assert np.all(z[0] < 1e-3)


def test_empty_bins_and_deficits_have_errors_of_counts() -> None:
    """Bins without any event tell nothing of the error, neither does the bound that a deficit runs into."""
    passed, failed = toys(40, 100, seed=5)
    passed[:, :8], failed[:, :8], passed[:, -20:], failed[:, -20:] = 0, 0, 0, 0
    shape = np.broadcast_to(signal_shape(EDGES, 3.5), passed.shape)
    found = fit_signal_at(passed, failed, EDGES, shape)
    assert (found.signal < 0).sum() > 5
    bump = (shape[0] ** 2).sum() / (shape[0] * 100 * FALLING).sum()  # 1 / (events under the bump)
    assert found.error.min() > 0.5 / np.sqrt(bump)
    assert found.error.max() < 20 / np.sqrt(bump)


@pytest.mark.parametrize("passing", [5000, 300, 60])
def test_local_p_values_are_uniform_and_with_few_events_too_large_not_too_small(passing: float) -> None:
    """60 events in 123 bins are half an event a bin: deficits cannot be told apart there, excesses can."""
    n = 1500
    z = scan(*toys(n, passing, seed=3), EDGES, np.array([3.5]))[0][:, 0]
    p = norm.sf(z)
    if passing == 5000:
        assert kstest(p, "uniform").pvalue > 1e-3
    for level in (0.3, 0.1, 0.05, 0.01):
        assert binomtest(int((p < level).sum()), n, level, alternative="greater").pvalue > 1e-3


def test_a_window_that_passes_more_often_as_a_whole_is_no_bump() -> None:
    """Sculpting by a template that does not close: 30% more pass in the window, which a narrow signal half explains."""
    rng = np.random.default_rng(6)
    low, high = WINDOW
    inside = (low <= CENTRES) & (high > CENTRES)
    passed = rng.poisson(1000 * FALLING * np.where(inside, 1.3, 1.0), (1000, len(FALLING))).astype(float)
    failed = rng.poisson(1e5 * FALLING, passed.shape).astype(float)
    masses = np.array([3.5])
    blind, known = (norm.sf(scan(passed, failed, EDGES, masses, window=w)[0][:, 0]) for w in (None, WINDOW))
    assert (blind < 0.05).mean() > 0.2
    for level in (0.3, 0.1, 0.05, 0.01):
        # What the constraint takes off the step's size is left: less than half again as many as there should be.
        assert binomtest(int((known < level).sum()), len(known), 1.5 * level, alternative="greater").pvalue > 1e-3
    steps = fit_background(passed, failed, EDGES, WINDOW).coefficients[:, 3] * STEP
    assert steps.mean() == pytest.approx(np.log(1.3), abs=0.05)
    unmoved = fit_background(*toys(500, 1000, seed=7), EDGES, WINDOW).coefficients[:, 3] * STEP
    assert unmoved.mean() == pytest.approx(0, abs=4 * unmoved.std() / np.sqrt(500) + 0.01)


def test_mass_and_yield_pulls_and_coverage_over_strengths_and_masses() -> None:
    pulls: dict[str, list[float]] = {"mass": [], "signal": []}
    points = [(3.0, 300, 40), (3.5, 2000, 60), (3.5, 300, 30), (4.2, 300, 20), (4.2, 100, 25)]
    for seed, (mass, passing, signal) in enumerate(points):
        window = (mass * 3.3 / 3.5, mass * 3.7 / 3.5)
        passed, failed = toys(40, passing, signal, mass, seed, SCALE_ERROR)
        masses = mass_grid(window)
        z = scan(passed, failed, EDGES, masses)[0]
        for i in range(40):
            fit = fit_signal(Spectrum(EDGES, passed[i], failed[i]), float(masses[np.argmax(z[i])]), window)
            pulls["mass"].append((fit.mass - mass) / fit.mass_error)
            pulls["signal"].append((fit.signal - signal) / fit.signal_error)
    for values in map(np.array, pulls.values()):
        assert abs(values.mean()) < 0.2  # 2.8 standard errors of 200 toys
        assert abs(values.std() - 1) < 0.2  # four
        for level, width in ((0.683, 1), (0.954, 2)):
            inside = int((np.abs(values) < width).sum())
            assert binomtest(inside, len(values), level).pvalue > 1e-3


def test_where_there_is_only_a_deficit_the_fit_says_so_and_claims_no_signal() -> None:
    hole = 1 - 0.8 * (np.abs(np.log(CENTRES / 3.5)) < 0.05)
    fit = fit_signal(Spectrum(EDGES, 3000 * FALLING * hole, 1e5 * FALLING), 3.5, (3.42, 3.58))
    assert fit.signal == pytest.approx(0, abs=0.5)
    assert fit.z < 0.05
    passed, failed = toys(40, 100, seed=8)
    for i in range(40):
        assert fit_signal(Spectrum(EDGES, passed[i], failed[i]), 3.5, (3.48, 3.52)).signal >= 0
