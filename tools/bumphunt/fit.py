"""Fit of a signal in the passing spectrum over a background taken from the failing one, for one pair of spectra.

The likelihood is that of `profile.py`, but mass and width float as well. The width has a prior, because a few dozen
events hardly constrain it: a Gaussian in log(width) around 2% whose standard deviation is a factor of two, so that it
covers 0.5 to 8%. A known width is fixed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from iminuit import Minuit
from scipy.stats import norm

from tools.bumphunt import profile
from tools.bumphunt.spectrum import SCALE_ERROR, WIDTH_RANGE, Hypotheses, Spectrum, one
from tools.types import Floats

WIDTH_PRIOR = (0.02, float(np.log(2)))  # median, and standard deviation of the logarithm
SCAN_POINTS = 41  # masses in the likelihood scan that gives the mass error


@dataclass(frozen=True)
class Fit:
    """Maximum of the likelihood. `signal` >= 0 counts passing events; errors cover 68%.

    The error of the mass [TeV] combines the likelihood's error and the scale error (SCALE_ERROR) in quadrature, that of
    the signal the likelihood's error and the background error (delta).
    """

    mass: float
    mass_error: float
    signal: float
    signal_error: float
    width: float
    width_error: float  # 0 if the width was given
    z: float  # local significance
    p_value: float
    background: Floats  # expected passing background per bin
    deviance: float  # -2 log likelihood ratio of the full fit to the saturated model
    bins: int
    valid: bool  # False also if there is no excess: the signal is 0 and the mass means nothing


def fit_background(spectrum: Spectrum) -> profile.Maxima:
    """Fit the transfer factor without signal."""
    return profile.fit_background(*spectrum.pair, spectrum.basis)


def scan_spectrum(spectrum: Spectrum, tested: Hypotheses) -> tuple[Floats, Floats]:
    """Return (signed local significance, best passing signal) for each hypothesis."""
    z, signal = profile.scan(*spectrum.pair, spectrum.basis, spectrum.shapes(tested), spectrum.delta)
    return z[0], signal[0]


def spurious_error(spectrum: Spectrum, mass: float, width: float) -> float:
    """Return tau, the error of the background under a peak in events: delta times that background."""
    r = profile.transfer(fit_background(spectrum).coefficients, spectrum.basis)
    return float(spectrum.delta * profile.under_peak(*spectrum.pair, r, spectrum.shapes(one(mass, width)))[0])


def fit_amplitude(spectrum: Spectrum, mass: float, width: float) -> tuple[float, float]:
    """Return (passing signal, its error) for a bump of fixed mass [TeV] and relative width; signal may be negative."""
    found = profile.fit_signal_at(*spectrum.pair, spectrum.basis, spectrum.shapes(one(mass, width)))
    return float(found.signal[0]), float(np.hypot(found.error[0], spurious_error(spectrum, mass, width)))


def fit_signal(
    spectrum: Spectrum, mass: float, width: float, mass_range: tuple[float, float], known_width: bool = False
) -> Fit:
    """Fit mass (within `mass_range`), width (unless known) and yield >= 0, starting at `mass` [TeV] and `width`."""
    basis, null = spectrum.basis, float(fit_background(spectrum).deviance[0])
    passed, failed = (counts[0] for counts in spectrum.pair)
    median, spread = WIDTH_PRIOR

    def full(p: Floats) -> float:
        (amount, at, log_width), a = p[:3], p[3:]
        value = profile.deviance(passed, failed, profile.transfer(a, basis), amount * shape_of(at, np.exp(log_width)))
        return float(value) if known_width else float(value + ((log_width - np.log(median)) / spread) ** 2)

    def shape_of(at: float, width: float) -> Floats:
        return np.asarray(spectrum.shapes(one(at, width))[0])

    first = profile.fit_signal_at(*spectrum.pair, basis, shape_of(mass, width)[None])
    minuit = Minuit(full, [max(float(first.signal[0]), 0.1), mass, np.log(width), *first.coefficients[0]])
    minuit.errordef = Minuit.LEAST_SQUARES
    steps = [0.05, 0.3, *[0.5] * (spectrum.degree - 1)]
    minuit.errors = [max(1.0, float(first.error[0])), 0.5 * width * mass, 0.2, *steps]
    minuit.limits[0], minuit.limits[1] = (0, None), mass_range
    minuit.limits[2] = tuple(np.log(WIDTH_RANGE))
    minuit.fixed[2] = known_width
    minuit.migrad()
    converged = bool(minuit.valid)
    minuit.hesse()
    values = np.array(minuit.values)
    signal, found, fitted = values[0], float(values[1]), float(np.exp(values[2]))
    z = float(np.sqrt(max(null - float(minuit.fval or 0.0), 0.0)))
    r, n = profile.transfer(values[3:], basis), len(spectrum.passed)
    background = r * profile.profiled_background(passed, failed, r, signal * shape_of(found, fitted))
    low, high = _mass_interval(spectrum, found, fitted, mass_range)
    return Fit(
        mass=found,
        mass_error=float(np.hypot((high - low) / 2, SCALE_ERROR * found)),
        signal=float(signal),
        signal_error=float(np.hypot(minuit.errors[0], spurious_error(spectrum, found, fitted))),
        width=fitted,
        width_error=0.0 if known_width else float(fitted * minuit.errors[2]),
        z=z,
        p_value=float(norm.sf(z)),
        background=background[:n],
        deviance=float(minuit.fval or 0.0),
        bins=len(passed),
        valid=converged and z > 0,
    )


def _mass_interval(
    spectrum: Spectrum, mass: float, width: float, mass_range: tuple[float, float]
) -> tuple[float, float]:
    """Return the outermost masses in `mass_range` where -2 log L lies 1 above its minimum, secondary minima included.

    A parabola at the best fit undercovers near the discovery threshold, where the likelihood has several maxima.
    """
    steps = np.linspace(0, 1, SCAN_POINTS // 2 + 1)[1:] ** 2  # dense near the maximum
    below, above = mass - (mass - mass_range[0]) * steps, mass + (mass_range[1] - mass) * steps
    masses = np.concatenate([below[::-1], [mass], above])
    shapes = spectrum.shapes(Hypotheses(masses, np.full(len(masses), width)))
    q = np.maximum(profile.scan(*spectrum.pair, spectrum.basis, shapes)[0][0], 0.0) ** 2
    rise = q.max() - q
    within = np.flatnonzero(rise <= 1)
    first, last = within[0], within[-1]

    def crossing(inner: int, outer: int) -> float:
        if not 0 <= outer < len(masses):
            return float(masses[inner])
        share = (1 - rise[inner]) / (rise[outer] - rise[inner])
        return float(masses[inner] + share * (masses[outer] - masses[inner]))

    return crossing(int(first), int(first) - 1), crossing(int(last), int(last) + 1)
