"""Does a template look like data? A classifier that tries to tell them apart, with its AUC and error."""

from __future__ import annotations

import numpy as np

from tools.anomaly.data import Floats
from tools.metrics import auc, auc_error


def closure(template: Floats, data: Floats, seed: int) -> tuple[float, float]:
    """(AUC, its error) of template against data, each event scored by the half of the classifiers that did not see it.

    0.5 within errors means that trees find no difference. Shapes (n, d) and (m, d).
    """
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.model_selection import StratifiedKFold

    x = np.concatenate([data, template])
    y = np.concatenate([np.ones(len(data)), np.zeros(len(template))])
    values, n_data, n_template = [], [], []
    for train, test in StratifiedKFold(2, shuffle=True, random_state=seed).split(x, y):
        model = HistGradientBoostingClassifier(max_iter=60, class_weight="balanced", random_state=seed)
        score = model.fit(x[train], y[train]).decision_function(x[test])
        is_data = y[test] == 1
        values.append(auc(score[is_data], score[~is_data]))
        n_data.append(int(is_data.sum()))
        n_template.append(int((~is_data).sum()))
    value = float(np.mean(values))
    return value, auc_error(value, sum(n_data), sum(n_template))
