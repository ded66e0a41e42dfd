"""Significance, mass, width and yield of a bump after cuts on the scores at fixed background efficiencies.

Crew and harness call the same function on the same file of scores, so a claim can be checked to the digit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from tools.bumphunt.background import known
from tools.bumphunt.fit import Fit, fit_signal, scan_spectrum
from tools.bumphunt.spectrum import RANGE, Hypotheses, Spectrum, histogram, hypotheses, make_edges
from tools.events.weights import effective, of_rows
from tools.normal import p_value
from tools.types import Floats


@dataclass(frozen=True)
class Cut:
    """One cut: its spectra, the significance of every resonance tested and the fit at the best of them."""

    efficiency: float
    spectrum: Spectrum
    tested: Hypotheses
    z: Floats
    fit: Fit


def most_significant(cuts: Sequence[Cut]) -> int:
    """Return the index of the cut with the most significant bump."""
    return int(np.argmax([cut.fit.z for cut in cuts]))


def usable(
    efficiencies: list[float],
    mjj: Floats,
    window: tuple[float, float],
    score: Floats | None = None,
    weight: Floats | None = None,
) -> list[float]:
    """Return the efficiencies that keep at least 12 sideband events: two more than `threshold` requires, so that cuts
    also work on another half of the data. If none does, return all of them, and `threshold` raises the error.
    Weighted events (n,) count by the effective number of those that pass the cut on their score.
    """
    beside = (mjj < window[0]) | (mjj >= window[1])
    if score is None or weight is None:
        return [efficiency for efficiency in efficiencies if efficiency * beside.sum() >= 12] or efficiencies
    kept = {efficiency: _behind(score[beside], weight[beside], efficiency)[1] for efficiency in efficiencies}
    return [efficiency for efficiency in efficiencies if kept[efficiency] >= 12] or efficiencies


def threshold(
    score: Floats, mjj: Floats, window: tuple[float, float], efficiency: float, weight: Floats | None = None
) -> float:
    """Return the score that keeps the fraction `efficiency` of the sideband events, or of their sum of weights: the
    background efficiency.

    Raises ValueError when it is not between 0 and 1 or would keep fewer than 10 (effective) sideband events.
    """
    if not 0 < efficiency < 1:
        raise ValueError(f"efficiency={efficiency} must lie between 0 and 1")
    beside = (mjj < window[0]) | (mjj >= window[1])
    cut, kept = _behind(score[beside], of_rows(weight, beside), efficiency)
    if kept < 10:
        n = int(beside.sum())
        raise ValueError(f"efficiency={efficiency} keeps {kept:.3g} of {n} sideband events; at least 10 are needed")
    return cut


def _behind(side: Floats, weight: Floats | None, efficiency: float) -> tuple[float, float]:
    """Return the score that keeps a fraction of the sideband events, and how many (effective) events that are."""
    if weight is None:
        kept = round(efficiency * len(side))
        return float(np.sort(side)[-max(kept, 1)]), kept
    order = np.argsort(-side)
    sums = np.cumsum(weight[order])
    at = min(int(np.searchsorted(sums, efficiency * sums[-1])), len(order) - 1)
    return float(side[order[at]]), effective(weight[order[: at + 1]])


def measure(
    mjj: Floats,
    score: Floats,
    window: tuple[float, float],
    efficiency: float,
    fit_range: tuple[float, float] = RANGE,
    tested: Hypotheses | None = None,
    width: float | None = None,
    weight: Floats | None = None,
) -> Cut:
    """Cut on the score, test resonances (default: `hypotheses` across the window) and fit one.

    The fit averages over mass, yield and, unless `width` gives it, width. Significance and p-value are those of the
    best hypothesis, because hypotheses can be counted as trials and averages cannot.
    """
    tested = hypotheses(*window, width) if tested is None else tested
    passed = score >= threshold(score, mjj, window, efficiency, weight)
    spectrum = known(histogram(mjj, passed, make_edges(*fit_range), weight=weight), window, tested)
    return fitted(efficiency, spectrum, tested, window, width)


def fitted(
    efficiency: float, spectrum: Spectrum, tested: Hypotheses, masses: tuple[float, float], width: float | None = None
) -> Cut:
    """Test every hypothesis, and fit with the mass within `masses`, at this width if it is known."""
    z, _ = scan_spectrum(spectrum, tested)
    best = int(np.argmax(z))
    fit = fit_signal(spectrum, masses, width)
    return Cut(efficiency, spectrum, tested, z, replace(fit, z=float(z[best]), p_value=p_value(z[best])))
