"""How smooth the background behind a cut is, and how well a smooth fit knows it: from the events beside the window.

The window may hold a signal, whose tails would pass for what a smooth fit misses: the window's bins are left out, and
those within `reach` of the largest bump in it; beyond, what this bump is fitted to be is subtracted. The degree of the
transfer factor is the lowest, from DEGREES[0] on, that one degree more does not improve significantly (F-test for known
variances: the fall of -2 log L is chi2 with one degree of freedom, below LEVEL), where there are events enough. What a
polynomial of that degree misses is looked for with the signal's own shape: bumps of all tested widths are fitted at
decoy masses beside the window, and delta is the spread of their sizes, over the background under the peak, that
statistics do not explain (Paule and Mandel), no less than FLOOR.

FLOOR is what no sideband can show: a classifier is trained on the window, and where its template fails to close the
window's events pass more often. Behind scores of eleven quick CATHODEs on signal-free events, each with its own window,
the window's count had a spread around the smooth fit of 10% (background efficiency 1e-2), 16% (3e-3) and 0% (1e-3)
that statistics do not explain; the template's own prediction was off by 23, 49 and 107%.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from scipy.stats import chi2

from tools.bumphunt.counting import unexplained
from tools.bumphunt.fit import scan_spectrum
from tools.bumphunt.profile import fit_background, fit_signal_at, make_basis, transfer, under_peak
from tools.bumphunt.spectrum import Hypotheses, Spectrum, one
from tools.types import Floats

DEGREES = (2, 3, 4)
LEVEL = 0.05
ENOUGH = 100  # passing events for each degree: fewer can be followed to the bin by an exponential of a polynomial
FLOOR = 0.1
APART = 2.5  # widths between decoys
LEAST = 1.0  # background events under a decoy for it to tell anything
CLEAR = 1.5  # widths between a decoy and the window or the end of the spectrum
NEAR, REACH = 0.1, 3.0  # relative, and in widths of the resonance: how far from its mass its tails may reach


def reach(width: float) -> float:
    """How far, over its mass, a resonance of this relative width and its tails may reach."""
    return max(NEAR, REACH * width)


def zone(window: tuple[float, float], mass: float, width: float) -> tuple[float, float]:
    """What may hold signal, TeV: the window, and a resonance in it with its tails."""
    return min(window[0], mass * (1 - reach(width))), max(window[1], mass * (1 + reach(width)))


def known(spectrum: Spectrum, window: tuple[float, float], tested: Hypotheses) -> Spectrum:
    """The same spectrum with `degree` and `delta` as its bins beside `window` [TeV] tell, for these widths."""
    edges, centres = spectrum.edges, spectrum.centres
    z, signal = scan_spectrum(spectrum, tested)
    at = int(np.argmax(z))
    mass, width = float(tested.masses[at]), float(tested.widths[at])
    low, high = zone(window, mass, width)
    beside = (centres < low) | (centres >= high)
    tails = max(float(signal[at]), 0.0) * one(mass, width).shapes(edges)[0]
    passed, failed = np.maximum(spectrum.passed - tails, 0.0) * beside, spectrum.failed * beside
    degree = choose_degree(passed, failed, edges)
    delta = spurious(passed, failed, edges, degree, decoys(edges, (low, high), tested))
    return replace(spectrum, degree=degree, delta=delta)


def choose_degree(passed: Floats, failed: Floats, edges: Floats, degrees: Sequence[int] = DEGREES) -> int:
    """The lowest of the degrees that describes these counts (n,) as well as the next; with ENOUGH events for each."""
    most = max(degrees[0], min(degrees[-1], int(passed.sum() / ENOUGH)))
    for degree in range(degrees[0], most):
        now, more = (
            fit_background(passed[None], failed[None], make_basis(edges, d)).deviance[0] for d in (degree, degree + 1)
        )
        if now - more < chi2.isf(LEVEL, 1):
            return degree
    return most


def decoys(edges: Floats, window: tuple[float, float], tested: Hypotheses) -> Hypotheses:
    """Resonances of the tested widths beside the window, APART widths from each other and CLEAR of all ends."""
    masses, widths = [], []
    for width in np.unique(tested.widths):
        for low, high in ((edges[0], window[0]), (window[1], edges[-1])):
            low, high = low * (1 + CLEAR * width), high * (1 - CLEAR * width)
            if low < high:
                grid = np.geomspace(low, high, 1 + int(np.log(high / low) / (APART * width)))
                masses.append(grid)
                widths.append(np.full(len(grid), width))
    return Hypotheses(np.concatenate(masses or [np.empty(0)]), np.concatenate(widths or [np.empty(0)]))


def spurious(passed: Floats, failed: Floats, edges: Floats, degree: int, tested: Hypotheses) -> float:
    """delta: the spread of the bumps fitted where none is, over the background under them; FLOOR where none can be."""
    if len(tested) == 0:
        return FLOOR
    shape, basis = tested.shapes(edges), make_basis(edges, degree)
    pair = passed[None], failed[None]
    under = under_peak(*pair, transfer(fit_background(*pair, basis).coefficients, basis), shape)
    found = fit_signal_at(*pair, basis, shape)
    told = under >= LEAST
    if not told.any():
        return FLOOR
    under, error = under[told], np.maximum(found.error[told], np.sqrt(under[told]))
    return max(FLOOR, unexplained(found.signal[told] / under, error / under))
