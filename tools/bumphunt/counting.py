"""Significance of a count over a background known with an error: where there are no sidebands to fit."""

from __future__ import annotations

import numpy as np


def sidak(p_value: float, trials: int) -> float:
    """Chance that the smallest of `trials` independent p-values is at most `p_value`: 1 - (1 - p)**trials.

    >>> round(sidak(0.01, 10), 6)
    0.095618
    """
    return float(-np.expm1(trials * np.log1p(-min(p_value, 1 - 1e-15))))


def significance(n: float, background: float, error: float) -> float:
    """Asimov-style significance of n over b +- sigma, negative for a deficit.

    S**2 = 2 { n log[n (b + s2) / (b**2 + n s2)] - (b**2 / s2) log[1 + s2 (n - b) / (b (b + s2))] },  s2 = sigma**2
    (Cowan, "Discovery sensitivity for a counting experiment with background uncertainty", 2012, eq. 20,
    with n in place of s + b); for sigma -> 0 it tends to sqrt(2 (n log(n/b) - (n - b))).

    >>> round(significance(120, 100, 0.0), 3), round(significance(120, 100, 20.0), 3), significance(100, 100, 5.0)
    (1.938, 0.846, 0.0)
    """
    if not (background > 0 and error >= 0 and n >= 0):
        raise ValueError(f"n={n}, background={background}, error={error}: need n >= 0, background > 0, error >= 0")
    b, s2 = background, error**2
    if n == 0:
        squared = 2 * (b if s2 == 0 else (b**2 / s2) * np.log1p(s2 / b))
    elif s2 < 1e-9 * b:
        squared = 2 * (n * np.log(n / b) - (n - b))
    else:
        squared = 2 * (
            n * np.log(n * (b + s2) / (b**2 + n * s2)) - (b**2 / s2) * np.log1p(s2 * (n - b) / (b * (b + s2)))
        )
    return float(np.sign(n - b) * np.sqrt(max(squared, 0.0)))
