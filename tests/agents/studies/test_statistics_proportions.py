"""Rates, pass@k and bootstrap intervals against statsmodels, enumeration, closed forms and simulation."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy.stats import t
from statsmodels.stats.proportion import proportion_confint

from agents.studies.statistics.proportions import clopper_pearson, pass_at_k, pass_hat_k, rate, wilson
from agents.studies.statistics.spread import bootstrap, drawn, mean, median


@pytest.mark.parametrize(("k", "n"), [(0, 5), (3, 7), (16, 16), (40, 100)])
def test_intervals_of_a_share_are_those_of_statsmodels(k: int, n: int) -> None:
    assert wilson(k / n, n) == pytest.approx(proportion_confint(k, n, method="wilson"), abs=1e-12)
    assert clopper_pearson(k, n) == pytest.approx(proportion_confint(k, n, method="beta"), abs=1e-9)


def test_without_runs_there_is_no_interval() -> None:
    nothing = rate(np.array([], bool), np.array([], np.int64))
    assert (nothing.n, math.isnan(nothing.value), math.isnan(nothing.interval.low)) == (0, True, True)
    assert math.isnan(clopper_pearson(0, 0).low)


def test_one_data_set_says_nothing_of_others() -> None:
    found = rate(np.array([True, True, False]), np.zeros(3, np.int64))
    assert (found.successes, found.n, found.clusters) == (2, 3, 1)
    assert math.isnan(found.wide.low)
    assert math.isnan(found.wide.high)


def test_repeats_that_only_copy_each_other_are_worth_one_run_a_data_set() -> None:
    once = np.array([True, True, False, True, False, True])
    copied = rate(np.repeat(once, 8), np.repeat(np.arange(6), 8))
    assert copied.interval == pytest.approx(wilson(4 / 6, 48))
    # share (1 - share) / variance, where the variance of the mean of six data sets has the denominator 6 - 1.
    assert copied.wide == pytest.approx(wilson(4 / 6, 5, float(t.ppf(0.975, 5))))
    assert rate(np.ones(40, bool), np.repeat(np.arange(5), 8)).wide == pytest.approx(wilson(1.0, 5))


@pytest.mark.parametrize(
    ("clusters", "mean_rate", "icc"), [(5, 0.5, 0.3), (8, 0.8, 0.3), (8, 0.8, 0.05), (6, 0.9, 0.5)]
)
def test_the_wide_interval_covers_where_the_narrow_one_does_not(clusters: int, mean_rate: float, icc: float) -> None:
    """Beta-binomial data sets: rates differ from one to the next with a known intraclass correlation."""
    random, repeats, trials = np.random.default_rng(7), 16, 600
    a, b = (q * (1 / icc - 1) for q in (mean_rate, 1 - mean_rate))
    cluster = np.repeat(np.arange(clusters), repeats)
    wide = narrow = 0
    for _ in range(trials):
        rates = random.beta(a, b, clusters)
        found = rate(random.random(len(cluster)) < rates[cluster], cluster)
        wide += found.wide.low <= mean_rate <= found.wide.high
        narrow += found.interval.low <= mean_rate <= found.interval.high
    assert wide / trials > 0.89
    if icc >= 0.3:
        assert narrow / trials < 0.8


def test_pass_at_k_and_pass_hat_k_are_what_choosing_k_of_n_runs_gives() -> None:
    for n, c in itertools.product((3, 5), range(6)):
        if c > n:
            continue
        runs = [True] * c + [False] * (n - c)
        for k in range(1, n + 1):
            chosen = list(itertools.combinations(runs, k))
            some, every = (float(np.mean([rule(choice) for choice in chosen])) for rule in (any, all))
            arguments = np.array([float(c)]), np.array([float(n)]), k
            assert pass_at_k(*arguments)[0] == pytest.approx(some)
            assert pass_hat_k(*arguments)[0] == pytest.approx(every)


def test_k_beyond_the_runs_of_a_task_is_not_known() -> None:
    assert np.isnan(pass_hat_k(np.array([2.0, 3.0]), np.array([2.0, 4.0]), 3)).tolist() == [True, False]
    assert np.isnan(pass_at_k(np.array([2.0]), np.array([2.0]), 3)).all()


def test_draws_take_whole_data_sets() -> None:
    cluster = np.array([4, 4, 9, 7, 7, 7])
    counts = drawn(cluster, seed=3, draws=200)
    assert (counts[:, 0] == counts[:, 1]).all()
    assert (counts[:, 3] == counts[:, 5]).all()
    assert (counts[:, 0] + counts[:, 2] + counts[:, 3] == 3).all()


def test_mean_and_median_of_draws_are_those_of_the_rows_repeated() -> None:
    random = np.random.default_rng(5)
    values, counts = random.normal(size=9), random.integers(0, 4, (50, 9)).astype(float)
    for found, plain in ((mean(values, counts), np.mean), (median(values, counts), np.median)):
        expected = [plain(np.repeat(values, row.astype(int))) for row in counts]
        assert found == pytest.approx(expected)


@pytest.mark.parametrize("clusters", [5, 12])
def test_the_bootstrap_covers_the_mean_for_few_data_sets(clusters: int) -> None:
    """Normal data sets with repeats that agree more than data sets do; plain percentiles would cover 83% for five."""
    random, trials, cluster = np.random.default_rng(11), 400, np.repeat(np.arange(clusters), 4)
    covered = 0
    for trial in range(trials):
        values = random.normal(size=clusters)[cluster] + 0.5 * random.normal(size=len(cluster))
        low, high = bootstrap(values, cluster, seed=trial)
        covered += low <= 0 <= high
    assert 0.885 < covered / trials < 0.985


def test_one_cluster_has_no_spread_and_the_same_seed_gives_the_same() -> None:
    values = np.arange(6.0)
    assert math.isnan(bootstrap(values, np.zeros(6, np.int64)).low)
    cluster = np.repeat(np.arange(3), 2)
    assert bootstrap(values, cluster, median, seed=4) == bootstrap(values, cluster, median, seed=4)
