"""chi^2 at detector level against scipy, and when the data call for no more iterations."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import chi2 as chi2_distribution
from scipy.stats import kstest

from tools.unfolding.agreement import BINS, Agreement, agreement, enough
from tools.unfolding.problem import Problem


def test_samples_that_agree_have_the_chi2_of_their_bins() -> None:
    """Two samples of n events in bins of 2n/BINS: the total is fixed, so one degree of freedom less."""
    rng = np.random.default_rng(1)
    found = []
    for _ in range(300):
        x, y = rng.standard_normal((2, 1000, 2)) * [1, 5] + [0, 3]
        each = agreement(Problem.of(x, y, y), np.ones(1000))
        np.testing.assert_array_equal(each.bins, BINS)
        found.append(each.chi2)
    for observable in np.transpose(found):
        assert kstest(observable, chi2_distribution(BINS - 1).cdf).pvalue > 0.01


def test_weights_count_in_difference_and_variance() -> None:
    data, reco = np.array([0.0, 0.0, 1.0]), np.array([0.0, 1.0, 1.0])
    problem = Problem.of(data, reco, reco, np.array([1.0, 2.0, 3.0]), np.array([2.0, 1.0, 1.0]))
    found = agreement(problem, np.array([1.0, 3.0, 2.0]))
    # Bins of values 0 and 1: data 3 and 3, simulation 2 and 5.
    assert found.chi2[0] == pytest.approx((3 - 2) ** 2 / (1 + 4 + 4) + (3 - 5) ** 2 / (9 + 9 + 4))
    assert found.bins[0] == 2
    assert found.per_bin() == pytest.approx((found.chi2[0] / 2, 1.0))


def history(*totals: list[float]) -> list[Agreement]:
    return [Agreement(np.array(chi2), np.full(len(chi2), 40.0)) for chi2 in totals]


def test_as_many_again_as_gained_anything() -> None:
    assert enough(history([500.0])) is None
    assert enough(history([500.0], [90.0])) is None
    assert enough(history([500.0], [90.0], [85.0])) is None
    assert enough(history([500.0], [90.0], [85.0], [84.0])) == 4
    assert enough(history([41.0], [39.0])) == 1  # nothing to be gained from the start
    assert enough(history([41.0], [60.0])) == 1
    # How large the fluctuations are does not matter, and one observable is enough to go on.
    assert enough(history([560.0], [150.0], [149.0])) == 2
    assert enough(history([40.0, 500.0], [40.0, 45.0])) is None
    assert enough(history([40.0, 500.0], [40.0, 45.0], [39.0, 44.0])) == 2
