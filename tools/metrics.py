"""Figures of merit from scores alone: AUC, significance improvement (SIC), ARGOS, bootstrap errors.

A higher score always means more signal-like.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from tools.types import Floats


def auc(signal: Floats, background: Floats) -> float:
    """Return P(signal score > background score) + P(equal)/2, the Mann-Whitney statistic; 0.5 for random scores.

    >>> auc(np.array([3.0, 4.0]), np.array([1.0, 2.0]))
    1.0
    >>> auc(np.array([1.0]), np.array([1.0]))
    0.5
    """
    _need(signal, background)
    ordered = np.sort(background)
    below = np.searchsorted(ordered, signal, "left")
    not_above = np.searchsorted(ordered, signal, "right")
    return float((below + not_above).mean() / (2 * len(ordered)))


def auc_error(value: float, n_signal: int, n_background: int) -> float:
    """Return the standard error of an AUC (Hanley and McNeil, Radiology 143 (1982) 29, eq. 2)."""
    q1, q2 = value / (2 - value), 2 * value**2 / (1 + value)
    spread = value * (1 - value) + (n_signal - 1) * (q1 - value**2) + (n_background - 1) * (q2 - value**2)
    return float(np.sqrt(max(spread, 0.0) / (n_signal * n_background)))


def efficiencies(signal: Floats, background: Floats) -> tuple[Floats, Floats, NDArray[np.int64]]:
    """Return signal and background efficiency and the number of background events kept for every cut `score >= t`,
    tightest first.
    """
    _need(signal, background)
    cuts = np.unique(np.concatenate([signal, background]))[::-1]
    kept_s = len(signal) - np.searchsorted(np.sort(signal), cuts, "left")
    kept_b = len(background) - np.searchsorted(np.sort(background), cuts, "left")
    return kept_s / len(signal), kept_b / len(background), kept_b.astype(np.int64)


def max_sic(signal: Floats, background: Floats, min_background: int) -> float:
    """Return the largest SIC = eff_S / sqrt(eff_B) over all cuts that keep at least `min_background` background events.

    The result depends on this minimum: without it, the maximum would lie in the noise of the last events.
    """
    eff_s, eff_b, kept = efficiencies(signal, background)
    allowed = kept >= min_background
    if not allowed.any():
        raise ValueError(f"min_background={min_background}: only {len(background)} background events")
    return float(np.max(eff_s[allowed] / np.sqrt(eff_b[allowed])))


def sic_at(signal: Floats, background: Floats, background_efficiency: float) -> float:
    """Return the SIC at the cut that keeps the fraction `background_efficiency` of the background.

    >>> round(sic_at(np.linspace(0, 1, 10001), np.linspace(0, 1, 10001), 0.01), 2)
    0.1
    """
    _need(signal, background)
    kept = round(background_efficiency * len(background))
    if kept < 1:
        raise ValueError(f"background_efficiency={background_efficiency} keeps no event of {len(background)}")
    cut = np.sort(background)[-kept]
    return float((signal >= cut).mean() / np.sqrt((background >= cut).mean()))


def argos(data: Floats, template: Floats, min_template: int = 1) -> float:
    """Return the label-free metric of ARGOS (arXiv:2511.14832): max over cuts of eff_SR / sqrt(eff_BT) - sqrt(eff_BT).

    `data`: scores of signal-region data, `template`: of the background template, both held out
    from training. Cuts that keep fewer than `min_template` template events are left out.

    >>> argos(np.array([1.0, 1.0, 3.0, 3.0]), np.array([1.0, 1.0, 1.0, 3.0]))
    0.5
    """
    eff_data, eff_template, kept = efficiencies(data, template)
    allowed = kept >= max(1, min_template)
    if not allowed.any():
        raise ValueError(f"min_template={min_template}: only {len(template)} template events")
    root = np.sqrt(eff_template[allowed])
    return float(np.max(eff_data[allowed] / root - root))


def bootstraps(metric: Callable[[Floats, Floats], float], a: Floats, b: Floats, seed: int, n: int = 50) -> list[float]:
    """Return `metric(a, b)` for `n` resamplings of both samples with replacement.

    For samples of the same lengths, the same seed draws the same rows.
    """
    rng = np.random.default_rng(seed)
    return [metric(a[rng.integers(0, len(a), len(a))], b[rng.integers(0, len(b), len(b))]) for _ in range(n)]


def bootstrap_error(metric: Callable[[Floats, Floats], float], a: Floats, b: Floats, seed: int, n: int = 50) -> float:
    """Return the standard deviation of `metric(a, b)` over `n` resamplings of both samples with replacement."""
    return float(np.std(bootstraps(metric, a, b, seed, n), ddof=1))


def _need(signal: Floats, background: Floats) -> None:
    for name, values in (("signal", signal), ("background", background)):
        if len(values) == 0 or not np.all(np.isfinite(values)):
            raise ValueError(f"{name}: needs at least one event and only finite scores")
