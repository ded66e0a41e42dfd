"""Events in bins. Weighted events count as fewer: the likelihood is that of effective counts.

In bins with sums of weights W and of squared weights V, W^2 / V unweighted events would be as precise. Each bin has
W W' / V' counts, W' and V' being sums over a group of neighbouring bins with GROUP events or more: W / V of a single
bin fluctuates with its content, which would bias the fit (Bohm and Zech, arXiv:1309.1287). Yields are sums of weights.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tools.spectrum.inputs import Sample
from tools.spectrum.shapes import Bins
from tools.types import Floats

GROUP = 100  # events


class Counts(NamedTuple):
    """Bins and the effective counts (n,) in them."""

    bins: Bins
    counts: Floats

    def among(self, chosen: NDArray[np.bool_]) -> Counts:
        """Return some of the bins."""
        return Counts(self.bins.among(chosen), self.counts[chosen])


def filled(bins: Bins, sample: Sample) -> Counts:
    """Return the bins, with `per` as the weights have it, and the counts in them; `bins` without gaps."""
    events = np.histogram(sample.masses, bins.edges)[0].astype(np.float64)
    if sample.weights is None:
        return Counts(bins, events)
    sums, squares = (np.histogram(sample.masses, bins.edges, weights=sample.weights**k)[0] for k in (1, 2))
    group = np.minimum(np.cumsum(events) // GROUP, events.sum() // GROUP - 1).clip(0).astype(int)
    _, group = np.unique(group, return_inverse=True)
    of_sums, of_squares = (np.bincount(group, each) for each in (sums, squares))
    per = np.divide(of_sums, of_squares, out=np.full(len(of_sums), sums.sum() / squares.sum()), where=of_squares > 0)
    return Counts(bins._replace(per=per[group]), sums * per[group])
