"""Upper limits on the yield of a narrow resonance on a smooth background, observed and expected.

Lambda(S) is the smallest -2 log L + (number of parameters) of all background functions that come close, for a yield S
that is held fixed; the CLs limit follows from it as in `tools/cls.py`. The Asimov data set is the best fit without
signal; where a window is blind it is that of the bins beside it, continued into the window.

Nuisances (`tools/nuisances.py`) move the peak, and a background that is wrong under it adds to it: `peak.py`. They
float in every fit of Lambda(S), each with eta^2 besides. The significance is z^2 = Lambda(0) - min Lambda(S), for an
excess of the tested width at the tested mass, or as near as the nuisances allow.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from tools.cls import expected_limits, observed_limit
from tools.nuisances import Effects, Nuisance, background_error
from tools.spectrum.background import Candidate
from tools.spectrum.filled import Counts
from tools.spectrum.peak import Moved, Peak
from tools.spectrum.shapes import resonance
from tools.spectrum.stack import fit_stack
from tools.types import Floats

POINTS, FINE = 20, 401  # yields at which functions are fitted, and between which Lambda is interpolated
SIDES = (-1.5, 0.0, 1.5)  # errors of the mass at which fits start: a strong peak nearby is another minimum
CORE = 2.0  # widths on either side of a mass that count as under the peak


class Limit(NamedTuple):
    """Limits on the yield, in units of weight: observed, None if nobody looked, and expected at -2 to 2 sigma."""

    observed: float | None
    expected: tuple[float, ...]
    background: float  # under the peak, which it covers CORE widths on either side
    z: float | None  # significance of an excess, 0 for a deficit; None if nobody looked


def upper_limit(
    data: Counts, seen: Counts, fits: Sequence[Candidate], peak: Peak, nuisances: Sequence[Nuisance], level: float
) -> Limit:
    """Return the limit on a resonance at a mass.

    `data`: all bins; `seen`: those of them that are not blind; `fits`: of the close functions of all bins to `seen`
    without signal, the best first. Nothing is observed unless all bins are seen.
    """
    best, open_ = fits[0], len(seen.counts) == len(data.counts)
    asimov = best.function.smooth(best.fit.parameters)
    core = np.abs(data.bins.centres / peak.mass - 1) < CORE * peak.width
    under = float((asimov / data.bins.per)[core].sum())
    shape = resonance(data.bins, peak.mass, peak.width, peak.shape)
    spread = float(np.hypot(1 / np.sqrt(max(np.sum(shape**2 / asimov), 1e-12)), background_error(nuisances) * under))
    top = 6 * spread + 6
    effects = Effects.of(nuisances)
    while True:
        coarse, fine = np.linspace(0.0, top, POINTS), np.linspace(0.0, top, FINE)
        moved = Moved(data.bins, peak, coarse, effects, under)
        expected = _between(coarse, lambdas(asimov, fits, moved), fine)
        bands, observed, z = expected_limits(fine, expected, level), None, None
        if open_:
            curve = _between(coarse, lambdas(data.counts, fits, moved), fine)
            observed = observed_limit(fine, curve, expected, float(fine[curve.argmin()]), level)
            z = float(np.sqrt(curve[0] - curve.min()))
        if bands is not None and (observed is not None or not open_):
            return Limit(observed, bands, under, z)
        top *= 2


def _between(coarse: Floats, values: Floats, fine: Floats) -> Floats:
    from scipy.interpolate import CubicSpline  # slow to import

    return np.asarray(CubicSpline(coarse, values)(fine))


def lambdas(counts: Floats, fits: Sequence[Candidate], peak: Moved) -> Floats:
    """Return Lambda (a,) of counts (n,) with the yields (a,) of a peak, at its best function and nuisances each."""
    several = np.broadcast_to(counts, (len(peak.amounts), len(counts)))
    found = [
        fit_stack(several, function, np.append(fit.parameters, eta), peak=peak).penalised
        for function, fit in fits
        for eta in _starts(peak.effects, peak.peak.width)
    ]
    return np.asarray(np.min(found, axis=0))


def _starts(effects: Effects, width: float) -> list[Floats]:
    """Return the nuisances (K,) at which fits start: no change and, if the mass may move by more than a width, the
    likeliest that move it by SIDES: else a fit that starts in the middle finds its way."""
    by_mass = (effects.up - effects.down)[1] / 2
    size = float(np.linalg.norm(by_mass))
    return [side * by_mass / size for side in SIDES] if size > width else [np.zeros_like(by_mass)]
