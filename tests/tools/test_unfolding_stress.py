"""Stress tests: slopes that are known, data that fold them, and covariances from few replicas."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from unfolding_toys import gaussian, misses_and_fakes

from tools.contract import ToolError
from tools.unfolding import unfold
from tools.unfolding.ibu import Ibu
from tools.unfolding.read import covariance_parts, shrunk
from tools.unfolding.stress import LIMIT, NAMES, direction, of, other_prior, slope, stressed
from tools.unfolding.uncertainty import Plan, study


def test_the_slope_runs_from_minus_to_plus_its_size_along_what_observables_share() -> None:
    rng = np.random.default_rng(1)
    x = rng.exponential(size=5000)
    gen = np.column_stack([x, -(x**3)])  # the second falls as the first rises
    u = direction(gen)
    np.testing.assert_allclose(u[np.argsort(x)], (2 * np.arange(5000) + 1) / 5000 - 1, atol=1e-12)
    passed = x > 0.1
    factor = slope(gen, passed, 0.5)
    assert np.all(factor[~passed] == 1)
    assert factor[passed].mean() == pytest.approx(1)
    assert (factor.min(), factor.max()) == pytest.approx((0.5, 1.5), abs=1e-3)


def test_stressed_data_are_the_folded_truth_with_fakes_as_they_are() -> None:
    problem = misses_and_fakes(4000, 2, 0.0)
    made = stressed(problem, 0.2)
    factor = slope(problem.gen, problem.pass_gen, 0.2)
    assert made.data_weight.sum() == pytest.approx(float(factor[problem.pass_reco].sum()))
    fakes = problem.pass_reco & ~problem.pass_gen
    np.testing.assert_array_equal(made.data_weight[fakes[problem.pass_reco]], 1)
    np.testing.assert_array_equal(made.reco, problem.reco)


def test_a_flat_prior_is_flat_and_as_large(tmp_path: Path) -> None:
    problem, _ = gaussian(20_000, seed=3)
    for name in ("flat", "slope"):
        prior = other_prior(problem, name)
        assert prior.weight.sum() == pytest.approx(problem.weight.sum())
    flat = other_prior(problem, "flat").weight
    counts = np.histogram(problem.gen[:, 0], [-1, -0.5, 0, 0.5, 1], weights=flat)[0]
    np.testing.assert_allclose(counts / counts.mean(), 1, atol=0.12)
    assert flat.max() / flat.min() <= LIMIT**2 * 1.001


def test_ibu_recovers_slopes_and_leaves_what_it_has_not_iterated(tmp_path: Path) -> None:
    problem, _ = gaussian(20_000, seed=4, mean=0.0, width=1.0)

    def left(iterations: int) -> float:
        """Share of a slope of 50% in the mean that is left after unfolding."""
        done = Ibu(iterations=iterations).unfold(of(problem, "stress_50"))
        x = problem.gen[:, 0]
        true, before, after = (
            np.average(x, weights=w) for w in (slope(problem.gen, problem.pass_gen, 0.5), None, done.push)
        )
        return float((true - after) / (true - before))

    # The same events make data and response. Of the slope in the mean, one iteration restores about the reliability
    # 1 / (1 + SMEAR^2) = 0.8, and k of them all but 0.2^k; bins blur it a little.
    assert left(1) == pytest.approx(0.2, abs=0.07)
    assert left(6) == pytest.approx(0.0, abs=0.02)
    weights = study(problem, Ibu(bins=10, iterations=3), Plan(stress=True), tmp_path).weights
    assert set(NAMES) < set(weights)
    assert set(
        covariance_parts({name: w[:5] for name, w in weights.items()} | {"nominal": weights["ensemble_0"][:5]})
    ) <= {"ensemble"}


def test_shrunk_covariances_can_be_inverted_and_converge() -> None:
    rng = np.random.default_rng(5)
    b = 12
    true = 0.3 + 0.7 * np.eye(b)
    root = np.linalg.cholesky(true)

    def found(n: int) -> tuple[np.ndarray, np.ndarray]:
        replicas = rng.standard_normal((n, b)) @ root.T
        return shrunk(replicas), np.cov(replicas, rowvar=False)

    few, raw = found(8)
    assert np.linalg.matrix_rank(raw) == 7
    assert np.linalg.eigvalsh(few)[0] > 0.05
    np.testing.assert_allclose(np.diag(few), np.diag(raw))
    assert np.abs(few - true).mean() < np.abs(raw - true).mean()
    many, sample = found(20_000)
    np.testing.assert_allclose(many, sample, atol=2e-3)
    # Replicas that move all bins together say so with certainty, however few.
    together = np.outer([1.0, -1.0, 1.0, -1.0], np.ones(3))
    np.testing.assert_allclose(shrunk(together), np.cov(together, rowvar=False))
    np.testing.assert_array_equal(shrunk(np.ones((4, 3))), np.zeros((3, 3)))


def test_jets_have_no_stress_test() -> None:
    with pytest.raises(ToolError, match="jets"):
        unfold(observables=["x"], stress=True, method={"kind": "omnifold", "classifier": "jets"})
