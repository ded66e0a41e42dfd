"""Event weights: the column `weight` of an event table, 0 or more.

With sums of weights W and of squared weights V, W^2 / V unweighted events would be as precise: the effective number.
Counts are then W W' / V' in every bin, W' and V' being sums over a group of neighbouring bins with GROUP events or
more: W / V of a single bin fluctuates with its content, which would bias a fit (Bohm and Zech, arXiv:1309.1287).
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from tools.contract import ToolError
from tools.events.table import unweighted
from tools.types import Floats

WEIGHT = "weight"
GROUP = 100  # events
SHARE = 0.75  # of the effective number that is drawn, so that drawn events vary no more than so many independent ones


def weights_of(columns: Mapping[str, Floats]) -> Floats | None:
    """Return the weights (n,), None if every event counts as one.

    Raises ToolError for weights below 0, none above 0, or another column that looks like weights.
    """
    unweighted({name: values for name, values in columns.items() if name != WEIGHT})
    if WEIGHT not in columns or np.all(columns[WEIGHT] == 1):
        return None
    weight = columns[WEIGHT]
    if len(bad := np.flatnonzero(weight < 0)):
        allowed = "a density and a classifier need weights of 0 or more"
        raise ToolError(WEIGHT, float(weight[bad[0]]), f"row {bad[0]}: {allowed}")
    if not weight.any():
        raise ToolError(WEIGHT, 0.0, "at least one weight above 0")
    return weight


def of_rows(weight: Floats | None, rows: NDArray[np.bool_] | NDArray[np.int64]) -> Floats | None:
    """Return the weights of some rows, None if events are not weighted."""
    return None if weight is None else weight[rows]


def effective(weight: Floats) -> float:
    """Return how many events of weight one are as precise: W^2 / V (Kish's effective sample size).

    >>> effective(np.array([1.0, 1.0, 0.0])), round(effective(np.array([1.0, 2.0])), 6)
    (2.0, 1.8)
    """
    return float(weight.sum() ** 2 / max((weight**2).sum(), 1e-300))


def per_weight(events: Floats, sums: Floats, squares: Floats) -> Floats:
    """Return the effective counts per unit of weight in every bin (n,), from its events and its sums of w and w^2."""
    group = np.minimum(np.cumsum(events) // GROUP, events.sum() // GROUP - 1).clip(0).astype(int)
    _, group = np.unique(group, return_inverse=True)
    of_sums, of_squares = (np.bincount(group, each) for each in (sums, squares))
    mean = sums.sum() / squares.sum() if squares.sum() > 0 else 1.0
    per = np.divide(of_sums, of_squares, out=np.full(len(of_sums), mean), where=of_squares > 0)
    return np.asarray(per[group])


def countable(rows: NDArray[np.int64], weight: Floats | None, seed: int) -> NDArray[np.int64]:
    """Return rows for tools that count events: these, or of weighted events (n,) some `drawn` from them by weight."""
    return rows if weight is None else rows[drawn(weight[rows], seed)]


def drawn(weight: Floats, seed: int) -> NDArray[np.int64]:
    """Return rows in proportion to their weights, SHARE of the effective number of them, for tools that count events.

    Systematic resampling (Kitagawa, J. Comput. Graph. Stat. 5 (1996) 1): no row is drawn more than once more or less
    often than its share.
    """
    rng = np.random.default_rng([seed, 17])
    n = max(1, round(SHARE * effective(weight)))
    order = rng.permutation(len(weight))
    total = np.cumsum(weight[order])
    at = (np.arange(n) + rng.uniform()) * total[-1] / n
    return np.sort(order[np.minimum(np.searchsorted(total, at, side="right"), len(order) - 1)])
