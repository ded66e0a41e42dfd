"""The pass-fail likelihood, maximised for many spectra at once.

In bin i with background b_i among the failing events,

    n_pass,i ~ Poisson(r(m_i) b_i + S s_i),   n_fail,i ~ Poisson(b_i),
    log r = a0 + a1 x + a2 x**2 + w [m_i in the window],   x = log(m/m0),   w ~ N(0, STEP),

the transfer factor of the "pass-fail ratio" method (e.g. CMS, arXiv:1705.10532): nothing is assumed
about the shape of the dijet spectrum itself, only that a cut on a score that ignores mjj has a
smooth efficiency, up to a step w at the window that the score was trained for: where the template fails to close, the
window's events pass more often as a whole. Without a window there is no w. Every b_i is profiled in closed form, and
what is left, (a0, a1, a2, w, S), is found by Fisher scoring: with mu = r b + S s and g = d mu / d(a, w, S) at fixed b,

    gradient = 2 sum_i g_i (1 - n_pass,i / mu_i),   information = 2 sum_i g_i g_i^T / (mu_i + r_i**2 b_i),

the second being the Fisher information after b_i has been profiled out. Masses and widths of the signal
are fixed here; thousands of pseudo-experiments take seconds. Arrays end in the axis of bins.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import xlogy

from tools.bumphunt.spectrum import SIGMA, signal_shape

Floats = NDArray[np.float64]
TOLERANCE = 1e-6  # in -2 log L
MAX_STEPS = 40
LONGEST = 2.0  # of a step in log r at either end of the spectrum
CHUNK = 500  # fits done together: their arrays stay in the cache
PROMISING = 4  # masses fitted in search of a maximum
# Of w. In 72 signal-free searches by quick CATHODEs, behind the most significant cut, 8% +- 2% (background efficiency
# 1e-2) and 31% +- 7% (1e-3) more of the window's events passed than the others told.
STEP = 0.3

Window = tuple[float, float] | None


@dataclass(frozen=True)
class Maxima:
    """Of F fits: transfer coefficients (F, K); signal, its error and -2 log L over the saturated model (F,)."""

    coefficients: Floats
    signal: Floats
    error: Floats
    deviance: Floats


def log_mass(edges: Floats) -> Floats:
    """x = log(m/m0) at the centres of the bins, m0 that of the middle one."""
    centres = np.sqrt(edges[1:] * edges[:-1])
    return np.asarray(np.log(centres / centres[len(centres) // 2]))


def make_basis(edges: Floats, window: Window = None) -> Floats:
    """What log r is a sum of, (n, K): 1, x, x**2 and, with a window [TeV], STEP for the bins inside and 0 elsewhere."""
    x = log_mass(edges)
    smooth = np.column_stack([np.ones_like(x), x, x**2])
    if window is None:
        return smooth
    centres = np.sqrt(edges[1:] * edges[:-1])
    return np.column_stack([smooth, STEP * ((centres >= window[0]) & (centres < window[1]))])


def transfer(a: Floats, basis: Floats) -> Floats:
    """r, (..., n), from coefficients (..., K) and `make_basis`."""
    return np.asarray(np.exp(np.clip(a @ basis.T, -50, 50)))


def penalty(a: Floats) -> Floats:
    """-2 log of the constraint on w, which is in units of STEP; 0 without one."""
    return np.asarray((a[..., 3:] ** 2).sum(-1))


def profiled_background(passed: Floats, failed: Floats, r: Floats, s: Floats) -> Floats:
    """b_i >= 0 that maximises Poisson(fail; b) Poisson(pass; r b + s), r b + s >= 0: the larger root of a quadratic.

    Where nothing passes and s < 0 the root can lie below the bound -s / r; the bound is the maximum then.
    """
    half = ((1 + r) * s - r * (failed + passed)) / 2
    # (1 + r) r b**2 + 2 half b - fail s = 0
    inside = np.sqrt(np.maximum(half**2 + (1 + r) * r * failed * s, 0.0))
    return np.asarray(np.maximum((inside - half) / ((1 + r) * r), np.maximum(-s / r, 1e-12)))


def deviance(passed: Floats, failed: Floats, r: Floats, s: Floats) -> Floats:
    """-2 log L, b profiled, with the saturated model's value taken off; summed over the bins."""
    b = profiled_background(passed, failed, r, s)
    mu = np.maximum(r * b + s, 1e-12)
    return np.asarray(2 * (mu - passed + xlogy(passed, passed / mu) + b - failed + xlogy(failed, failed / b)).sum(-1))


def fit_background(passed: Floats, failed: Floats, edges: Floats, window: Window = None) -> Maxima:
    """Best transfer factor without signal for each of F pairs of spectra (F, n).

    Without signal b + r b is the bin's total, and what is left is a binomial regression with logit log r.
    """
    basis = make_basis(edges, window)
    flat = np.log(np.maximum(passed.sum(-1), 0.5) / np.maximum(failed.sum(-1), 0.5))
    start = np.stack([flat, *np.zeros((basis.shape[1], len(flat)))], axis=-1)
    return _maximise(passed, failed, np.zeros_like(passed), basis, start, free=False)


def fit_signal_at(
    passed: Floats, failed: Floats, edges: Floats, shape: Floats, signal: Floats | None = None, window: Window = None
) -> Maxima:
    """Best transfer factor and signal for each of F pairs of spectra (F, n), each with its own signal shape (F, n).

    With `signal` (F,) that stays fixed and only the transfer factor is fitted.
    """
    null = fit_background(passed, failed, edges, window).coefficients
    amount = np.zeros(len(passed)) if signal is None else signal
    start = np.column_stack([null, amount])
    return _maximise(passed, failed, shape, make_basis(edges, window), start, free=signal is None)


def scan(
    passed: Floats, failed: Floats, edges: Floats, masses: Floats, sigma: float = SIGMA, window: Window = None
) -> tuple[Floats, Floats]:
    """(local significance, best signal), each (T, M), of T pairs of spectra (T, n) at M fixed masses [TeV].

    Signed root of the likelihood ratio, z = sign(S) sqrt(-2 log L(0) / L(S)): negative for a deficit
    (Cowan et al., arXiv:1007.1727, eqs. 12 and 52: the one-sided local p-value is 1 - Phi(z)).
    """
    every = np.broadcast_to(np.arange(len(masses)), (len(passed), len(masses)))
    null = fit_background(passed, failed, edges, window)
    return _ratios(passed, failed, edges, masses, sigma, window, null, every)


def scan_maximum(
    passed: Floats, failed: Floats, edges: Floats, masses: Floats, sigma: float = SIGMA, window: Window = None
) -> Floats:
    """Largest z of `scan` for each of T pairs of spectra, fitting only the few masses that promise most.

    What a mass promises is the significance of the events that its shape weighs, n = sum s p / k over b = sum s r b / k
    with k = sum s**2 r b / sum s r b, which gives n the variance b of a count: sqrt(2 (n log(n / b) - n + b)).
    """
    null = fit_background(passed, failed, edges, window)
    r = transfer(null.coefficients, make_basis(edges, window))
    expected = (passed + failed) * r / (1 + r)
    shapes = np.stack([signal_shape(edges, mass, sigma) for mass in masses])
    b = np.maximum(expected @ shapes.T, 1e-12)
    k = np.maximum(expected @ (shapes**2).T, 1e-24) / b
    n, b = passed @ shapes.T / k, b / k
    promise = np.sign(n - b) * (xlogy(n, n / b) - n + b)
    chosen = np.argsort(-promise, axis=1)[:, :PROMISING]
    return np.asarray(_ratios(passed, failed, edges, masses, sigma, window, null, chosen)[0].max(axis=1))


def _ratios(
    passed: Floats,
    failed: Floats,
    edges: Floats,
    masses: Floats,
    sigma: float,
    window: Window,
    null: Maxima,
    chosen: NDArray[np.int64],
) -> tuple[Floats, Floats]:
    """(z, signal), each (T, K), of each pair of spectra at its `chosen` (T, K) among the masses."""
    shapes = np.stack([signal_shape(edges, mass, sigma) for mass in masses])
    basis = make_basis(edges, window)
    z, signal = np.empty((2, *chosen.shape))
    together = max(1, CHUNK // chosen.shape[1])
    for first in range(0, len(passed), together):
        rows = np.arange(first, min(first + together, len(passed)))
        toy, mass = np.repeat(rows, chosen.shape[1]), chosen[rows].ravel()
        start = np.column_stack([null.coefficients[toy], np.zeros(len(toy))])
        best = _maximise(passed[toy], failed[toy], shapes[mass], basis, start, free=True)
        q = np.maximum(null.deviance[toy] - best.deviance, 0.0)
        z[rows] = (np.sign(best.signal) * np.sqrt(q)).reshape(len(rows), -1)
        signal[rows] = best.signal.reshape(len(rows), -1)
    return z, signal


def _maximise(passed: Floats, failed: Floats, shape: Floats, basis: Floats, start: Floats, free: bool) -> Maxima:
    """Fisher scoring from `start` (F, K + 1), with steps cut until they go down; the signal stays put unless `free`."""
    k = basis.shape[1]
    theta = start.copy()

    def loss(p: Floats, f: Floats, s: Floats, at: Floats) -> Floats:
        return deviance(p, f, transfer(at[:, :k], basis), at[:, k:] * s) + penalty(at[:, :k])

    value = loss(passed, failed, shape, theta)
    active = np.arange(len(theta))
    for _ in range(MAX_STEPS):
        p, f, s, at = passed[active], failed[active], shape[active], theta[active]
        gradient, information = _derivatives(p, f, s, basis, at)
        if not free:
            gradient[:, k], information[:, k, :k], information[:, :k, k] = 0.0, 0.0, 0.0
            information[:, k, k] = 1.0
        step = -np.linalg.solve(information, gradient[..., None])[..., 0]
        bend = np.abs(step[:, :k]) @ np.abs(basis).max(axis=0)
        step *= np.minimum(1.0, LONGEST / np.maximum(bend, 1e-300))[:, None]
        going = -(gradient * step).sum(-1) > TOLERANCE
        scale = np.where(going, 1.0, 0.0)
        trying = np.flatnonzero(going)
        for _ in range(12):
            if len(trying) == 0:
                break
            new = at[trying] + scale[trying, None] * step[trying]
            lower = loss(p[trying], f[trying], s[trying], new)
            good = lower <= value[active[trying]]
            theta[active[trying[good]]], value[active[trying[good]]] = new[good], lower[good]
            trying = trying[~good]
            scale[trying] /= 4
        going[trying] = False  # no way down at any length: rounding
        active = active[going]
        if len(active) == 0:
            break
    # Of a deficit the error is that of no signal: at the bound r b + s = 0 the information is none of the curvature's.
    at_least_none = np.column_stack([theta[:, :k], np.maximum(theta[:, k], 0.0)])
    information = _derivatives(passed, failed, shape, basis, at_least_none)[1]
    error = np.sqrt(np.maximum(2 * np.linalg.inv(information)[:, k, k], 0.0))
    return Maxima(theta[:, :k], theta[:, k], error, value)


def _derivatives(passed: Floats, failed: Floats, shape: Floats, basis: Floats, theta: Floats) -> tuple[Floats, Floats]:
    """Gradient (F, K + 1) and Fisher information of the deviance and the constraint, background profiled out."""
    k = basis.shape[1]
    r, s = transfer(theta[:, :k], basis), theta[:, k:] * shape
    b = profiled_background(passed, failed, r, s)
    mu = r * b + s
    # Where the bound r b + s = 0 holds, b = -s / r moves with the parameters instead of mu.
    bound = mu <= 1e-9 * (r * b)
    pull = np.where(bound, 1 - failed / b, 1 - passed / np.maximum(mu, 1e-300))
    weight = np.where(bound, 1 / b, 1 / (mu + r**2 * b))
    weight[~bound & (passed + failed == 0)] = 0.0  # -log L is linear in S there, and b is 0 only by observation
    along_a, along_s = np.where(bound, -b, r * b), np.where(bound, -shape / r, shape)
    gradient = np.column_stack([(pull * along_a) @ basis, (pull * along_s).sum(-1)])
    gradient[:, 3:k] += theta[:, 3:k]
    information = np.empty((len(theta), k + 1, k + 1))
    products = (basis[:, :, None] * basis[:, None, :]).reshape(len(basis), k * k)
    information[:, :k, :k] = ((weight * along_a**2) @ products).reshape(-1, k, k)
    information[:, :k, k] = information[:, k, :k] = (weight * along_a * along_s) @ basis
    information[:, k, k] = (weight * along_s**2).sum(-1)
    information += 1e-9 * np.eye(k + 1)  # spectra without a passing event leave directions open
    information[:, range(3, k), range(3, k)] += 1.0
    return 2 * gradient, 2 * information
