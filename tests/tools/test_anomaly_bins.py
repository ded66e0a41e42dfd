"""Trees that are given the numbers of bins grow as those that make the bins themselves."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.ensemble import HistGradientBoostingClassifier

from tools.anomaly.bins import BINS, binned


@pytest.mark.parametrize("digits", [15, 1, 0])
def test_the_trees_are_those_of_scikit_learn(digits: int) -> None:
    rng = np.random.default_rng(3)
    y = rng.uniform(size=5000) < 0.3
    x, others = (np.round(rng.normal(size=(n, 3)), digits) for n in (5000, 800))
    x[y, 0] += 0.5
    x, others = np.round(x, digits), np.column_stack([others, np.ones(len(others))])
    x = np.column_stack([x, np.ones(len(x))])  # a constant does no harm
    trees = [
        HistGradientBoostingClassifier(max_iter=20, class_weight="balanced", early_stopping=False, random_state=1)
        for _ in range(2)
    ]
    numbers, of_others = binned(x, y, others)
    theirs = trees[0].fit(x, y).decision_function(others)
    ours = trees[1].fit(numbers, y).decision_function(of_others)
    # A quantile that lies exactly on an event is halfway to the next one in scikit-learn.
    assert np.mean(np.abs(ours - theirs) > 1e-9) < 0.02
    assert np.ptp(ours) > 1


def test_bins_hold_equal_shares_of_both_classes_together() -> None:
    rng = np.random.default_rng(1)
    y = np.arange(40_000) < 10_000
    x = rng.normal(size=(len(y), 1)) + y[:, None]
    (numbers,) = binned(x, y)
    shares = np.bincount(numbers[:, 0].astype(int), np.where(y, 0.5 / y.sum(), 0.5 / (~y).sum()))
    assert len(shares) == BINS
    assert np.allclose(shares * BINS, 1, atol=0.05)
    assert np.all(np.diff(numbers[np.argsort(x[:, 0]), 0]) >= 0), "the order of values stays"
