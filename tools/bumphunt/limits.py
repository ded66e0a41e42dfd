"""Upper limits on the number of signal events, by the CLs method.

For a signal S of fixed mass and width, with the likelihood of `profile.py`, spurious signal included (`tools/cls.py`).
Asymptotic limits are too low where hardly any event is expected under the bump: `limit_by_toys` corrects that.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tools.bumphunt import profile
from tools.bumphunt.fit import spurious_error
from tools.bumphunt.profile import Tether
from tools.bumphunt.spectrum import Spectrum, one
from tools.cls import expected_limits, observed_limit
from tools.types import Floats

POINTS = 120  # in the likelihood scan
FEW = 10  # background-only toys that must have a q as large as the data, for CLs to be measured
LADDER = (0.8, 1.0, 1.25, 1.6)  # signals at which toys are thrown, over the asymptotic limit


@dataclass(frozen=True)
class Limit:
    """Upper limit on signal events at `level`: observed, and expected from background at -2, -1, 0, 1, 2 deviations."""

    observed: float
    expected: tuple[float, ...]
    level: float


def upper_limit(spectrum: Spectrum, mass: float, width: float, level: float = 0.95) -> Limit:
    """Return the limit on the passing signal of a resonance at `mass`.

    Raises ValueError for a level outside (0, 1).
    """
    if not 0 < level < 1:
        raise ValueError(f"level={level}: need 0 < level < 1")
    shape = spectrum.shapes(one(mass, width))
    tau, expected = spurious_error(spectrum, mass, width), _background(spectrum)
    best = profile.fit_signal_at(*spectrum.pair, spectrum.basis, shape)
    found, spread = max(float(best.signal[0]), 0.0), float(np.hypot(best.error[0], tau))
    top = found + 6 * spread + 6
    while True:
        amounts = np.linspace(0, top, POINTS)
        seen, asimov = (_curve(*counts, spectrum.basis, shape, tau, top) for counts in (spectrum.pair, expected))
        bands, observed = expected_limits(amounts, asimov, level), observed_limit(amounts, seen, asimov, found, level)
        if bands is not None and observed is not None:
            return Limit(observed, bands, level)
        top *= 2


def _background(spectrum: Spectrum) -> tuple[Floats, Floats]:
    """Return the background-only Asimov data set: (passing, failing) as expected by the fit without signal."""
    r = profile.transfer(profile.fit_background(*spectrum.pair, spectrum.basis).coefficients, spectrum.basis)
    n = sum(spectrum.pair)
    return n * r / (1 + r), n / (1 + r)


def _curve(passed: Floats, failed: Floats, basis: Floats, shape: Floats, tau: float, top: float) -> Floats:
    """Return -2 log L for POINTS signals from 0 to `top`, with a spurious signal around each."""
    held = Tether(np.linspace(0, top, POINTS), np.full(POINTS, tau))
    return profile.fit_signal_at(passed, failed, basis, shape, held).deviance


def limit_by_toys(
    spectrum: Spectrum, mass: float, width: float, level: float = 0.95, n_toys: int = 1000, seed: int = 1
) -> Limit:
    """Return `upper_limit`, with the observed limit moved to where pseudo-experiments give CLs = 1 - level.

    CLs is found at LADDER times the asymptotic limit, and at steps of 1.3 beyond, until it falls below 1 - level; its
    logarithm is interpolated. The expected limits are scaled by the same factor. Fewer than FEW background-only
    pseudo-experiments with a q as large as the data (a large deficit) leave CLs undetermined: the limit then stays
    asymptotic.
    """
    first = upper_limit(spectrum, mass, width, level=level)
    tried, found = [0.0], [1.0]
    while found[-1] > 1 - level:
        step = LADDER[len(tried) - 1] if len(tried) <= len(LADDER) else 1.3 * tried[-1]
        with_signal, without = tails_of_toys(spectrum, mass, width, step * first.observed, n_toys, seed)
        if without < FEW:
            return first
        tried.append(step)
        found.append((1 + with_signal) / (1 + without))
    share = np.log(found[-2] / (1 - level)) / np.log(found[-2] / found[-1])
    scale = tried[-2] + share * (tried[-1] - tried[-2])
    return Limit(float(scale * first.observed), tuple(float(scale * each) for each in first.expected), level)


def tails_of_toys(
    spectrum: Spectrum, mass: float, width: float, signal: float, n_toys: int = 2000, seed: int = 1
) -> tuple[int, int]:
    """Return how many of n_toys pseudo-experiments have a q as large as the data: (with `signal` events, without).

    They are drawn from each hypothesis as fitted to the data, every one with a new spurious signal and
    transfer factor.
    """
    shape, basis, pair = spectrum.shapes(one(mass, width)), spectrum.basis, spectrum.pair
    rng, tau = np.random.default_rng(seed), spurious_error(spectrum, mass, width)
    seen = _statistic(*pair, basis, shape, tau, signal)[0]
    tails = []
    for amount in (signal, 0.0):
        fixed = Tether(np.array([amount]), np.array([tau]))
        fitted = profile.fit_signal_at(*pair, basis, shape, fixed)
        r = profile.drawn(fitted, basis, rng.standard_normal((n_toys, basis.shape[1] - 1)))
        b = profile.profiled_background(*pair, r, fitted.signal[:, None] * shape)
        moved = amount + tau * rng.standard_normal((n_toys, 1))
        passed = rng.poisson(np.maximum(r * b + moved * shape, 0.0)).astype(np.float64)
        failed = rng.poisson(b).astype(np.float64)
        q = _statistic(passed, failed, basis, shape, tau, signal)
        tails.append(int((q >= seen - 1e-9).sum()))
    return tails[0], tails[1]


def _statistic(passed: Floats, failed: Floats, basis: Floats, shape: Floats, tau: float, signal: float) -> Floats:
    """Return q(signal) for each of T pairs of spectra (T, n)."""
    n = len(passed)

    def at(amount: float) -> Floats:
        return profile.fit_signal_at(passed, failed, basis, shape, Tether(np.full(n, amount), np.full(n, tau))).deviance

    free = profile.fit_signal_at(passed, failed, basis, shape)
    best = np.where(free.signal < 0, at(0.0), free.deviance)
    return np.where(free.signal > signal, 0.0, np.maximum(at(signal) - best, 0.0))
