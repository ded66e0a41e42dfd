"""Signal in the passing spectrum over a background taken from the failing one.

In bin i with background b_i among the failing events,

    n_pass,i ~ Poisson(r(m_i) b_i + S s_i),   n_fail,i ~ Poisson(b_i),   log r = a0 + a1 x + a2 x**2,  x = log(m/m0),

the transfer factor of the "pass-fail ratio" method (e.g. CMS, arXiv:1705.10532): nothing is assumed
about the shape of the dijet spectrum itself, only that a cut on a score that ignores mjj has a
smooth efficiency. Every b_i is profiled in closed form. The local p-value is that of the profile
likelihood ratio q0 for S >= 0 (Cowan et al., arXiv:1007.1727, eqs. 12 and 52).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from iminuit import Minuit
from numpy.typing import NDArray
from scipy.special import xlogy
from scipy.stats import norm

from tools.bumphunt.spectrum import SIGMA, Spectrum, signal_shape

Floats = NDArray[np.float64]
SIGMA_RANGE = (0.006, 0.03)  # relative core width of what still counts as narrow


@dataclass(frozen=True)
class Fit:
    """Maximum of the likelihood. `signal` counts passing events; errors are one standard deviation."""

    mass: float
    mass_error: float
    signal: float
    signal_error: float
    sigma: float
    z: float  # local significance, negative for a deficit
    p_value: float
    background: Floats  # expected passing background per bin
    deviance: float  # -2 log likelihood ratio to the saturated model, of the full fit
    bins: int
    valid: bool


def fit_background(spectrum: Spectrum) -> tuple[Floats, float]:
    """Coefficients (a0, a1, a2) without signal, and -2 log L."""
    objective = _objective(spectrum)
    zero = np.zeros(len(spectrum.passed))
    minuit = Minuit(lambda a: objective(a, zero), _flat(spectrum))
    minuit.errors = [0.1, 0.5, 1.0]
    minuit.errordef = Minuit.LEAST_SQUARES
    minuit.migrad()
    return np.array(minuit.values), float(minuit.fval or 0.0)


def scan_mass(spectrum: Spectrum, masses: Floats, sigma: float = SIGMA) -> tuple[Floats, Floats]:
    """(signed local significance, best passing signal) at each fixed mass [TeV] and width."""
    start, null = fit_background(spectrum)
    objective = _objective(spectrum)
    z, signal = np.empty(len(masses)), np.empty(len(masses))
    for i, mass in enumerate(masses):
        shape = signal_shape(spectrum.edges, mass, sigma)
        minuit = _minimise(_fixed_shape(objective, shape), [*start, 0.0], _flat(spectrum))
        z[i] = _signed(null - float(minuit.fval or 0.0), minuit.values[3])
        signal[i] = minuit.values[3]
    return z, signal


def fit_amplitude(spectrum: Spectrum, mass: float, sigma: float) -> tuple[float, float]:
    """(passing signal, its error) for a bump of fixed mass [TeV] and relative width; may be negative."""
    start, _ = fit_background(spectrum)
    shape = signal_shape(spectrum.edges, mass, sigma)
    minuit = _minimise(_fixed_shape(_objective(spectrum), shape), [*start, 0.0], _flat(spectrum))
    minuit.hesse()
    return float(minuit.values[3]), float(minuit.errors[3])


def fit_signal(spectrum: Spectrum, mass: float, mass_range: tuple[float, float]) -> Fit:
    """Float mass (within `mass_range`), width and yield, starting at `mass` [TeV]."""
    start, null = fit_background(spectrum)
    objective = _objective(spectrum)

    def full(p: Floats) -> float:
        return objective(p[:3], p[3] * signal_shape(spectrum.edges, p[4], p[5]))

    near = np.abs(spectrum.centres / mass - 1) < 2 * SIGMA
    guess = max(1.0, float(spectrum.passed[near].sum()) / 2)
    limits = {4: mass_range, 5: SIGMA_RANGE}
    minuit = _minimise(full, [*start, guess, mass, SIGMA], _flat(spectrum), limits)
    if not 1.01 * SIGMA_RANGE[0] < minuit.values[5] < 0.99 * SIGMA_RANGE[1]:
        minuit.fixed[5] = True  # at its bound the width has no parabola, and spoils the errors of the others
    minuit.hesse()
    values = np.array(minuit.values)
    z = _signed(null - float(minuit.fval or 0.0), values[3])
    shape = signal_shape(spectrum.edges, values[4], values[5])
    background = _transfer(spectrum, values[:3]) * _profiled(
        spectrum, _transfer(spectrum, values[:3]), values[3] * shape
    )
    return Fit(
        mass=float(values[4]),
        mass_error=float(minuit.errors[4]),
        signal=float(values[3]),
        signal_error=float(minuit.errors[3]),
        sigma=float(values[5]),
        z=z,
        p_value=float(norm.sf(z)),
        background=background,
        deviance=float(minuit.fval or 0.0),
        bins=len(spectrum.passed),
        valid=bool(minuit.valid),
    )


def _flat(spectrum: Spectrum) -> list[float]:
    """Transfer coefficients that do not depend on mjj."""
    return [float(np.log(max(spectrum.passed.sum(), 0.5) / max(spectrum.failed.sum(), 0.5))), 0.0, 0.0]


def _minimise(
    function: Callable[[Floats], float],
    start: list[float],
    flat: list[float],
    limits: dict[int, tuple[float, float]] | None = None,
) -> Minuit:
    """From `start`, and where that does not converge from a `flat` transfer factor: the background of a strong signal
    fitted without it may be bent so much that no way leads back."""
    found = []
    for first in (start, [*flat, *start[3:]]):
        minuit = Minuit(function, first)
        minuit.errordef = Minuit.LEAST_SQUARES
        steps = [0.05, 0.3, 0.5, max(1.0, 0.1 * abs(start[3])), 0.01, 0.002]
        minuit.errors = steps[: len(start)]
        for index, (low, high) in (limits or {}).items():
            minuit.limits[index] = (low, high)
        minuit.migrad()
        if minuit.valid:
            return minuit
        found.append(minuit)
    return min(found, key=lambda minuit: float(minuit.fval or 0.0))


def _fixed_shape(objective: Callable[[Floats, Floats], float], shape: Floats) -> Callable[[Floats], float]:
    return lambda p: objective(p[:3], p[3] * shape)


def _signed(q: float, signal: float) -> float:
    return float(np.sign(signal) * np.sqrt(max(q, 0.0)))


def _transfer(spectrum: Spectrum, a: Floats) -> Floats:
    x = np.log(spectrum.centres / spectrum.centres[len(spectrum.centres) // 2])
    return np.asarray(np.exp(np.clip(a[0] + a[1] * x + a[2] * x**2, -50, 50)))


def _profiled(spectrum: Spectrum, r: Floats, s: Floats) -> Floats:
    """b_i >= 0 that maximises Poisson(fail; b) Poisson(pass; r b + s), r b + s >= 0: the larger root of a quadratic.

    Where nothing passes and s < 0 the root can lie below the bound -s / r; the bound is the maximum then.
    """
    total = spectrum.failed + spectrum.passed
    half = ((1 + r) * s - r * total) / 2
    # (1 + r) r b**2 + 2 half b - fail s = 0
    inside = np.sqrt(np.maximum(half**2 + (1 + r) * r * spectrum.failed * s, 0.0))
    return np.asarray(np.maximum((inside - half) / ((1 + r) * r), np.maximum(-s / r, 1e-12)))


def _objective(spectrum: Spectrum) -> Callable[[Floats, Floats], float]:
    """-2 log L, with the saturated model's value taken off, as a function of (a, signal per bin)."""
    passed, failed = spectrum.passed, spectrum.failed

    def value(a: Floats, s: Floats) -> float:
        r = _transfer(spectrum, a)
        b = _profiled(spectrum, r, s)
        return float(2 * (_poisson(passed, np.maximum(r * b + s, 1e-12)) + _poisson(failed, b)).sum())

    return value


def _poisson(n: Floats, mu: Floats) -> Floats:
    """Half the deviance of a count: mu - n + n log(n / mu)."""
    return np.asarray(mu - n + xlogy(n, n / mu))
