"""The fit on toys: no bump where there is none, the injected one where there is one."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import kstest, norm

from tools.bumphunt.fit import WIDTH_PRIOR, Fit, fit_amplitude, fit_background, fit_signal, scan_spectrum
from tools.bumphunt.profile import transfer
from tools.bumphunt.spectrum import (
    RANGE,
    SCALE_ERROR,
    WIDTH_RANGE,
    Hypotheses,
    Spectrum,
    hypotheses,
    make_edges,
    one,
    signal_shape,
)

EDGES = make_edges(*RANGE)
CENTRES = np.sqrt(EDGES[1:] * EDGES[:-1])
SHAPE = np.diff(EDGES) * CENTRES**-7
SHAPE /= SHAPE.sum()
X = np.log(CENTRES / 3.5)
WINDOW = (3.3, 3.7)
WIDTH = 0.009


def toy(
    rng: np.random.Generator,
    passing: float = 2000,
    signal: float = 0,
    slope: float = 0,
    curve: float = 0,
    width: float = WIDTH,
) -> Spectrum:
    """Poisson counts: 100,000 failing events, an efficiency that moves with mjj, a resonance at 3.5 TeV."""
    efficiency = np.exp(slope * X + curve * X**2)
    background = passing * SHAPE * efficiency / (SHAPE * efficiency).sum()
    bump = signal * signal_shape(EDGES, 3.5, width)
    return Spectrum(EDGES, rng.poisson(background + bump).astype(float), rng.poisson(1e5 * SHAPE).astype(float))


def test_without_a_signal_the_significance_is_a_unit_gaussian() -> None:
    rng = np.random.default_rng(10)
    z = np.array([scan_spectrum(toy(rng), one(3.5, WIDTH))[0][0] for _ in range(300)])
    assert abs(z.mean()) < 4 / np.sqrt(300)  # four standard errors each
    assert abs(z.std() - 1) < 4 / np.sqrt(600)
    assert kstest(norm.sf(z), "uniform").pvalue > 1e-4  # four standard deviations
    assert np.any(z < -1.5)  # deficits come out negative, and are not cut off
    assert np.any(z > 1.5)


def test_with_few_events_a_bump_is_not_faked() -> None:
    rng = np.random.default_rng(11)
    z = np.array([scan_spectrum(toy(rng, passing=150), one(3.5, WIDTH))[0][0] for _ in range(150)])
    # q0 of few counts is not exactly a chi-square; above 2 sigma are 2.3%, 3.4 of 150: at most 11 (four sigma).
    assert (z > 2).sum() <= 11
    assert z.max() < 4


def test_the_fit_is_as_good_as_its_degrees_of_freedom_say() -> None:
    rng = np.random.default_rng(12)
    fits = [fit_signal(toy(rng, signal=150), WINDOW) for _ in range(25)]
    assert all(fit.valid for fit in fits)
    assert np.mean([fit.width for fit in fits]) == pytest.approx(WIDTH, rel=0.15)
    deviance = np.array([fit.deviance for fit in fits])
    # Chi-square of 123 bins less 6 parameters, but for the bins with few counts at high mass.
    assert 0.7 < deviance.mean() / (fits[0].bins - 6) < 1.2


def test_errors_hold_where_the_width_ends_at_its_bound() -> None:
    narrow = 150 * signal_shape(EDGES, 3.5, 0.001)
    fit = fit_signal(Spectrum(EDGES, 2000 * SHAPE + narrow, 1e5 * SHAPE), WINDOW)
    assert fit.width == pytest.approx(WIDTH_RANGE[0], rel=0.05)
    assert 0.8 < fit.signal_error / np.sqrt(fit.signal) < 2
    assert 0.001 < fit.mass_error < 0.006 + SCALE_ERROR * fit.mass
    rng = np.random.default_rng(14)
    errors = np.array([fit_signal(toy(rng, signal=60), WINDOW).signal_error for _ in range(60)])
    assert errors.min() > np.sqrt(60) / 2


def test_the_floated_fit_is_at_least_as_good_as_the_scan_and_its_p_value_is_that_of_z() -> None:
    rng = np.random.default_rng(13)
    for _ in range(5):
        spectrum = toy(rng, signal=120)
        tested = hypotheses(*WINDOW, 0.01)
        z, signal = scan_spectrum(spectrum, tested)
        best = int(np.argmax(z))
        fit = fit_signal(spectrum, WINDOW, 0.01)
        assert abs(tested.masses[best] - 3.5) < 0.08
        assert fit.z >= z[best] - 1e-3
        assert fit.p_value == pytest.approx(norm.sf(fit.z))
        assert signal[best] == pytest.approx(120, abs=5 * fit.signal_error)
        total = fit.background.sum() + fit.signal * signal_shape(EDGES, fit.mass, fit.width).sum()
        assert total == pytest.approx(spectrum.passed.sum(), rel=0.01)  # a free norm makes the totals agree


@pytest.mark.parametrize(("slope", "curve"), [(1.5, 0.0), (-1.5, 2.0), (0.0, -3.0)])
def test_an_efficiency_that_moves_smoothly_with_mjj_fakes_no_bump(slope: float, curve: float) -> None:
    # A hundred times the events: a bias that 2,000 passing events would hide stands out.
    scale = 100
    efficiency = np.exp(slope * X + curve * X**2)
    background = scale * 2000 * SHAPE * efficiency / (SHAPE * efficiency).sum()
    spectrum = Spectrum(EDGES, background, scale * 1e5 * SHAPE)
    z, signal = scan_spectrum(spectrum, Hypotheses(np.array([3.0, 3.5, 4.2]), np.array([WIDTH, 0.035, 0.02])))
    assert np.all(np.abs(z) < 0.05)
    assert np.all(np.abs(signal) < 0.01 * np.sqrt(scale * 2000))
    fitted = transfer(fit_background(spectrum).coefficients[0], spectrum.basis)
    np.testing.assert_allclose(fitted, background / spectrum.failed, rtol=5e-3)


def test_a_deficit_has_negative_significance_and_yield() -> None:
    hole = 1 - 0.5 * (np.abs(CENTRES / 3.5 - 1) < 2 * WIDTH)
    spectrum = Spectrum(EDGES, 4000 * SHAPE * hole, 1e5 * SHAPE)
    z, signal = scan_spectrum(spectrum, one(3.5, WIDTH))
    assert z[0] < -3
    assert signal[0] < 0
    amplitude, error = fit_amplitude(spectrum, 3.5, WIDTH)
    assert amplitude == pytest.approx(signal[0], abs=0.05 * error)
    assert amplitude / error < -3


def test_amplitude_on_exact_expectations_is_exact() -> None:
    shape = signal_shape(EDGES, 3.5, WIDTH)
    spectrum = Spectrum(EDGES, 2000 * SHAPE + 200 * shape, 1e5 * SHAPE)
    amplitude, error = fit_amplitude(spectrum, 3.5, WIDTH)
    assert amplitude == pytest.approx(200, rel=1e-3)
    # The error of a weighted count in Gaussian approximation: (sum s^2 / mu)^-1/2, a little more with a background fit.
    bound = 1 / np.sqrt((shape**2 / spectrum.passed).sum())
    assert bound < error < 1.15 * bound
    exact: Fit = fit_signal(spectrum, WINDOW, WIDTH)
    assert exact.mass == pytest.approx(3.5, abs=1e-3)
    assert exact.signal == pytest.approx(200, rel=0.01)
    assert exact.deviance < 0.01


@pytest.mark.parametrize("width", [0.01, 0.035, 0.06])
def test_the_width_is_measured(width: float) -> None:
    """On toys of narrow and wide resonances: the prior pulls it a little; the errors cover; and so for the yield."""
    rng = np.random.default_rng(15)
    fits = []
    for _ in range(25):
        spectrum = toy(rng, signal=200, width=width)
        fits.append(fit_signal(spectrum, (3.2, 3.8)))
    found, error = (np.array([getattr(fit, name) for fit in fits]) for name in ("width", "width_error"))
    toward = np.sign(np.log(WIDTH_PRIOR[0] / width))
    assert np.median(found) == pytest.approx(width, rel=0.2)
    assert np.mean(toward * (found - width) / error) < 1.2
    assert np.std((found - width) / error) < 1.5
    pulls = np.array([(fit.signal - 200) / fit.signal_error for fit in fits])
    assert abs(pulls.mean()) < 0.8
    assert pulls.std() < 1.5
    assert abs(np.mean([fit.mass for fit in fits]) - 3.5) < 4 * np.mean([fit.mass_error for fit in fits]) / 5


def test_a_signal_of_the_wrong_width_loses_significance_and_events() -> None:
    """180 events of 3.4% width behind a cut: with a width of 0.9% hardly half of them are found."""
    wide = signal_shape(EDGES, 3.5, 0.034)
    spectrum = Spectrum(EDGES, 600 * SHAPE + 180 * wide, 1e5 * SHAPE)
    (narrow, right), (few, all_of_them) = scan_spectrum(spectrum, Hypotheses(np.full(2, 3.5), np.array([0.009, 0.034])))
    assert right > 1.3 * narrow
    assert all_of_them == pytest.approx(180, rel=0.01)
    assert few < 0.6 * all_of_them


def test_the_error_of_a_yield_contains_what_smoothness_does_not_tell() -> None:
    shape = signal_shape(EDGES, 3.5, 0.035)
    spectra = [Spectrum(EDGES, 2000 * SHAPE + 200 * shape, 1e5 * SHAPE, 2, delta) for delta in (0.0, 0.1)]
    (amount, sure), (same, wide) = (fit_amplitude(spectrum, 3.5, 0.035) for spectrum in spectra)
    assert amount == pytest.approx(same)
    under = (shape * 2000 * SHAPE).sum() / (shape**2).sum()
    assert np.hypot(sure, 0.1 * under) < wide < np.hypot(sure, 0.15 * under)  # the fit without signal lies higher
