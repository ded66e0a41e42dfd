"""Events in bins. Weighted events count as fewer: the likelihood is that of effective counts.

They are those of `tools/events/weights.py` (Bohm and Zech, arXiv:1309.1287). Yields are sums of weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tools.events.weights import per_weight
from tools.gaps import emptied, runs
from tools.spectrum.inputs import Range, Sample
from tools.spectrum.shapes import Bins
from tools.types import Floats


class Counts(NamedTuple):
    """Bins and the effective counts (n,) in them."""

    bins: Bins
    counts: Floats

    def among(self, chosen: NDArray[np.bool_]) -> Counts:
        """Return some of the bins."""
        return Counts(self.bins.among(chosen), self.counts[chosen])


def gaps(found: Counts, blind: Range | None = None) -> list[Range]:
    """Return the masses that a selection has emptied, with the bins next to them, which it may have emptied in part;
    `blind` ones are no gap.
    """
    low, high = found.bins.low, found.bins.high
    empty = emptied(found.counts)
    if blind:
        empty &= ~found.bins.inside(blind)
    return [(float(low[first - 1]), float(high[last + 1])) for first, last in runs(empty)]


def beside(bins: Bins, hidden: Sequence[Range]) -> NDArray[np.bool_]:
    """Return which bins (n,) have their centre in none of these ranges."""
    seen = np.ones(len(bins.low), dtype=bool)
    for each in hidden:
        seen &= ~bins.inside(each)
    return seen


def filled(bins: Bins, sample: Sample) -> Counts:
    """Return the bins, with `per` as the weights have it, and the counts in them; `bins` without gaps."""
    events = np.histogram(sample.masses, bins.edges)[0].astype(np.float64)
    if sample.weights is None:
        return Counts(bins, events)
    sums, squares = (np.histogram(sample.masses, bins.edges, weights=sample.weights**k)[0] for k in (1, 2))
    per = per_weight(events, sums, squares)
    return Counts(bins._replace(per=per), sums * per)
