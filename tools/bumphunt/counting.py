"""Significance of a count over a background with an uncertainty: cut and count in a window, no fit in mjj.

With the fraction eps of a background template above the cut, and N events in the window,

    b = eps N,   sigma = b sqrt(1 / n_template + delta**2),

where n_template is the number of template events kept and delta the closure error of templates: the spread of
n / b - 1 in signal-free data that statistics do not explain.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import xlogy

from tools.normal import p_value
from tools.types import Floats


@dataclass(frozen=True)
class Count:
    """Number of events above a cut and the template's prediction; the p-value is local and one-sided."""

    cut: float
    n: int
    background: float
    error: float
    n_template: int
    z: float
    p_value: float


def count(data: Floats, template: Floats, efficiency: float, delta: float) -> Count:
    """Count the data scores in the window above the cut that keeps a fraction `efficiency` of the template's.

    `delta` is relative. Raises ValueError when the cut keeps no template event or all of them, or delta is negative.
    """
    kept = round(efficiency * len(template))
    if not 1 <= kept < len(template) or not delta >= 0:
        raise ValueError(f"efficiency={efficiency} keeps {kept} of {len(template)} template events, delta={delta}")
    cut = float(np.sort(template)[-kept])
    n, n_template = int((data >= cut).sum()), int((template >= cut).sum())  # more than `kept` if scores tie
    background = n_template / len(template) * len(data)
    error = background * np.sqrt(1 / n_template + delta**2)
    z = significance(n, background, error)
    return Count(cut, n, background, float(error), n_template, z, p_value(z))


def closure_delta(n: Floats, background: Floats, n_template: Floats) -> float:
    """Return delta for signal-free counts n (K,), predictions b and n_template: the `unexplained` spread of n / b - 1.

    >>> round(closure_delta(np.array([1100.0, 900.0]), np.full(2, 1000.0), np.full(2, 1e9)) ** 2, 6)
    0.009
    """
    return unexplained(n / background - 1, np.sqrt(1 / background + 1 / n_template))


def unexplained(values: Floats, errors: Floats) -> float:
    """Return the spread around 0 of values (K,) that their errors do not explain; 0 if the errors explain it all.

    Solves sum_k values_k**2 / (errors_k**2 + delta**2) = K (Paule and Mandel, J. Res. Natl. Bur. Stand. 87 (1982)
    377, with the mean known to be 0).
    """
    from scipy.optimize import brentq  # slow to import

    def beyond(variance: float) -> float:
        return float((values**2 / (errors**2 + variance)).sum() - len(values))

    return 0.0 if beyond(0.0) <= 0 else float(np.sqrt(brentq(beyond, 0.0, (values**2).sum() + 1e-12)))


def sidak(p_value: float, trials: int) -> float:
    """Return the probability that the smallest of `trials` independent p-values is at most `p_value`.

    1 - (1 - p)**trials, without rounding a small p to 0:

    >>> round(sidak(0.01, 10), 6)
    0.095618
    """
    return float(-np.expm1(trials * np.log1p(-min(p_value, 1 - 1e-15))))


def significance(n: float, background: float, error: float) -> float:
    """Return the significance of one count (see `significances`).

    Raises ValueError unless n >= 0, background > 0 and error >= 0.

    >>> round(significance(120, 100, 0.0), 3), round(significance(120, 100, 20.0), 3), significance(100, 100, 5.0)
    (1.938, 0.846, 0.0)
    """
    if not (background > 0 and error >= 0 and n >= 0):
        raise ValueError(f"n={n}, background={background}, error={error}: need n >= 0, background > 0, error >= 0")
    return float(significances(np.array(n), np.array(background), np.array(error)))


def significances(n: Floats, background: Floats, error: Floats) -> Floats:
    """Return the Asimov-style significance of each n over b +- sigma, negative for a deficit.

    S**2 = 2 { n log[n (b + s2) / (b**2 + n s2)] - (b**2 / s2) log[1 + s2 (n - b) / (b (b + s2))] },  s2 = sigma**2
    (Cowan, "Discovery sensitivity for a counting experiment with background uncertainty", 2012, eq. 20,
    with n in place of s + b); for sigma -> 0 it tends to sqrt(2 (n log(n/b) - (n - b))).
    """
    b, exact = background, error**2 < 1e-9 * background
    s2 = np.where(exact, b, error**2)  # not used where `exact`: any finite number will do
    known = xlogy(n, n / b) - (n - b)
    unsure = xlogy(n, n * (b + s2) / (b**2 + n * s2)) - b**2 / s2 * np.log1p(s2 * (n - b) / (b * (b + s2)))
    return np.asarray(np.sign(n - b) * np.sqrt(np.maximum(2 * np.where(exact, known, unsure), 0.0)))
