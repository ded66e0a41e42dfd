"""Do the features alone give the bump? A regression of the scores on features from which mjj is withheld.

A score that is a function of an event's features can be learned from some events and predicted for others: h(x), fitted
to the seen half, finds on the held-out half what the score itself finds there. For a score that uses mjj, row numbers
or random numbers it does not: h has seen neither mass nor score of a held-out event. The same is nearly true of a score
that has memorised events; but if its model was trained on held-out events, the scores of their seen neighbours remember
them a little. The decoy (`decoy.py`) catches that, and scores that shape mjj by features correlated with it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from tools.events.table import available, derive, mass_column
from tools.events.weights import WEIGHT
from tools.types import Floats

Mask = NDArray[np.bool_]
# mjj could be computed from these: momenta, angles between jets, and absolute N-subjettiness, which gives pt together
# with the jet mass. Ratios of N-subjettiness stay.
KINEMATIC = re.compile(r"mjj|p[txyz]|pt_.*|p[xyz]_.*|e_.*|energy.*|eta.*|phi.*|delta_(r|eta|phi).*|tau\d_.*|h[tT]")
TELLING = 0.3  # R**2 of log(mjj) predicted from features: above it, no smooth efficiency describes the bumps they make
TRIED_ON = 40_000  # events used to measure R**2
LEARNED_FROM = 200_000  # events at most, drawn at random
ROUNDS, RATE, LEAF = 200, 0.1, 20


def without_mjj(columns: Mapping[str, Floats], more: Mapping[str, Floats] | None = None) -> dict[str, Floats]:
    """Return the features (n,) of a table, and of `more` for the same events, from which mjj cannot be computed.

    Features of dijets that match KINEMATIC are left out; then, until the mass can no longer be predicted, the one most
    correlated with it.
    """
    from scipy.stats import spearmanr  # slow to import

    mass = mass_column(columns)
    left_out = KINEMATIC if mass == "mjj" else re.compile(f"{mass}|{WEIGHT}")
    features = derive(columns, [name for name in available(columns) if not left_out.fullmatch(name)]) | dict(more or {})
    x = np.log(columns[mass])
    while features and predicted(features, x) > TELLING:
        close = {name: abs(spearmanr(values, x).statistic) for name, values in features.items()}
        del features[max(close, key=lambda name: close[name])]
    return features


def predicted(features: Mapping[str, Floats], wanted: Floats, seed: int = 1) -> float:
    """Return R**2 of a prediction of `wanted` from features, on other events than the training ones."""
    from sklearn.ensemble import HistGradientBoostingRegressor

    rows = np.random.default_rng(seed).permutation(len(wanted))[:TRIED_ON]
    x, y = np.column_stack(list(features.values()))[rows], wanted[rows]
    half = len(rows) // 2
    if half < 2 * LEAF:
        return 0.0
    model = HistGradientBoostingRegressor(max_iter=50, min_samples_leaf=LEAF, early_stopping=False, random_state=seed)
    return float(model.fit(x[:half], y[:half]).score(x[half:], y[half:]))


def explained(features: Mapping[str, Floats], score: Floats, seen: Mask, seed: int = 1) -> Floats:
    """Return h of the events not `seen`, in their order, learned from features (n,) and scores of the seen ones.

    h is the mean of -log10 of the fraction of seen events with a higher score, as cuts are on the tail.
    Raises ValueError if there is too little to learn from.
    """
    from sklearn.ensemble import HistGradientBoostingRegressor

    x = np.column_stack([np.asarray(values, dtype=np.float64) for values in features.values()])
    rows = np.flatnonzero(seen)
    if len(features) == 0 or len(rows) < 2 * LEAF:
        raise ValueError(f"{len(features)} features of {len(rows)} events: too few to explain a score")
    order = np.argsort(np.argsort(score[rows], kind="stable"), kind="stable")
    depth = -np.log10(1 - (order + 0.5) / len(rows))
    if len(rows) > LEARNED_FROM:
        drawn = np.random.default_rng(seed).permutation(len(rows))[:LEARNED_FROM]
        rows, depth = rows[drawn], depth[drawn]
    model = HistGradientBoostingRegressor(
        max_iter=ROUNDS, learning_rate=RATE, min_samples_leaf=LEAF, early_stopping=False, random_state=seed
    )
    return np.asarray(model.fit(x[rows], depth).predict(x[~seen]), dtype=np.float64)
