"""Does ARGOS, which uses no labels, rank models as the true significance improvement does? Does the validation loss?

Models differ in features, size of trees, learning rate and number of boosting rounds. Each is trained on half of the
data and template; the other half gives the label-free figures of merit, labelled events the true SIC.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import numpy as np
from scipy.stats import spearmanr

from benchmarks.injections import Injection, Scores
from tools.anomaly.selection import merit
from tools.training import split
from tools.types import Floats

ROUNDS = (3, 8, 20, 50, 120)
LEAVES, RATES = (4, 31, 127), (0.03, 0.1)
COLUMNS: tuple[list[int], ...] = ([0, 1], [0, 1, 2, 3], [0, 1, 2, 3, 4, 5], [0, 2, 4], [1, 3])  # of EXTENDED


def rank_correlations(
    injection: Injection,
    template: Floats,
    seed: int,
    columns: Sequence[list[int]] = COLUMNS,
    leaves: Sequence[int] = LEAVES,
    rates: Sequence[float] = RATES,
) -> dict[str, float]:
    """Return Spearman's rank correlation of true SIC (25 events kept) with ARGOS, AUC and minus the validation loss."""
    from sklearn.ensemble import HistGradientBoostingClassifier

    data = injection.data.features[injection.data.inside]
    x = np.concatenate([data, template])
    y = np.arange(len(x)) < len(data)
    used, held = split(len(x), 0.5, seed)
    # Background for judging: the reference or, if it is the template, its held-out half.
    judged = injection.reference if template is not injection.reference else x[held][~y[held]]
    rows = []
    for chosen, size, rate in product(columns, leaves, rates):
        model = HistGradientBoostingClassifier(
            max_iter=max(ROUNDS),
            max_leaf_nodes=size,
            learning_rate=rate,
            early_stopping=False,
            class_weight="balanced",
            random_state=seed,
        ).fit(x[used][:, chosen], y[used])
        stages = [model.staged_decision_function(z[:, chosen]) for z in (x[held], injection.extra, judged)]
        for done, (log_odds, signal, background) in enumerate(zip(*stages, strict=True), start=1):
            if done in ROUNDS:
                free = [merit(name, log_odds.ravel(), y[held]) for name in ("argos", "auc", "loss")]
                rows.append([Scores(signal.ravel(), background.ravel()).sic25(), *free])
    table = np.array(rows)
    return {
        name: float(spearmanr(table[:, 0], table[:, i]).statistic) for i, name in enumerate(("argos", "auc", "loss"), 1)
    }
