"""Do the features alone make the bump? What the scores of some events say of others, when mjj is withheld.

A score that is a function of an event's features can be learned from events whose scores are known, and given to
others: h(x), fitted to the seen half, finds on the held-out half what the score itself finds there. A score that uses
mjj, the number of a row or chance cannot: h has seen neither mass nor score of a held-out event. Nearly so a score that
has learned the events by heart; but where its model was trained on held-out events, the scores of their seen neighbours
remember them a little. That, and a score that shapes mjj by features that move with it, is for the decoy (`decoy.py`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from scipy.stats import spearmanr

from tools.events.table import available, derive
from tools.types import Floats

Mask = NDArray[np.bool_]
# Of these mjj could be computed: momenta, angles between jets, and subjettiness in absolute terms, which is pt beside
# the jet's mass. Ratios of subjettiness stay.
KINEMATIC = re.compile(r"mjj|p[txyz]|pt_.*|p[xyz]_.*|e_.*|energy.*|eta.*|phi.*|delta_(r|eta|phi).*|tau\d_.*|h[tT]")
TELLING = 0.3  # R**2 of log(mjj) predicted from features: above it they make bumps that no smooth efficiency describes
TRIED_ON = 40_000  # events on which that is seen
LEARNED_FROM = 200_000  # events; more are drawn from
ROUNDS, RATE, LEAF = 200, 0.1, 20


def without_mjj(columns: Mapping[str, Floats], more: Mapping[str, Floats] | None = None) -> dict[str, Floats]:
    """The features (n,) of a table, and `more` of the same events, from which mjj cannot be computed.

    Those of KINEMATIC are left out by their names; then, until mjj can no longer be predicted, whatever goes with it
    most closely.
    """
    names = [name for name in available(columns) if not KINEMATIC.fullmatch(name)]
    features = derive(columns, names) | dict(more or {})
    x = np.log(columns["mjj"])
    while features and predicted(features, x) > TELLING:
        close = {name: abs(spearmanr(values, x).statistic) for name, values in features.items()}
        del features[max(close, key=lambda name: close[name])]
    return features


def predicted(features: Mapping[str, Floats], wanted: Floats, seed: int = 1) -> float:
    """R**2 of a prediction from features, on other events than those that it was learned from."""
    from sklearn.ensemble import HistGradientBoostingRegressor

    rows = np.random.default_rng(seed).permutation(len(wanted))[:TRIED_ON]
    x, y = np.column_stack(list(features.values()))[rows], wanted[rows]
    half = len(rows) // 2
    if half < 2 * LEAF:
        return 0.0
    model = HistGradientBoostingRegressor(max_iter=50, min_samples_leaf=LEAF, early_stopping=False, random_state=seed)
    return float(model.fit(x[:half], y[:half]).score(x[half:], y[half:]))


def explained(features: Mapping[str, Floats], score: Floats, seen: Mask, seed: int = 1) -> Floats:
    """h of the events that were not `seen`, in their order, from features (n,) and scores of those that were.

    h is the mean of -log10 of the fraction of seen events with a higher score: the tail is what is cut on.
    Raises ValueError where there is nothing to learn from.
    """
    from sklearn.ensemble import HistGradientBoostingRegressor

    x = np.column_stack([np.asarray(values, dtype=np.float64) for values in features.values()])
    rows = np.flatnonzero(seen)
    if len(features) == 0 or len(rows) < 2 * LEAF:
        raise ValueError(f"{len(features)} features of {len(rows)} events: too few to explain a score by")
    order = np.argsort(np.argsort(score[rows], kind="stable"), kind="stable")
    depth = -np.log10(1 - (order + 0.5) / len(rows))
    if len(rows) > LEARNED_FROM:
        drawn = np.random.default_rng(seed).permutation(len(rows))[:LEARNED_FROM]
        rows, depth = rows[drawn], depth[drawn]
    model = HistGradientBoostingRegressor(
        max_iter=ROUNDS, learning_rate=RATE, min_samples_leaf=LEAF, early_stopping=False, random_state=seed
    )
    return np.asarray(model.fit(x[rows], depth).predict(x[~seen]), dtype=np.float64)
