"""Ranking of backends: how often each would come first in other studies of the same kind."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from agents.studies.statistics.spread import drawn

Ints = NDArray[np.int64]


def first_share(success: Sequence[NDArray[np.bool_]], cluster: Sequence[Ints], seed: int = 1) -> list[float]:
    """Return for each backend the fraction of bootstrap draws in which its success rate is highest; ties are split.

    `success`, `cluster`: for each backend its runs (n,) and their data sets, which all backends share; a draw uses the
    same data sets for all. NaN for a single data set. This is a summary, not a p-value: equally good backends share the
    first place by chance.
    """
    labels = np.unique(np.concatenate([np.array([], np.int64), *cluster]))
    if len(labels) < 2:
        return [float("nan")] * len(success)
    counts = drawn(labels, seed)
    rates = []
    for wins, where in zip(success, cluster, strict=True):
        place = np.searchsorted(labels, where)
        won, runs = (np.bincount(place, weights, len(labels)) for weights in (wins.astype(float), np.ones(len(wins))))
        with np.errstate(invalid="ignore", divide="ignore"):
            rates.append(np.nan_to_num(counts @ won / (counts @ runs), nan=-1.0))
    stacked = np.stack(rates)
    best = stacked >= stacked.max(axis=0) - 1e-12
    return [float(share) for share in (best / best.sum(axis=0)).mean(axis=1)]
