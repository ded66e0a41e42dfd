"""Features as the numbers of quantile bins, for boosted trees, which only see the order of values.

Histogram trees sort every feature into 255 bins of equal weight before they grow. scikit-learn takes the weighted
quantiles one by one, each with a sort of its own: that takes longer than growing the trees. Given the numbers of the
same bins, it finds no more than 255 different values and keeps them as they are.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tools.types import Floats

BINS = 255  # the most that scikit-learn's trees tell apart


def binned(x: Floats, y: NDArray[np.bool_], *others: Floats) -> list[Floats]:
    """Return x (n, d) and `others` (m, d) as numbers of bins, which hold equal shares of x if both classes y (n,) have
    equal weights.
    """
    weight = np.where(y, 0.5 / y.sum(), 0.5 / (~y).sum())
    edges = [_edges(column, weight) for column in x.T]
    tables = [[np.searchsorted(e, column) for e, column in zip(edges, table.T, strict=True)] for table in (x, *others)]
    return [np.column_stack(columns).astype(np.float64) for columns in tables]


def _edges(values: Floats, weight: Floats) -> Floats:
    """Return the upper edges of all bins but the last; a value on an edge belongs below it."""
    order = np.argsort(values)
    distinct = np.unique(values[order])
    if len(distinct) <= BINS:
        return distinct[:-1]
    total = np.cumsum(weight[order])
    at = np.searchsorted(total, total[-1] * np.arange(1, BINS) / BINS)
    return np.unique(values[order][at])
