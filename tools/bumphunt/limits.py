"""Upper limits on the number of signal events, where none were found: the CLs method.

For a signal S at a fixed mass, with the likelihood of `profile.py`,

    q(S) = -2 log L(S) / L(max(S_hat, 0))  for S_hat <= S,  0 otherwise;     CLs = P(q >= q_obs | S) / P(q >= q_obs | 0)

(Read, J. Phys. G 28 (2002) 2693), and the limit is the S whose CLs is 1 - level. The probabilities are asymptotic
(Cowan et al., arXiv:1007.1727, eqs. 62 to 66, with q_A of the Asimov data set: the background fitted without signal);
the expected limits are its quantiles for background, CLs taken: sqrt(q_A) = Phi^-1(1 - (1 - level) Phi(n)) + n.
Asymptotic limits come out too low where hardly an event is expected under the bump: `cls_by_toys` tells how much.
An efficiency known to a relative error k has the nuisance parameter t, S = N eff exp(k t), with a unit Gaussian.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

from tools.bumphunt.profile import Window, fit_background, fit_signal_at, make_basis, profiled_background, transfer
from tools.bumphunt.spectrum import SIGMA, Spectrum, signal_shape

Floats = NDArray[np.float64]
BANDS = (-2, -1, 0, 1, 2)  # standard deviations of the expected limits
POINTS = 120  # of the likelihood scan
NUISANCE = np.linspace(-5, 5, 201)  # t


@dataclass(frozen=True)
class Limit:
    """Signal events excluded at `level`: observed, and expected from background at -2, -1, 0, 1, 2 deviations."""

    observed: float
    expected: tuple[float, ...]
    level: float


def upper_limit(
    spectrum: Spectrum,
    mass: float,
    sigma: float = SIGMA,
    efficiency: tuple[float, float] = (1.0, 0.0),
    level: float = 0.95,
) -> Limit:
    """Limit on the signal at `mass` [TeV]: on what passes the cut or, given its `efficiency` (value, error), on all.

    Raises ValueError for an efficiency outside (0, 1] or a level outside (0, 1).
    """
    value, error = efficiency
    if not (0 < value <= 1 and error >= 0 and 0 < level < 1):
        raise ValueError(f"efficiency={efficiency}, level={level}: need 0 < efficiency <= 1, error >= 0, 0 < level < 1")
    shape = signal_shape(spectrum.edges, mass, sigma)
    pair = spectrum.passed[None], spectrum.failed[None]
    best = fit_signal_at(*pair, spectrum.edges, shape[None], window=spectrum.window)
    found, width = max(float(best.signal[0]), 0.0), float(best.error[0])
    top = found + 6 * width + 6
    while True:
        amounts = np.linspace(0, top / value, POINTS)
        observed, asimov = (_any_efficiency(curve, top, error / value) for curve in _curves(spectrum, shape, top))
        q = np.where(amounts * value < found, 0.0, np.maximum(observed - observed.min(), 0.0))
        q_a = np.maximum(asimov - asimov.min(), 0.0)
        cls = asymptotic_cls(q, q_a)
        levels = np.array([norm.ppf(1 - (1 - level) * norm.cdf(n)) + n for n in BANDS])
        if np.sqrt(q_a[-1]) > levels[-1] and cls[-1] < (1 - level) / 2:
            break
        top *= 2
    expected = np.interp(levels, np.maximum.accumulate(np.sqrt(q_a)), amounts)
    last = int(np.flatnonzero(cls > 1 - level)[-1])
    share = np.log(cls[last] / (1 - level)) / np.log(cls[last] / cls[last + 1])
    return Limit(float(amounts[last] + share * (amounts[1] - amounts[0])), tuple(map(float, expected)), level)


def _curves(spectrum: Spectrum, shape: Floats, top: float) -> tuple[Floats, Floats]:
    """-2 log L of POINTS signals from 0 to `top`, for the data and for their Asimov data set of background alone."""
    n, amounts = spectrum.passed + spectrum.failed, np.linspace(0, top, POINTS)
    a = fit_background(spectrum.passed[None], spectrum.failed[None], spectrum.edges, spectrum.window).coefficients
    r = transfer(a, make_basis(spectrum.edges, spectrum.window))[0]
    curves = []
    for passed, failed in ((spectrum.passed, spectrum.failed), (n * r / (1 + r), n / (1 + r))):
        p, f, s = (np.tile(counts, (POINTS, 1)) for counts in (passed, failed, shape))
        curves.append(fit_signal_at(p, f, spectrum.edges, s, amounts, spectrum.window).deviance)
    return curves[0], curves[1]


def _any_efficiency(curve: Floats, top: float, relative: float) -> Floats:
    """The curve in N eff in place of S, nuisance parameter of the efficiency profiled."""
    amounts = np.linspace(0, top, POINTS)
    moved = amounts[:, None] * np.exp(relative * NUISANCE)
    return np.asarray((np.interp(moved, amounts, curve) + NUISANCE**2).min(axis=1))


def asymptotic_cls(q: Floats, q_asimov: Floats) -> Floats:
    """CLs of the test statistic q with the median q_asimov under background (arXiv:1007.1727, eqs. 65 and 66)."""
    root, root_a = np.sqrt(q), np.maximum(np.sqrt(q_asimov), 1e-12)
    beyond = q > q_asimov  # of the Asimov value: S_hat is negative, and the ratio is to L(0)
    with_signal = np.where(beyond, (q + q_asimov) / (2 * root_a), root)
    without = np.where(beyond, (q - q_asimov) / (2 * root_a), root - root_a)
    return np.asarray(np.exp(norm.logsf(with_signal) - norm.logsf(without)))


def cls_by_toys(
    spectrum: Spectrum, mass: float, signal: float, sigma: float = SIGMA, n_toys: int = 2000, seed: int = 1
) -> float:
    """CLs of `signal` passing events, both probabilities from pseudo-experiments of the hypothesis fitted to data."""
    shape, edges, window = signal_shape(spectrum.edges, mass, sigma), spectrum.edges, spectrum.window
    rng = np.random.default_rng(seed)
    pair = spectrum.passed[None], spectrum.failed[None]
    seen = _statistic(*pair, edges, window, shape, signal)[0]
    tails = []
    for amount in (signal, 0.0):
        a = fit_signal_at(*pair, edges, shape[None], np.array([amount]), window).coefficients
        r = transfer(a, make_basis(edges, window))[0]
        b = profiled_background(spectrum.passed, spectrum.failed, r, amount * shape)
        passed, failed = rng.poisson(r * b + amount * shape, (n_toys, len(b))), rng.poisson(b, (n_toys, len(b)))
        q = _statistic(passed.astype(float), failed.astype(float), edges, window, shape, signal)
        tails.append((1 + (q >= seen - 1e-9).sum()) / (1 + n_toys))
    return float(tails[0] / tails[1])


def _statistic(passed: Floats, failed: Floats, edges: Floats, window: Window, shape: Floats, signal: float) -> Floats:
    """q(signal) of each of T pairs of spectra (T, n)."""
    shapes = np.broadcast_to(shape, passed.shape)
    fixed = fit_signal_at(passed, failed, edges, shapes, np.full(len(passed), signal), window).deviance
    free = fit_signal_at(passed, failed, edges, shapes, window=window)
    none = fit_background(passed, failed, edges, window).deviance
    best = np.where(free.signal < 0, none, free.deviance)
    return np.where(free.signal > signal, 0.0, np.maximum(fixed - best, 0.0))
