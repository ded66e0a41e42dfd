"""How many signal events are in the data, not only behind a cut: fits in slices of the score.

The score range is cut into slices of background efficiency, loosest bound 30%. In each slice the
bump of known mass and width is fitted over the events below the loosest bound. What the slices hold
follows the signal's ROC curve, taken as binormal (Dorfman and Alf, J. Math. Psych. 6 (1969) 487),

    eff_S = Phi(a + b Phi^-1(eff_B)),

so that N, a and b are found together and the part below the loosest bound is extrapolated, not
forgotten. Data alone cannot tell N from a: a third of the signal looks like background. So a and b
have priors, from simulated A -> BC resonances searched for in this manner (a, b) = (0.93, 0.40),
(0.89, 0.38) at 3.5 TeV, (1.06, 0.38) at 3.0 TeV, and (0.46, 0.24) at 4.2 TeV, whose heavy daughters
reach out of their jets. The count depends on that; its error contains the width of the priors.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import least_squares
from scipy.stats import norm

from tools.bumphunt.fit import fit_amplitude
from tools.bumphunt.spectrum import RANGE, histogram, make_edges

Floats = NDArray[np.float64]
SLICES = np.array([1e-3, 3e-3, 1e-2, 3e-2, 0.1, 0.3])  # background efficiencies that bound the slices
OFFSET_PRIOR = (0.85, 0.30)  # mean and width of a Gaussian on a
SLOPE_PRIOR = (0.37, 0.08)  # the same on b: well below one, for signals have a tail of background-like events


@dataclass(frozen=True)
class Yield:
    """Signal events in the data, and what each slice holds."""

    n_signal: float
    error: float
    slices: Floats
    slice_errors: Floats
    chi2: float


def total_yield(
    mjj: Floats,
    score: Floats,
    window: tuple[float, float],
    mass: float,
    sigma: float,
    mjj_range: tuple[float, float] = RANGE,
) -> Yield:
    """Signal events in all of the data, for a bump of given mass [TeV] and relative width."""
    side = np.sort(score[(mjj < window[0]) | (mjj >= window[1])])[::-1]
    cuts = side[np.maximum(np.round(SLICES * len(side)).astype(int), 1) - 1]
    edges = make_edges(*mjj_range)
    below = score < cuts[-1]
    fitted = []
    for upper, lower in zip([np.inf, *cuts[:-1]], cuts, strict=True):
        within = (score >= lower) & (score < upper)
        used = within | below
        fitted.append(fit_amplitude(histogram(mjj[used], within[used], edges), mass, sigma))
    slices, errors = np.array(fitted).T
    n, error, chi2 = binormal_total(slices, errors)
    return Yield(n, error, slices, errors, chi2)


def binormal_total(slices: Floats, errors: Floats, against_all: bool = False) -> tuple[float, float, float]:
    """(N, its error, chi2) of the binormal curve through the excess in each slice of SLICES.

    Signal outside a slice also raises the background estimate there, and takes a share of the excess
    away: the signal below the loosest slice by default, all of it when the background is a reference
    scaled to all of the data (`against_all`).
    """
    width = np.diff(SLICES, prepend=0.0)
    errors = np.maximum(errors, 1.0)

    def residuals(p: Floats) -> Floats:
        n, a, b = p
        at = norm.cdf(a + b * norm.ppf(SLICES))
        shared = width if against_all else width / (1 - SLICES[-1]) * (1 - at[-1])
        pulls = (n * (np.diff(at, prepend=0.0) - shared) - slices) / errors
        priors = [(a - OFFSET_PRIOR[0]) / OFFSET_PRIOR[1], (b - SLOPE_PRIOR[0]) / SLOPE_PRIOR[1]]
        return np.append(pulls, priors)

    start = [max(slices.sum(), 1.0), OFFSET_PRIOR[0], SLOPE_PRIOR[0]]
    found = least_squares(residuals, start, bounds=([0.0, -3.0, 0.01], [1e6, 6.0, 2.0]), x_scale=[start[0], 1.0, 0.3])
    covariance = np.linalg.pinv(found.jac.T @ found.jac)
    return float(found.x[0]), float(np.sqrt(covariance[0, 0])), float(2 * found.cost)
