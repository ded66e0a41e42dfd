"""Maximisation of the pass-fail likelihood for many spectra at once.

In bin i with background b_i among the failing events,

    n_pass,i ~ Poisson(r(m_i) b_i + S s_i),   n_fail,i ~ Poisson(b_i),
    log r = a0 + sum_k sigma_k a_k P_k(x),   x = log mjj, from -1 to 1 in the range,   a_k ~ Normal(0, 1) for k > 0,

where r is the transfer factor of the "pass-fail ratio" method (e.g. CMS, arXiv:1705.10532): nothing is assumed about
the shape of the dijet spectrum itself, only that a cut on a score that ignores mjj has a smooth efficiency. How smooth
is the prior: sigma_k are SLOPE and BEND over FULL_RANGE, and scale with the k-th power of the range. The degree d is
chosen by `background.py` on the events outside the window, and so is delta: the relative error of the background
under a bump that smoothness does not remove. It enters every hypothesis S0 as a spurious signal (the term of the ATLAS
dijet and diphoton searches, e.g. arXiv:1407.6583, section 8),

    -2 log L(S0) = min over S { -2 log L(S) + ((S - S0) / tau)**2 },   tau = delta sum(s r b) / sum(s**2),

the signal that a background wrong by delta mimics. The best fit does not change; its error gains tau in quadrature.

Every b_i is profiled in closed form, and the remaining (a, S) are found by Fisher scoring: with mu = r b + S s and
g = d mu / d(a, S) at fixed b,

    gradient = 2 sum_i g_i (1 - n_pass,i / mu_i),   information = 2 sum_i g_i g_i^T / (mu_i + r_i**2 b_i),

and the prior adds 2 a_k and 2; the second is the Fisher information after profiling b_i. Masses and widths of the
signal are fixed here, so that thousands of pseudo-experiments take seconds. The last axis of arrays runs over the bins;
a signal-free reference with the same efficiency adds further bins with s = 0.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import xlogy

from tools.bumphunt.counting import significances
from tools.types import Floats

TOLERANCE = 1e-6  # in -2 log L
MAX_STEPS = 40
LONGEST = 2.0  # step in log r at most, at either end of the spectrum
CHUNK = 500  # fits done together: their arrays stay in the cache
PROMISING, SURE = 8, 2  # hypotheses fitted in search of a maximum, without and with a spurious signal
FULL_RANGE = float(np.log(6.4 / 2.4))  # log mjj between the ends of the spectra that the prior is for
# Standard deviations of the terms of log r over it: linear, and all others. Free fits beside eight windows from 3 to
# 5 TeV (200,000 events, background efficiency 1e-2) gave slopes of -0.05 to 0.61 and bends of -0.27 to 0.12.
SLOPE, BEND = 1.0, 0.3
TIGHT = 1e-3  # events: a spurious signal with a smaller tau is neglected


@dataclass(frozen=True)
class Maxima:
    """Results of F fits: transfer coefficients (F, K) and their covariance (F, K, K); signal, its error and -2 log L
    over the saturated model (F,).
    """

    coefficients: Floats
    covariance: Floats
    signal: Floats
    error: Floats
    deviance: Floats


@dataclass(frozen=True)
class Tether:
    """Hypotheses about the signal: its values, and tau of the spurious signal around them, both (F,)."""

    signal: Floats
    tau: Floats


def make_basis(edges: Floats, degree: int) -> Floats:
    """Return the terms of log r, (n, degree + 1): Legendre polynomials in x, times the width of their prior."""
    centres = np.log(edges[1:] * edges[:-1]) / 2
    x = 2 * (centres - centres[0]) / (centres[-1] - centres[0]) - 1
    scale = (np.log(edges[-1] / edges[0]) / FULL_RANGE) ** np.arange(degree + 1)
    scale *= np.append([1.0, SLOPE], np.full(degree, BEND))[: degree + 1]
    return np.asarray(np.polynomial.legendre.legvander(x, degree) * scale)


def transfer(a: Floats, basis: Floats) -> Floats:
    """Return r (..., n) for coefficients (..., K) and the `make_basis` terms (n, K)."""
    return np.asarray(np.exp(np.clip(a @ basis.T, -50, 50)))


def drawn(fitted: Maxima, basis: Floats, noise: Floats) -> Floats:
    """Return r (T, n) of T transfer factors whose slope and bends are as likely as the fit (F = 1) leaves them.

    The prior pulls a fit towards a flat efficiency: pseudo-experiments from the fit alone would be as flat. `noise`
    (T, >= K - 1) is normal; a0 follows as the counts demand.
    """
    covariance = fitted.covariance[0]
    bends = noise[:, : len(covariance) - 1] @ np.linalg.cholesky(covariance[1:, 1:]).T
    level = bends @ np.linalg.solve(covariance[1:, 1:], covariance[1:, 0])
    return transfer(fitted.coefficients + np.column_stack([level, bends]), basis)


def profiled_background(passed: Floats, failed: Floats, r: Floats, s: Floats) -> Floats:
    """Return the b_i that maximises Poisson(fail; b) Poisson(pass; r b + s) with b >= 0 and r b + s >= 0.

    It is the larger root of a quadratic, or the bound -s / r where the root lies below it (nothing passes and s < 0).
    """
    half = ((1 + r) * s - r * (failed + passed)) / 2
    # (1 + r) r b**2 + 2 half b - fail s = 0
    inside = np.sqrt(np.maximum(half**2 + (1 + r) * r * failed * s, 0.0))
    return np.asarray(np.maximum((inside - half) / ((1 + r) * r), np.maximum(-s / r, 1e-12)))


def deviance(passed: Floats, failed: Floats, r: Floats, s: Floats) -> Floats:
    """Return -2 log L relative to the saturated model, with b profiled, summed over the bins."""
    b = profiled_background(passed, failed, r, s)
    mu = np.maximum(r * b + s, 1e-12)
    return np.asarray(2 * (mu - passed + xlogy(passed, passed / mu) + b - failed + xlogy(failed, failed / b)).sum(-1))


def under_peak(passed: Floats, failed: Floats, r: Floats, shape: Floats) -> Floats:
    """Return the passing background under the peak of shapes (F, n), without signal: sum(s r b) / sum(s**2), (F,)."""
    expected = (passed + failed) * r / (1 + r)
    return np.asarray((shape * expected).sum(-1) / (shape**2).sum(-1))


def fit_background(passed: Floats, failed: Floats, basis: Floats) -> Maxima:
    """Fit the transfer factor in terms of `basis` (n, K), without signal, to each of F pairs of spectra (F, n).

    Without signal b + r b is the bin's total, and a binomial regression with logit log r remains.
    """
    flat = np.log(np.maximum(passed.sum(-1), 0.5) / np.maximum(failed.sum(-1), 0.5))
    start = np.stack([flat, *np.zeros((basis.shape[1], len(flat)))], axis=-1)
    none = Tether(np.zeros(len(flat)), np.zeros(len(flat)))
    return _maximise(passed, failed, np.zeros_like(passed), basis, start, none)


def fit_signal_at(passed: Floats, failed: Floats, basis: Floats, shape: Floats, tether: Tether | None = None) -> Maxima:
    """Fit transfer factor and signal to each of F pairs of spectra (F, n), each with its own signal shape (F, n).

    With a `tether` the signal is that hypothesis plus a spurious signal; without, it is free. One pair or one shape
    (1, n) serves for all F.
    """
    null = fit_background(passed, failed, basis).coefficients
    tethered = np.zeros(1) if tether is None else tether.signal
    many = np.broadcast_shapes(passed.shape, shape.shape, (len(tethered), 1))
    passed, failed, shape = (np.broadcast_to(each, many) for each in (passed, failed, shape))
    start = np.empty((many[0], basis.shape[1] + 1))
    start[:, :-1], start[:, -1] = null, tethered
    return _maximise(passed, failed, shape, basis, start, tether)


def scan(passed: Floats, failed: Floats, basis: Floats, shapes: Floats, delta: float = 0.0) -> tuple[Floats, Floats]:
    """Return (local significance, best signal), each (T, H), for T pairs of spectra (T, n) and H signal shapes (H, n).

    The significance is the signed root z = sign(S) sqrt(-2 log L(0) / L(S)), negative for a deficit
    (Cowan et al., arXiv:1007.1727, eqs. 12 and 52: the one-sided local p-value is 1 - Phi(z)).
    """
    every = np.broadcast_to(np.arange(len(shapes)), (len(passed), len(shapes)))
    return _ratios(passed, failed, basis, shapes, fit_background(passed, failed, basis), every, delta)


def scan_maximum(passed: Floats, failed: Floats, basis: Floats, shapes: Floats, delta: float = 0.0) -> Floats:
    """Return the largest z of `scan` for each of T pairs of spectra, fitting only the most promising hypotheses.

    They are ranked by the significance of the events weighted by the shape, n = sum s p / k over b = sum s r b / k with
    an error of delta b, where k = sum s**2 r b / sum s r b gives n the variance b of a count.
    """
    null = fit_background(passed, failed, basis)
    r = transfer(null.coefficients, basis)
    expected = (passed + failed) * r / (1 + r)
    b = np.maximum(expected @ shapes.T, 1e-12)
    k = np.maximum(expected @ (shapes**2).T, 1e-24) / b
    promise = significances(passed @ shapes.T / k, b / k, delta * b / k)
    chosen = np.argsort(-promise, axis=1)[:, :PROMISING]
    z = _ratios(passed, failed, basis, shapes, null, chosen, 0.0)[0]
    if delta == 0:
        return np.asarray(z.max(axis=1))
    # A spurious signal reduces the significance as an error delta b on the background does for the equivalent count.
    under = np.take_along_axis(b / k, chosen, axis=1)
    scale = significances(*_counted(z, under), delta * under) / np.where(np.abs(z) > 1e-9, z, 1.0)
    best = np.take_along_axis(chosen, np.argsort(-z * scale, axis=1)[:, :SURE], axis=1)
    return np.asarray(_ratios(passed, failed, basis, shapes, null, best, delta)[0].max(axis=1))


def _counted(z: Floats, b: Floats) -> tuple[Floats, Floats]:
    """Return (n, b), where the excess of n over b has the significance z, to second order in z / sqrt(b)."""
    return np.maximum(b + z * np.sqrt(b) + z**2 / 6, 0.0), b


def _ratios(
    passed: Floats,
    failed: Floats,
    basis: Floats,
    shapes: Floats,
    null: Maxima,
    chosen: NDArray[np.int64],
    delta: float,
) -> tuple[Floats, Floats]:
    """Return (z, signal), each (T, K), for each pair of spectra and its `chosen` (T, K) among the shapes (H, n)."""
    z, signal = np.empty((2, *chosen.shape))
    together = max(1, CHUNK // chosen.shape[1])
    for first in range(0, len(passed), together):
        rows = np.arange(first, min(first + together, len(passed)))
        toy, shape = np.repeat(rows, chosen.shape[1]), shapes[chosen[rows].ravel()]
        pair = passed[toy], failed[toy]
        start = np.column_stack([null.coefficients[toy], np.zeros(len(toy))])
        best = _maximise(*pair, shape, basis, start, None)
        without = null.deviance[toy]
        if delta > 0:
            tau = delta * under_peak(*pair, transfer(null.coefficients[toy], basis), shape)
            without = _maximise(*pair, shape, basis, start, Tether(np.zeros(len(toy)), tau)).deviance
        q = np.maximum(without - best.deviance, 0.0)
        z[rows] = (np.sign(best.signal) * np.sqrt(q)).reshape(len(rows), -1)
        signal[rows] = best.signal.reshape(len(rows), -1)
    return z, signal


def _maximise(
    passed: Floats, failed: Floats, shape: Floats, basis: Floats, start: Floats, tether: Tether | None
) -> Maxima:
    """Maximise by Fisher scoring from `start` (F, K + 1), shortening steps until -2 log L falls or stays.

    The signal is free, or tethered.
    """
    k = basis.shape[1]
    theta = start.copy()
    n = len(theta)
    fixed = np.zeros(n, dtype=bool) if tether is None else tether.tau < TIGHT
    centre = np.zeros(n) if tether is None else tether.signal
    stiffness = np.zeros(n) if tether is None else np.where(fixed, 0.0, 1 / np.maximum(tether.tau, TIGHT) ** 2)

    def loss(rows: NDArray[np.int64], at: Floats) -> Floats:
        apart = at[:, k] - centre[rows]
        r = transfer(at[:, :k], basis)
        terms = stiffness[rows] * apart**2 + (at[:, 1:k] ** 2).sum(-1)
        return np.asarray(deviance(passed[rows], failed[rows], r, at[:, k:] * shape[rows]) + terms)

    active = np.arange(n)
    value = loss(active, theta)
    for _ in range(MAX_STEPS):
        at, held = theta[active], fixed[active]
        gradient, information = _derivatives(passed[active], failed[active], shape[active], basis, at)
        gradient[:, k] += 2 * stiffness[active] * (at[:, k] - centre[active])
        information[:, k, k] += 2 * stiffness[active]
        gradient[held, k], information[held, k, :k], information[held, :k, k] = 0.0, 0.0, 0.0
        information[held, k, k] = 1.0
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
            lower = loss(active[trying], new)
            good = lower <= value[active[trying]]
            theta[active[trying[good]]], value[active[trying[good]]] = new[good], lower[good]
            trying = trying[~good]
            scale[trying] /= 4
        going[trying] = False  # no step length goes down: rounding
        active = active[going]
        if len(active) == 0:
            break
    # A deficit gets the error of no signal: at the bound r b + s = 0 the information does not reflect the curvature.
    at_least_none = np.column_stack([theta[:, :k], np.maximum(theta[:, k], 0.0)])
    covariance = np.asarray(2 * np.linalg.inv(_derivatives(passed, failed, shape, basis, at_least_none)[1]))
    error = np.sqrt(np.maximum(covariance[:, k, k], 0.0))
    return Maxima(theta[:, :k], covariance[:, :k, :k], theta[:, k], error, value)


def _derivatives(passed: Floats, failed: Floats, shape: Floats, basis: Floats, theta: Floats) -> tuple[Floats, Floats]:
    """Return gradient (F, K + 1) and Fisher information (F, K + 1, K + 1) of deviance and prior, with b profiled."""
    k = basis.shape[1]
    r, s = transfer(theta[:, :k], basis), theta[:, k:] * shape
    b = profiled_background(passed, failed, r, s)
    mu = r * b + s
    # At the bound r b + s = 0, b = -s / r moves with the parameters instead of mu.
    bound = mu <= 1e-9 * (r * b)
    pull = np.where(bound, 1 - failed / b, 1 - passed / np.maximum(mu, 1e-300))
    weight = np.where(bound, 1 / b, 1 / (mu + r**2 * b))
    weight[~bound & (passed + failed == 0)] = 0.0  # -log L is linear in S in empty bins, and b is 0 only by chance
    along_a, along_s = np.where(bound, -b, r * b), np.where(bound, -shape / r, shape)
    gradient = np.column_stack([(pull * along_a) @ basis, (pull * along_s).sum(-1)])
    information = np.empty((len(theta), k + 1, k + 1))
    products = (basis[:, :, None] * basis[:, None, :]).reshape(len(basis), k * k)
    information[:, :k, :k] = ((weight * along_a**2) @ products).reshape(-1, k, k)
    information[:, :k, k] = information[:, k, :k] = (weight * along_a * along_s) @ basis
    information[:, k, k] = (weight * along_s**2).sum(-1)
    gradient[:, 1:k] += theta[:, 1:k]
    information[:, range(1, k), range(1, k)] += 1.0
    information += 1e-9 * np.eye(k + 1)  # spectra without a passing event leave directions unconstrained
    return 2 * gradient, 2 * information
