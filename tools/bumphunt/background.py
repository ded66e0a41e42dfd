"""Smoothness of the background after a cut and its uncertainty in a smooth fit, both measured outside the window.

The window may hold a signal, whose tails would look like a failure of the smooth fit. The window's bins are therefore
left out, as are those within `reach` of the largest bump in it; farther out, the fitted tails of this bump are
subtracted. The transfer factor gets the lowest degree, from DEGREES[0] on, that one degree more does not improve
significantly (F-test for known variances: the drop in -2 log L follows a chi2 with one degree of freedom; significant
means p < LEVEL), if there are enough events. The signal's own shape probes what a polynomial of that degree misses:
bumps of all tested widths are fitted at decoy masses outside the window. delta is the spread of their yields, relative
to the background under the peak, that statistics do not explain (Paule and Mandel), but at least FLOOR.

FLOOR covers what no sideband can show: the classifier is trained on the window, and where its template fails to close,
more of the window's events pass. For eleven quick CATHODEs on signal-free events, each with its own window, the count
in the window scattered around the smooth fit by 10% (background efficiency 1e-2), 16% (3e-3) and 0% (1e-3) beyond
statistics; the template's own prediction was off by 23, 49 and 107%.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from scipy.special import chdtri

from tools.bumphunt.counting import unexplained
from tools.bumphunt.fit import scan_spectrum
from tools.bumphunt.profile import fit_background, fit_signal_at, make_basis, transfer, under_peak
from tools.bumphunt.spectrum import Hypotheses, Spectrum, one
from tools.types import Floats

DEGREES = (2, 3, 4)
LEVEL = 0.05
ENOUGH = 100  # passing events per degree: with fewer, an exponential of a polynomial can follow single bins
FLOOR = 0.1
APART = 2.5  # widths between decoys
LEAST = 1.0  # background events under a decoy that make it informative
CLEAR = 1.5  # widths between a decoy and the window or the end of the spectrum
NEAR, REACH = 0.1, 3.0  # reach of a resonance's tails: relative to its mass, and in widths; the larger counts


def reach(width: float) -> float:
    """Return the relative distance from its mass that the tails of a resonance of this relative width may reach."""
    return max(NEAR, REACH * width)


def zone(window: tuple[float, float], mass: float, width: float) -> tuple[float, float]:
    """Return the mjj range that may hold signal: the window, extended by the tails of a resonance in it."""
    return min(window[0], mass * (1 - reach(width))), max(window[1], mass * (1 + reach(width)))


def known(spectrum: Spectrum, window: tuple[float, float], tested: Hypotheses) -> Spectrum:
    """Return the spectrum with `degree` and `delta` measured in its bins outside `window`, for these widths."""
    edges, centres = spectrum.edges, spectrum.centres
    z, signal = scan_spectrum(spectrum, tested)
    at = int(np.argmax(z))
    mass, width = float(tested.masses[at]), float(tested.widths[at])
    low, high = zone(window, mass, width)
    beside = (centres < low) | (centres >= high)
    tails = max(float(signal[at]), 0.0) * spectrum.shapes(one(mass, width))[0]
    passed, failed = np.maximum(spectrum.passed - tails, 0.0) * beside, spectrum.failed * beside
    degree = choose_degree(passed, failed, edges)
    probes = decoys(edges, (low, high), tested)
    delta = spurious(passed, failed, make_basis(edges, degree), probes.shapes(edges) * spectrum.seen)
    return replace(spectrum, degree=degree, delta=delta)


def choose_degree(passed: Floats, failed: Floats, edges: Floats, degrees: Sequence[int] = DEGREES) -> int:
    """Return the lowest degree that describes the counts (n,) as well as the next one, with ENOUGH events per degree.

    With too few events for any other, that is degrees[0].
    """
    most = max(degrees[0], min(degrees[-1], int(passed.sum() / ENOUGH)))
    for degree in range(degrees[0], most):
        now, more = (
            fit_background(passed[None], failed[None], make_basis(edges, d)).deviance[0] for d in (degree, degree + 1)
        )
        if now - more < chdtri(1, LEVEL):
            return degree
    return most


def decoys(edges: Floats, window: tuple[float, float], tested: Hypotheses) -> Hypotheses:
    """Return resonances of the tested widths outside the window, APART widths from each other, CLEAR of all edges."""
    masses, widths = [], []
    for width in np.unique(tested.widths):
        for low, high in ((edges[0], window[0]), (window[1], edges[-1])):
            low, high = low * (1 + CLEAR * width), high * (1 - CLEAR * width)
            if low < high:
                grid = np.geomspace(low, high, 1 + int(np.log(high / low) / (APART * width)))
                masses.append(grid)
                widths.append(np.full(len(grid), width))
    return Hypotheses(np.concatenate(masses or [np.empty(0)]), np.concatenate(widths or [np.empty(0)]))


def spurious(passed: Floats, failed: Floats, basis: Floats, shape: Floats) -> float:
    """Return delta: the unexplained spread of the bumps of these shapes (H, n), where there is no signal, relative to
    the background under them; FLOOR if no bump can be fitted.
    """
    if len(shape) == 0:
        return FLOOR
    pair = passed[None], failed[None]
    under = under_peak(*pair, transfer(fit_background(*pair, basis).coefficients, basis), shape)
    found = fit_signal_at(*pair, basis, shape)
    told = under >= LEAST
    if not told.any():
        return FLOOR
    under, error = under[told], np.maximum(found.error[told], np.sqrt(under[told]))
    return max(FLOOR, unexplained(found.signal[told] / under, error / under))
