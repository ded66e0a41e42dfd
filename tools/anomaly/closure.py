"""Closure test of a template: a classifier tries to tell it from data outside the signal region.

The test can be made on one of two sets of events. The first is the better test, because it asks for what is needed:
interpolation in mjj.

- window: a second fit also leaves out a window in the sidebands (of the same relative width as the signal region, half
  a width away from it) and is compared with the data there;
- events: a tenth of the sideband events, at all masses, is held out of the only fit. This needs no second fit, but
  tests the density only: a sideband template would pass it by construction.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from tools.anomaly.bins import binned
from tools.anomaly.data import MIN_EVENTS, Windowed, within
from tools.events.weights import countable, of_rows
from tools.metrics import auc, auc_error
from tools.types import Floats

Place = Literal["window", "events"]
HELD_OUT = 0.1


def closure(template: Floats, data: Floats, seed: int, weight: Floats | None = None) -> tuple[float, float]:
    """Return (AUC, its error) of trees that separate template (n, d) from data (m, d) with weights (m,), by two-fold
    cross-validation.

    0.5 within errors means that the trees find no difference.
    """
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.model_selection import StratifiedKFold

    y = np.arange(len(data) + len(template)) < len(data)
    (x,) = binned(np.concatenate([data, template]), y)
    each = None if weight is None else np.concatenate([weight / weight.mean(), np.ones(len(template))])
    values, n_data, n_template = [], [], []
    for train, test in StratifiedKFold(2, shuffle=True, random_state=seed).split(x, y):
        model = HistGradientBoostingClassifier(max_iter=60, class_weight="balanced", random_state=seed)
        score = model.fit(x[train], y[train], of_rows(each, train)).decision_function(x[test])
        is_data = y[test]
        of_data = score[countable(np.flatnonzero(is_data), of_rows(each, test), seed)]
        values.append(auc(of_data, score[~is_data]))
        n_data.append(len(of_data))
        n_template.append(int((~is_data).sum()))
    value = float(np.mean(values))
    return value, auc_error(value, sum(n_data), sum(n_template))


def control_window(data: Windowed) -> tuple[float, float] | None:
    """Return the edges of the control window, above the signal region or else below; None with too few events."""
    low, high = data.window
    ratio = high / low
    for start in (high * np.sqrt(ratio), low / np.sqrt(ratio) / ratio):
        edges = (float(start), float(start * ratio))
        parts = [(data.mjj < edges[0]) & ~data.inside, within(data.mjj, edges), data.mjj >= edges[1]]
        if min(part.sum() for part in parts) >= MIN_EVENTS:
            return edges
    return None


def held_out(
    data: Windowed, place: Place, rng: np.random.Generator
) -> tuple[NDArray[np.bool_], tuple[float, float] | None]:
    """Return a mask of the sideband events to test closure on, and their window, or None if they lie at all masses.

    If no window has enough events, `place="window"` falls back to "events".
    """
    window = control_window(data) if place == "window" else None
    if window is not None:
        return within(data.mjj, window), window
    outside = np.flatnonzero(~data.inside)
    held = np.zeros(len(data.mjj), dtype=bool)
    held[rng.permutation(outside)[: int(HELD_OUT * len(outside))]] = True
    return held, None
