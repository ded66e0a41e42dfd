"""Upper limits on the yield of a narrow resonance on a smooth background, observed and expected.

Lambda(S) is the smallest -2 log L + (number of parameters) of all background functions that come close, for a yield S
that is held fixed; the CLs limit follows from it as in `tools/cls.py`. The Asimov data set is the best fit without
signal; where a window is blind it is that of the bins beside it, continued into the window.

Systematic errors are profiled. With a relative error e of the efficiency and b of the background under the peak, where
B events are expected, the peak has s = S (1 + e eta_1) + b B eta_2 events, eta_k ~ N(0, 1), so that

    Lambda'(S) = min over s of { Lambda(s) + (s - S)^2 / ((e S)^2 + (b B)^2) };

with a relative error d of the mass scale the peak lies at m (1 + d eta_3), and eta_3^2 is added.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from tools.cls import expected_limits, observed_limit
from tools.spectrum.background import Candidate
from tools.spectrum.filled import Counts
from tools.spectrum.shapes import Bins, Name, resonance
from tools.spectrum.stack import fit_stack
from tools.types import Floats

POINTS, FINE = 20, 401  # yields at which functions are fitted, and between which Lambda is interpolated
SHIFTS = (-2.0, -1.0, 0.0, 1.0, 2.0)  # of the mass scale, in its errors
CORE = 2.0  # widths on either side of a mass that count as under the peak


class Errors(NamedTuple):
    """Relative systematic errors."""

    efficiency: float = 0.0
    background: float = 0.0  # of the background under the peak
    scale: float = 0.0  # of the masses


class Peak(NamedTuple):
    """A resonance that is tested; `width` is relative."""

    mass: float
    width: float
    shape: Name = "gaussian"


class Limit(NamedTuple):
    """Limits on the yield, in units of weight: observed, None if nobody looked, and expected at -2 to 2 sigma."""

    observed: float | None
    expected: tuple[float, ...]
    background: float  # under the peak, which it covers CORE widths on either side


def upper_limit(
    data: Counts, seen: Counts, fits: Sequence[Candidate], peak: Peak, errors: Errors, level: float
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
    spread = float(np.hypot(1 / np.sqrt(max(np.sum(shape**2 / asimov), 1e-12)), errors.background * under))
    top = 6 * spread + 6
    while True:
        coarse, fine = np.linspace(0.0, top, POINTS), np.linspace(0.0, top, FINE)
        expected = _profiled(asimov, data.bins, fits, peak, errors, coarse, fine, under)
        bands, observed = expected_limits(fine, expected, level), None
        if open_:
            curve = _profiled(data.counts, data.bins, fits, peak, errors, coarse, fine, under)
            observed = observed_limit(fine, curve, expected, float(fine[curve.argmin()]), level)
        if bands is not None and (observed is not None or not open_):
            return Limit(observed, bands, under)
        top *= 2


def _profiled(
    counts: Floats,
    bins: Bins,
    fits: Sequence[Candidate],
    peak: Peak,
    errors: Errors,
    coarse: Floats,
    fine: Floats,
    under: float,
) -> Floats:
    """Return Lambda' at the yields `fine`, from fits at the yields `coarse`."""
    from scipy.interpolate import CubicSpline  # slow to import

    curves = []
    for shift in SHIFTS if errors.scale else (0.0,):
        shape = resonance(bins, peak.mass * (1 + shift * errors.scale), peak.width, peak.shape)
        curves.append(CubicSpline(coarse, lambdas(counts, fits, shape, coarse))(fine) + shift**2)
    curve = np.asarray(np.min(curves, axis=0))
    variance = (errors.efficiency * fine) ** 2 + (errors.background * under) ** 2
    if not variance.any():
        return curve
    away = (fine - fine[:, None]) ** 2 / np.maximum(variance, 1e-12)[:, None]
    return np.asarray((curve + away).min(axis=1))


def lambdas(counts: Floats, fits: Sequence[Candidate], shape: Floats, amounts: Floats) -> Floats:
    """Return Lambda (a,) of counts (n,) with yields `amounts` (a,) of a resonance, at its best function each."""
    several, added = np.broadcast_to(counts, (len(amounts), len(counts))), amounts[:, None] * shape
    each = [fit_stack(several, function, fit.parameters, added=added).penalised for function, fit in fits]
    return np.asarray(np.min(each, axis=0))
