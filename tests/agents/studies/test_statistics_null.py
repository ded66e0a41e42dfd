"""Signal-free data and coverage: known rates, known distributions."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import binomtest

from agents.studies.statistics.coverage import EXPECTED, coverage
from agents.studies.statistics.null import false_claims, uniformity


def test_the_two_rates_of_false_claims() -> None:
    claimed = np.array([True] * 2 + [False] * 18 + [True] * 6 + [False] * 4)
    signal = np.repeat([False, True], [20, 10])
    found = false_claims(claimed, signal)
    assert (found.false, found.n, found.rate, found.claims, found.fdr) == (2, 20, 0.1, 8, 0.25)
    exact = binomtest(2, 20).proportion_ci(0.95, "exact")
    assert found.interval == pytest.approx((exact.low, exact.high))


def test_no_claims_and_no_signal_free_data() -> None:
    quiet = false_claims(np.zeros(4, bool), np.zeros(4, bool))
    assert (quiet.rate, quiet.interval.low) == (0.0, 0.0)
    assert math.isnan(quiet.fdr)
    assert math.isnan(false_claims(np.ones(4, bool), np.ones(4, bool)).rate)


def test_uniform_p_values_pass_as_often_as_they_should() -> None:
    random = np.random.default_rng(1)
    found = [uniformity(random.random(30), np.arange(30)) for _ in range(400)]
    for name in ("p", "p_too_small", "p_clusters"):
        assert 0.02 < np.mean([getattr(f, name) < 0.05 for f in found]) < 0.09


def test_small_p_values_are_told_from_cautious_ones() -> None:
    random = np.random.default_rng(2)
    eager = uniformity(random.random(100) ** 3, np.arange(100))
    cautious = uniformity(random.random(100) ** (1 / 3), np.arange(100))
    assert eager.p < 1e-3
    assert eager.p_too_small < 1e-3
    assert cautious.p < 1e-3
    assert cautious.p_too_small > 0.5


def test_copies_of_one_data_set_count_once_and_missing_ones_are_counted() -> None:
    p = np.append(np.repeat([0.2, 0.9, 0.6], 10), [np.nan] * 4)
    found = uniformity(p, np.append(np.repeat(np.arange(3), 10), [0, 0, 1, 2]))
    assert (found.n, found.missing, found.clusters) == (30, 4, 3)
    assert found.p < 0.05 < found.p_clusters
    assert uniformity(np.full(3, np.nan), np.arange(3)).missing == 3


def test_coverage_of_honest_and_of_bold_errors() -> None:
    random, n = np.random.default_rng(3), 4000
    true, cluster = np.full(n, 3.5), np.arange(n)
    claimed = true + 0.02 * random.normal(size=n)
    honest = coverage(claimed, np.full(n, 0.02), true, cluster)
    assert honest.one.interval.low < EXPECTED[1] < honest.one.interval.high
    assert honest.two.interval.low < EXPECTED[2] < honest.two.interval.high
    assert honest.pull_rms == pytest.approx(1, abs=0.03)
    bold = coverage(claimed, np.full(n, 0.01), true, cluster)
    assert bold.one.value == pytest.approx(0.383, abs=0.03)  # erf(1/2 / sqrt 2)
    assert bold.pull_rms == pytest.approx(2, abs=0.06)


def test_claims_without_an_error_cover_nothing_and_are_counted() -> None:
    found = coverage(
        np.array([1.0, 2.0, 3.0]), np.array([np.nan, 0.0, 1.0]), np.array([1.0, 1.0, 2.5]), np.array([0, 1, 2])
    )
    assert (found.without, found.one.n, found.one.successes) == (2, 1, 1)
    assert found.bias == pytest.approx(0.5)
    nothing = coverage(np.array([]), np.array([]), np.array([]), np.array([], np.int64))
    assert (nothing.one.n, math.isnan(nothing.pull_mean)) == (0, True)
