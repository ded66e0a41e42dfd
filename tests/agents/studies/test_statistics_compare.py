"""Paired tests, Holm, gap, cost and power against scipy, statsmodels, hand counts and simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import permutation_test, spearmanr
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.power import TTestPower

from agents.studies.statistics.compare import compare, holm, sign_flip
from agents.studies.statistics.cost import spent
from agents.studies.statistics.gap import following, gap, ranks
from agents.studies.statistics.power import (
    Variances,
    datasets_needed,
    detectable,
    of_pairs,
    power,
    repeats_needed,
    variances,
)


def test_sign_flips_are_scipys_paired_permutations() -> None:
    random = np.random.default_rng(1)
    for n in (4, 9):
        a, b = random.normal(0.6, 1, n), random.normal(0, 1, n)
        scipys = permutation_test((a, b), lambda x, y: np.mean(x - y), permutation_type="samples", n_resamples=np.inf)
        assert sign_flip(a - b) == pytest.approx(scipys.pvalue)


def test_drawn_sign_flips_come_close_to_all_of_them() -> None:
    d = np.random.default_rng(2).normal(0.45, 1, 20)
    exact = np.mean(
        [
            abs((1 - 2 * ((np.arange(start, start + 2**16)[:, None] >> np.arange(20)) & 1)) @ d) >= abs(d.sum()) - 1e-9
            for start in range(0, 2**20, 2**16)
        ]
    )
    assert sign_flip(d, seed=5) == pytest.approx(exact, abs=4 * math.sqrt(exact / 2**14))
    assert sign_flip(d, seed=5) == sign_flip(d, seed=5)


def test_ties_and_nothing() -> None:
    assert sign_flip(np.zeros(8)) == 1.0
    assert sign_flip(np.array([])) == 1.0
    assert sign_flip(np.array([0.1] * 7)) == pytest.approx(2 / 2**7)  # equal but for rounding


def test_holm_is_that_of_statsmodels() -> None:
    p = np.random.default_rng(3).random(12) ** 3
    assert holm(p) == pytest.approx(multipletests(p, method="holm")[1])
    with_gap = np.append(p, np.nan)
    assert holm(with_gap)[:-1] == pytest.approx(holm(p))
    assert math.isnan(holm(with_gap)[-1])
    assert np.isnan(holm(np.array([np.nan, np.nan]))).all()


def test_luck_with_a_data_set_fools_the_test_on_these_and_not_the_other() -> None:
    """Equally good backends, each with its luck on each data set, that all repeats share."""
    random, cluster, trials = np.random.default_rng(4), np.repeat(np.arange(8), 6), 200
    found = []
    for seed in range(trials):
        differences = random.normal(size=8)[cluster] + 0.3 * random.normal(size=48)
        found.append(compare(differences, cluster, seed))
    rejected = {name: np.mean([getattr(f, name) < 0.05 for f in found]) for name in ("p_runs", "p_datasets")}
    assert rejected["p_runs"] > 0.3
    assert 0.01 < rejected["p_datasets"] < 0.10
    assert 0.88 < np.mean([f.interval.low <= 0 <= f.interval.high for f in found]) < 0.995


def test_few_data_sets_cannot_give_a_small_p() -> None:
    found = compare(np.ones(40), np.repeat(np.arange(5), 8))
    assert (found.pairs, found.clusters, found.value) == (40, 5, 1.0)
    assert found.p_datasets == found.p_datasets_least == 2 / 32
    assert found.p_runs < 1e-3
    one = compare(np.ones(4), np.zeros(4, np.int64))
    assert math.isnan(one.p_datasets)
    assert math.isnan(one.interval.low)
    assert compare(np.array([]), np.array([], np.int64)).pairs == 0


def test_ranks_within_data_sets() -> None:
    found = ranks(np.array([5.0, 1.0, 5.0, 100.0, 7.0]), np.array([0, 0, 0, 1, 1]))
    assert found == pytest.approx([2 / 3, 1 / 6, 2 / 3, 0.75, 0.25])


def test_a_backend_that_only_looks_good_has_a_gap() -> None:
    random, cluster = np.random.default_rng(5), np.tile(np.arange(8), 20)
    arm, quality = np.arange(160) % 3 == 0, np.random.default_rng(6).normal(size=160) + 3 * cluster
    sealed = quality + 0.1 * random.normal(size=160)
    tuned = quality + 2.0 * arm + 0.1 * random.normal(size=160)
    one, other = gap(tuned, sealed, cluster, arm), gap(tuned, sealed, cluster, ~arm)
    assert one.interval.low > 0 > other.interval.high
    assert one.value * one.n + other.value * other.n == pytest.approx(0)
    fair = gap(sealed, sealed, cluster, arm)
    assert fair.value == 0


def test_following_drops_the_strength_of_data_sets() -> None:
    random, cluster = np.random.default_rng(7), np.repeat(np.arange(10), 30)
    strong = 10.0 * cluster
    apart = following(strong + random.normal(size=300), strong + random.normal(size=300), cluster)
    assert abs(apart.value) < 0.2
    assert apart.interval.low < 0 < apart.interval.high
    x = random.normal(size=300)
    y = x + random.normal(size=300)
    expected = np.mean([spearmanr(x[cluster == c], y[cluster == c]).statistic for c in range(10)])
    assert following(x + strong, y, cluster).value == pytest.approx(expected)
    assert math.isnan(following(np.ones(300), x, cluster).value)


def test_failures_are_paid_by_successes() -> None:
    amount, success = np.array([1.0, 2.0, 3.0, 6.0]), np.array([True, False, False, True])
    found = spent(amount, success, np.array([0, 0, 1, 1]))
    assert (found.total, found.per_run, found.per_success) == (12.0, 3.0, 6.0)
    assert found.interval == (3.0, 9.0)
    nothing = spent(amount, np.zeros(4, bool), np.array([0, 0, 1, 1]))
    assert math.isinf(nothing.per_success)
    assert math.isnan(spent(np.array([]), np.array([], bool), np.array([], np.int64)).per_success)


def test_a_success_in_one_data_set_only_costs_up_to_infinity() -> None:
    found = spent(np.ones(4), np.array([True, True, False, False]), np.array([0, 0, 1, 1]))
    assert (found.per_success, found.interval.high) == (2.0, math.inf)


@pytest.mark.parametrize(("effect", "n"), [(0.5, 10), (1.0, 6), (0.2, 60)])
def test_power_without_luck_is_that_of_a_paired_t_test(effect: float, n: int) -> None:
    found = power(effect, Variances(tau2=0.0, sigma2=1.0), datasets=n, repeats=1)
    assert found == pytest.approx(TTestPower().power(effect, n, 0.05), abs=1e-9)


def test_numbers_needed_are_the_smallest_that_do() -> None:
    known = Variances(tau2=0.02, sigma2=0.2)
    g = datasets_needed(0.2, known, repeats=8)
    assert g is not None
    assert power(0.2, known, g, 8) >= 0.8 > power(0.2, known, g - 1, 8)
    r = repeats_needed(0.2, known, datasets=9)
    assert r is not None
    assert power(0.2, known, 9, r) >= 0.8 > power(0.2, known, 9, r - 1)
    assert repeats_needed(0.2, known, datasets=3) is None  # luck with data sets stays, however often one repeats
    assert power(detectable(known, 9, 8), known, 9, 8) == pytest.approx(0.8, abs=1e-6)
    assert datasets_needed(0.2, Variances(math.nan, math.nan), 8) is None
    assert power(0.2, known, 1, 8) == 0.0


def test_power_is_what_simulated_studies_reach() -> None:
    from scipy.stats import ttest_1samp

    random, known = np.random.default_rng(8), Variances(tau2=0.04, sigma2=0.3)
    means = 0.25 + random.normal(0, math.sqrt(0.04 + 0.3 / 6), (4000, 10))
    seen = float(np.mean(ttest_1samp(means, 0, axis=1).pvalue < 0.05))
    assert power(0.25, known, 10, 6) == pytest.approx(seen, abs=0.025)


def test_variances_of_pairs_are_found() -> None:
    random, cluster = np.random.default_rng(9), np.repeat(np.arange(4000), 5)
    found = variances(random.normal(0.3, 0.2, 4000)[cluster] + random.normal(0, 0.5, 20000), cluster)
    assert (found.tau2, found.sigma2) == pytest.approx((0.04, 0.25), rel=0.15)
    assert variances(np.arange(4.0), np.arange(4)) == Variances(pytest.approx(5 / 3), 0.0)
    assert math.isnan(variances(np.arange(4.0), np.zeros(4, int)).tau2)


def test_variance_of_pairs_leaves_the_data_sets_out() -> None:
    random, cluster = np.random.default_rng(10), np.repeat(np.arange(50), 20)
    values = 3 * random.normal(size=50)[cluster] + 0.5 * random.normal(size=1000)
    assert of_pairs(values, cluster).tau2 == pytest.approx(0.25, rel=0.15)
    single = random.normal(size=30)
    assert of_pairs(single, np.arange(30)).tau2 == pytest.approx(single.var(ddof=1))
    assert of_pairs(single, np.zeros(30, int)).tau2 == pytest.approx(single.var(ddof=1))
    assert math.isnan(of_pairs(single[:1], np.zeros(1, int)).tau2)
