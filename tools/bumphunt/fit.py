"""Signal in the passing spectrum over a background taken from the failing one: one pair of spectra.

The likelihood is that of `profile.py`. Mass and width are averaged over: with P hypotheses (mass, width) on a grid, the
best signal S_h under each and its error e_h,

    w_h ~ prior(width_h) e_h Phi(S_h / e_h) L(S_h),   estimate = sum w_h x_h,   error**2 = sum w_h (x_h - estimate)**2,

the posterior for flat priors on mass and S >= 0 (in Laplace's approximation in S). A maximum of the likelihood would do
for strong signals only: a few dozen events of a wide resonance leave it several maxima, the highest of which is often a
spike of a few events. The prior of the width, a Gaussian on log(width) around 2% with a factor of two as its standard
deviation, covers 0.5 to 8%: a few dozen events hardly measure it. A width that is known stays where it is.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import log_ndtr

from tools.bumphunt import profile
from tools.bumphunt.spectrum import SCALE_ERROR, WIDTH_RANGE, Hypotheses, Spectrum, one
from tools.normal import p_value
from tools.types import Floats

WIDTH_PRIOR = (0.02, float(np.log(2)))  # its median, and the standard deviation of its logarithm
MASSES, WIDTHS = 31, 7  # of the grid
REFINED = 4  # standard deviations of the posterior on either side that a finer grid covers
RESOLVED = 1.5  # standard deviations between points: sums of a Gaussian are exact to 1e-3 then
GRIDS = 5  # at most; 10,000 signal events take three


@dataclass(frozen=True)
class Fit:
    """Posterior means and standard deviations. `signal` >= 0 counts passing events.

    The error of the mass has that of the scale (SCALE_ERROR) in it, the error of the signal that of the
    background's smoothness (delta), in quadrature.
    """

    mass: float
    mass_error: float
    signal: float
    signal_error: float
    width: float
    width_error: float  # 0 where the width was given
    z: float  # local significance at this mass and width
    p_value: float
    background: Floats  # expected passing background per bin, of the fit at this mass and width
    deviance: float  # -2 log likelihood ratio to the saturated model, of that fit
    bins: int
    valid: bool  # False where no excess was found: a mass that means nothing


def fit_background(spectrum: Spectrum) -> profile.Maxima:
    """The best transfer factor without signal: one fit."""
    return profile.fit_background(*spectrum.pair, spectrum.basis)


def scan_spectrum(spectrum: Spectrum, tested: Hypotheses) -> tuple[Floats, Floats]:
    """(signed local significance, best passing signal) under each hypothesis."""
    z, signal = profile.scan(*spectrum.pair, spectrum.basis, spectrum.shapes(tested), spectrum.delta)
    return z[0], signal[0]


def spurious_error(spectrum: Spectrum, mass: float, width: float) -> float:
    """tau: events by which the background under a peak may be wrong, delta times what is there."""
    r = profile.transfer(fit_background(spectrum).coefficients, spectrum.basis)
    return float(spectrum.delta * profile.under_peak(*spectrum.pair, r, spectrum.shapes(one(mass, width)))[0])


def fit_amplitude(spectrum: Spectrum, mass: float, width: float) -> tuple[float, float]:
    """(passing signal, its error) for a bump of fixed mass and relative width; may be negative."""
    found = profile.fit_signal_at(*spectrum.pair, spectrum.basis, spectrum.shapes(one(mass, width)))
    return float(found.signal[0]), float(np.hypot(found.error[0], spurious_error(spectrum, mass, width)))


def fit_signal(spectrum: Spectrum, mass_range: tuple[float, float], width: float | None = None) -> Fit:
    """Mass, width (or the one that is known) and signal: their posterior in `mass_range` and WIDTH_RANGE."""
    mass, log_width, signal = _posterior(spectrum, mass_range, width)
    at, wide = mass.mean, float(np.exp(log_width.mean))
    shape = spectrum.shapes(one(at, wide))
    fit = profile.fit_signal_at(*spectrum.pair, spectrum.basis, shape)
    null = float(fit_background(spectrum).deviance[0])
    z = float(np.sqrt(max(null - float(fit.deviance[0]), 0.0)) * np.sign(fit.signal[0]))
    passed, failed = (counts[0] for counts in spectrum.pair)
    r = profile.transfer(fit.coefficients[0], spectrum.basis)
    background = r * profile.profiled_background(passed, failed, r, max(float(fit.signal[0]), 0.0) * shape[0])
    return Fit(
        mass=at,
        mass_error=float(np.hypot(mass.error, SCALE_ERROR * at)),
        signal=signal.mean,
        signal_error=float(np.hypot(signal.error, spurious_error(spectrum, at, wide))),
        width=wide,
        width_error=wide * log_width.error,
        z=z,
        p_value=p_value(z),
        background=background[: len(spectrum.passed)],
        deviance=float(fit.deviance[0]),
        bins=len(passed),
        valid=z > 0,
    )


@dataclass(frozen=True)
class Moments:
    """Mean and standard deviation of a parameter's posterior."""

    mean: float
    error: float

    @classmethod
    def of(cls, values: Floats, weights: Floats, variances: float | Floats = 0.0) -> Moments:
        """Moments of a mixture with these means, weights and variances."""
        mean = float((weights * values).sum())
        return cls(mean, float(np.sqrt((weights * (variances + (values - mean) ** 2)).sum())))


def _posterior(
    spectrum: Spectrum, mass_range: tuple[float, float], width: float | None
) -> tuple[Moments, Moments, Moments]:
    """(mass, log width, signal): grids of hypotheses, each around what the one before found, until one resolves it."""
    median, spread = WIDTH_PRIOR
    lowest, highest = np.log(WIDTH_RANGE if width is None else (width, width))
    masses, widths = mass_range, (float(lowest), float(highest))
    for _ in range(GRIDS):
        grids = np.linspace(*masses, MASSES), np.linspace(*widths, WIDTHS if width is None else 1)
        at, wide = (axis.ravel() for axis in np.meshgrid(*grids))
        shapes = spectrum.shapes(Hypotheses(at, np.exp(wide)))
        found = profile.fit_signal_at(*spectrum.pair, spectrum.basis, shapes)
        log_weight = -found.deviance / 2 + np.log(found.error) + log_ndtr(found.signal / found.error)
        if width is None:
            log_weight -= ((wide - np.log(median)) / spread) ** 2 / 2
        weight = np.exp(log_weight - log_weight.max())
        weight /= weight.sum()
        mass, log_width = Moments.of(at, weight), Moments.of(wide, weight)
        if _resolves(grids[0], mass) and _resolves(grids[1], log_width):
            break
        masses, widths = _around(mass, grids[0], masses), _around(log_width, grids[1], widths)
    return mass, log_width, Moments.of(np.maximum(found.signal, 0.0), weight, found.error**2)


def _resolves(grid: Floats, found: Moments) -> bool:
    """True where points lie close enough to tell the standard deviation."""
    return len(grid) == 1 or grid[1] - grid[0] <= RESOLVED * found.error


def _around(found: Moments, grid: Floats, bounds: tuple[float, float]) -> tuple[float, float]:
    """The range of a finer grid: the posterior's, and one step of this one at least."""
    if _resolves(grid, found):
        return bounds
    reach = max(REFINED * found.error, grid[1] - grid[0])
    return max(bounds[0], found.mean - reach), min(bounds[1], found.mean + reach)
