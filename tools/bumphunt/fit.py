"""Signal in the passing spectrum over a background taken from the failing one: one pair of spectra.

The likelihood is that of `profile.py`. Here the mass and the width float as well; the core's width is held near the
resolution by a Gaussian on log(sigma), for a few dozen events hardly measure it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from iminuit import Minuit
from numpy.typing import NDArray
from scipy.stats import norm

from tools.bumphunt import profile
from tools.bumphunt.spectrum import SCALE_ERROR, SIGMA, Spectrum, signal_shape

Floats = NDArray[np.float64]
SIGMA_RANGE = (0.006, 0.03)  # relative core width of what still counts as narrow
WIDTH_PRIOR = 0.3  # standard deviation of log(sigma / SIGMA)
SCAN_POINTS = 41  # masses of the likelihood scan that gives the mass error


@dataclass(frozen=True)
class Fit:
    """Maximum of the likelihood. `signal` >= 0 counts passing events; errors cover 68%.

    The error of the mass [TeV] is the likelihood's and that of the scale (SCALE_ERROR) in quadrature.
    """

    mass: float
    mass_error: float
    signal: float
    signal_error: float
    sigma: float
    z: float  # local significance
    p_value: float
    background: Floats  # expected passing background per bin
    deviance: float  # -2 log likelihood ratio to the saturated model, of the full fit
    bins: int
    valid: bool  # False also where no excess was found: signal 0, and a mass that means nothing


def fit_background(spectrum: Spectrum) -> tuple[Floats, float]:
    """Coefficients of log r without signal, and -2 log L."""
    found = profile.fit_background(spectrum.passed[None], spectrum.failed[None], spectrum.edges, spectrum.window)
    return found.coefficients[0], float(found.deviance[0])


def scan_mass(spectrum: Spectrum, masses: Floats, sigma: float = SIGMA) -> tuple[Floats, Floats]:
    """(signed local significance, best passing signal) at each fixed mass [TeV] and width."""
    pair = spectrum.passed[None], spectrum.failed[None]
    z, signal = profile.scan(*pair, spectrum.edges, masses, sigma, spectrum.window)
    return z[0], signal[0]


def fit_amplitude(spectrum: Spectrum, mass: float, sigma: float) -> tuple[float, float]:
    """(passing signal, its error) for a bump of fixed mass [TeV] and relative width; may be negative."""
    shape = signal_shape(spectrum.edges, mass, sigma)[None]
    pair = spectrum.passed[None], spectrum.failed[None]
    found = profile.fit_signal_at(*pair, spectrum.edges, shape, window=spectrum.window)
    return float(found.signal[0]), float(found.error[0])


def fit_signal(spectrum: Spectrum, mass: float, mass_range: tuple[float, float]) -> Fit:
    """Float mass (within `mass_range`), width and yield >= 0, starting at `mass` [TeV]."""
    basis, null = profile.make_basis(spectrum.edges, spectrum.window), fit_background(spectrum)[1]
    passed, failed = spectrum.passed, spectrum.failed

    def full(p: Floats) -> float:
        (amount, at, width), a = p[:3], p[3:]
        value = profile.deviance(passed, failed, profile.transfer(a, basis), amount * shape_of(at, width))
        return float(value + profile.penalty(a) + (np.log(width / SIGMA) / WIDTH_PRIOR) ** 2)

    def shape_of(at: float, width: float) -> Floats:
        return signal_shape(spectrum.edges, at, width)

    near = signal_shape(spectrum.edges, mass)[None]
    first = profile.fit_signal_at(passed[None], failed[None], spectrum.edges, near, window=spectrum.window)
    amount = float(first.signal[0])
    minuit = Minuit(full, [max(amount, 0.1), mass, SIGMA, *first.coefficients[0]])
    minuit.errordef = Minuit.LEAST_SQUARES
    steps = [0.05, 0.3, 0.5, 0.5][: basis.shape[1]]
    minuit.errors = [max(1.0, float(first.error[0])), 0.5 * SIGMA * mass, 0.1 * SIGMA, *steps]
    minuit.limits[0], minuit.limits[1], minuit.limits[2] = (0, None), mass_range, SIGMA_RANGE
    minuit.migrad()
    converged = bool(minuit.valid)
    minuit.hesse()
    values = np.array(minuit.values)
    z = float(np.sqrt(max(null - float(minuit.fval or 0.0), 0.0)))
    signal, found, width = values[:3]
    r = profile.transfer(values[3:], basis)
    low, high = _mass_interval(spectrum, found, width, mass_range)
    return Fit(
        mass=float(found),
        mass_error=float(np.hypot((high - low) / 2, SCALE_ERROR * found)),
        signal=float(signal),
        signal_error=float(minuit.errors[0]),
        sigma=float(width),
        z=z,
        p_value=float(norm.sf(z)),
        background=r * profile.profiled_background(passed, failed, r, signal * shape_of(found, width)),
        deviance=float(minuit.fval or 0.0),
        bins=len(passed),
        valid=converged and z > 0,
    )


def _mass_interval(
    spectrum: Spectrum, mass: float, sigma: float, mass_range: tuple[float, float]
) -> tuple[float, float]:
    """Outermost masses of `mass_range` where -2 log L lies 1 above its minimum; a second maximum counts as well.

    The parabola at the maximum undercovers near the threshold of discovery, where a likelihood has several maxima.
    """
    steps = np.linspace(0, 1, SCAN_POINTS // 2 + 1)[1:] ** 2  # dense near the maximum
    below, above = mass - (mass - mass_range[0]) * steps, mass + (mass_range[1] - mass) * steps
    masses = np.concatenate([below[::-1], [mass], above])
    q = np.maximum(scan_mass(spectrum, masses, sigma)[0], 0.0) ** 2
    rise = q.max() - q
    within = np.flatnonzero(rise <= 1)
    first, last = within[0], within[-1]

    def crossing(inner: int, outer: int) -> float:
        if not 0 <= outer < len(masses):
            return float(masses[inner])
        share = (1 - rise[inner]) / (rise[outer] - rise[inner])
        return float(masses[inner] + share * (masses[outer] - masses[inner]))

    return crossing(int(first), int(first) - 1), crossing(int(last), int(last) + 1)
