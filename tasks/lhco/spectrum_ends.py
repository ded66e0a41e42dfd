"""Which part of a mass spectrum can be searched: from above its turn-on to where events run out.

Thresholds of a trigger or a selection make a spectrum rise before it falls. There the features change with the mass as
quickly as they would at a resonance, and no template can be interpolated, so these events are left out. In bins of a
window's width and with densities d_j +- e_j (events per unit of mass), the turn-on ends above the last bin that a
later one exceeds,

    d_k - d_j > RISES sqrt(e_j**2 + e_k**2),   k > j,

and MARGIN bins further. It must rise by a factor of LARGE, so that no resonance is taken for a turn-on. Events in a
window that was chosen beforehand, or at a known resonance, decide nothing: neither its sidebands nor the range of the
fit follow from them.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import takewhile

import numpy as np

from tasks.lhco.known import beside, windows
from tools.anomaly.data import MIN_EVENTS
from tools.bumphunt.scan import WIDEST
from tools.events.weights import of_rows
from tools.types import Floats

Range = tuple[float, float]
BIN = 0.085  # relative width
RISES, LARGE, MARGIN = 5.0, 1.5, 1
OUTER = 1e-3  # fraction of the events at the low end that may be stray
LAST = 10  # events above the range
BELOW, ABOVE = 1.12, 1.16  # ratio of the edges of fit and search: of 2.4 to 2.7 TeV and 5.5 to 6.4 TeV in dijets
SPARE = 1.2  # times the events that a window needs, so that half of the data have them too
MOST = 200  # bins
WIDE = 0.99 * WIDEST  # ratio of the edges of a fit, before they are rounded


def turn_on(mass: Floats, weight: Floats | None = None, unseen: Sequence[Range] = ()) -> tuple[float, bool]:
    """Return the mass above which the spectrum falls, and whether it rises below; events (n,) may have weights.

    `unseen`: masses that say nothing.
    """
    low, high = np.quantile(mass, OUTER), np.nextafter(mass.max(), np.inf)
    edges = np.geomspace(low, high, 2 + min(MOST, int(np.log(high / low) / BIN)))
    each, widths = np.ones(len(mass)) if weight is None else weight, np.diff(edges)
    sums, squares = (np.histogram(mass, edges, weights=each**k)[0] for k in (1, 2))
    density, variance = sums / widths, np.maximum(squares, (each**2).mean()) / widths**2
    rises = density[None] - density[:, None] > RISES * np.sqrt(variance[None] + variance[:, None])
    rises &= density[None] > LARGE * density[:, None]
    for low_edge, high_edge in unseen:
        hole = (edges[1:] > low_edge) & (edges[:-1] < high_edge)
        rises &= ~hole[:, None] & ~hole[None]
    before = np.flatnonzero(np.triu(rises, 1).any(axis=1))
    if len(before) == 0:
        return float(low), False
    return float(edges[min(before[-1] + 1 + MARGIN, len(edges) - 2)]), True


def fitted(mass: Floats, weight: Floats | None = None, unseen: Sequence[Range] = ()) -> tuple[Range, str]:
    """Return the range of the fit, to four digits, and why it begins where it does, without the events at `unseen`
    masses.
    """
    seen = beside(mass, unseen)
    mass, weight = mass[seen], of_rows(weight, seen)
    low, rises = turn_on(mass, weight, unseen)
    high = np.sort(mass)[-min(LAST, len(mass))]
    why = (
        "where the turn-on of the spectrum is over" if rises else "at the low end of the spectrum, which has no turn-on"
    )
    if high > WIDE * low:
        low, why = high / WIDE, f"a factor of {WIDE:g} below its end: no fit takes more"
    return (_rounded(low), _rounded(high)), why


def searchable(
    mass: Floats,
    fit_range: Range,
    half_width: float,
    share: float,
    window: Range | None = None,
    known: Sequence[Range] = (),
) -> Range | None:
    """Return the masses whose windows and sidebands hold enough events if only a `share` of them is seen, or None.

    With a `window` chosen beforehand, only its sidebands are looked at. Windows lie beside `known` resonances.
    """
    least = SPARE * MIN_EVENTS / share
    unseen = [*known, window] if window else known
    inside = np.sort(mass[(mass >= fit_range[0]) & (mass < fit_range[1]) & beside(mass, unseen)])
    if len(inside) < (3 if window is None else 2) * least:
        return None
    low = _rounded(max(BELOW * fit_range[0], inside[int(least)]))
    high = _rounded(min(fit_range[1] / ABOVE, inside[-int(least)]))
    if high * (1 - half_width) < low * (1 + half_width):
        return None
    if window is not None:
        return low, high
    possible = windows((low, high), known, half_width)
    full = list(takewhile(lambda edges: np.diff(np.searchsorted(inside, edges))[0] >= least, possible))
    return (low, full[-1][1]) if full else None


def _rounded(value: float) -> float:
    return float(f"{value:.4g}")
