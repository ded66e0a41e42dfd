"""What scores are worth: significance, mass and yield of a bump, for cuts at fixed background efficiencies.

Crew and harness call the same function, on the same file of scores: a claim can be checked to the digit.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

from tools.bumphunt.fit import Fit, fit_signal, scan_mass
from tools.bumphunt.spectrum import RANGE, SIGMA, Spectrum, histogram, make_edges

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Cut:
    """One cut: the spectra it gives, a scan over masses and the fit at the best of them."""

    efficiency: float
    spectrum: Spectrum
    masses: Floats
    z: Floats
    fit: Fit


def usable(efficiencies: list[float], mjj: Floats, window: tuple[float, float]) -> list[float]:
    """Those cuts that few events allow: each keeps 12 beside the window, two more than `threshold` asks for, so that
    it can be made on another half of the data as well. All of them where none does: `threshold` says why.
    """
    side = int(((mjj < window[0]) | (mjj >= window[1])).sum())
    return [efficiency for efficiency in efficiencies if efficiency * side >= 12] or efficiencies


def threshold(score: Floats, mjj: Floats, window: tuple[float, float], efficiency: float) -> float:
    """The score that keeps the fraction `efficiency` of the events beside the window: the background's efficiency.

    Raises ValueError when that is no fraction, or fewer than 10 sideband events would be kept.
    """
    if not 0 < efficiency < 1:
        raise ValueError(f"efficiency={efficiency} must lie between 0 and 1")
    side = score[(mjj < window[0]) | (mjj >= window[1])]
    kept = round(efficiency * len(side))
    if kept < 10:
        raise ValueError(f"efficiency={efficiency} keeps {kept} of {len(side)} sideband events; at least 10 are needed")
    return float(np.sort(side)[-kept])


def mass_grid(window: tuple[float, float]) -> Floats:
    """Masses to test inside a window, spaced by one mass resolution (relative sigma)."""
    n = max(2, 1 + round(np.log(window[1] / window[0]) / SIGMA))
    return np.asarray(np.geomspace(*window, n))


def measure(
    mjj: Floats,
    score: Floats,
    window: tuple[float, float],
    efficiency: float,
    mjj_range: tuple[float, float] = RANGE,
    masses: Floats | None = None,
) -> Cut:
    """Cut on the score, scan `masses` (default: all over the window) [TeV] and fit at the most significant one.

    The fit's mass, width and yield float; its significance and p-value are those of the scan, at fixed mass and
    width: the masses tried can be counted as trials, a floating width could not.
    """
    spectrum = histogram(mjj, score >= threshold(score, mjj, window, efficiency), make_edges(*mjj_range), window)
    masses = mass_grid(window) if masses is None else masses
    z, _ = scan_mass(spectrum, masses)
    best = int(np.argmax(z))
    fit = fit_signal(spectrum, float(masses[best]), window)
    fit = replace(fit, z=float(z[best]), p_value=float(norm.sf(z[best])))
    return Cut(efficiency, spectrum, masses, z, fit)
