"""OmniFold: identities, known answers, and its equality with iterative Bayesian unfolding in bins."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm
from unfolding_toys import Counts, gaussian, log_ratio, lossy

import tools.unfolding.iterate as module
from tools.unfolding.classifier import Ratio
from tools.unfolding.discriminator import triangular
from tools.unfolding.iterate import Misses, OmniFold, iterate
from tools.unfolding.mlp import Mlp
from tools.unfolding.problem import Problem
from tools.unfolding.trees import Trees

QUICK = Mlp(hidden=16, layers=2, epochs=6)
FEW_TREES = Trees(max_iter=60)


@pytest.mark.parametrize("classifier", [QUICK, FEW_TREES], ids=["mlp", "trees"])
def test_pseudo_data_like_the_simulation_give_weights_of_one(classifier: Mlp | Trees) -> None:
    n = 20_000
    problem, _ = gaussian(n, seed=1, mean=0.0, width=1.0)
    done = iterate(problem, classifier, 2, seed=1)
    # The difference of two means has an error of sqrt(2 * 1.25 / n), and a shift d gives weights of rms d; as much
    # again for the width and for the training.
    assert np.std(done.push) < 3 * np.sqrt(2 * 1.25 / n) * np.sqrt(3)
    assert done.push.mean() == pytest.approx(1, abs=1e-6)


def test_pseudo_data_that_are_the_simulation_stop_at_once() -> None:
    problem, _ = gaussian(10_000, seed=2)
    done = iterate(Problem.of(problem.reco, problem.gen, problem.reco), QUICK, None, seed=1)
    assert done.iterations == 1
    assert done.discrepancy[0][0] == 0
    assert np.std(done.push) < 0.05


def test_totals_are_conserved_in_every_step(monkeypatch: pytest.MonkeyPatch) -> None:
    problem, _ = gaussian(3000, seed=3)
    rng = np.random.default_rng(1)
    problem = Problem.of(
        problem.data, problem.gen, problem.reco, rng.uniform(0, 3, 3000), rng.uniform(0, 2, 3000),
        rng.random(3000) < 0.9, rng.random(3000) < 0.8,
    )  # fmt: skip
    step1, step2, seen = module.step1, module.step2, []

    def first(p: Problem, push: np.ndarray, r: Ratio) -> np.ndarray:
        pull = step1(p, push, r)
        assert (p.weight * pull)[p.pass_reco].sum() == pytest.approx(p.data_weight.sum(), rel=1e-12)
        np.testing.assert_array_equal(pull[~p.pass_reco], push[~p.pass_reco])
        return pull

    def second(p: Problem, pull: np.ndarray, r: Ratio, misses: Misses) -> np.ndarray:
        push = step2(p, pull, r, misses)
        used = p.matched if misses == "average" else p.pass_gen
        assert (p.weight * push)[used].sum() == pytest.approx((p.weight * pull)[used].sum(), rel=1e-12)
        np.testing.assert_array_equal(push[~p.pass_gen], 1)
        seen.append(misses)
        return push

    monkeypatch.setattr(module, "step1", first)
    monkeypatch.setattr(module, "step2", second)
    for misses in ("average", "keep"):
        iterate(problem, Mlp(hidden=4, layers=1, epochs=1), 2, misses=misses, seed=1)
    assert seen == ["average"] * 2 + ["keep"] * 2


def test_the_order_of_events_does_not_matter() -> None:
    problem, _ = gaussian(2000, seed=4)
    rng = np.random.default_rng(2)
    data, sim = rng.permutation(2000), rng.permutation(2000)
    shuffled = Problem.of(problem.data[data], problem.gen[sim], problem.reco[sim])
    for classifier in (Mlp(hidden=4, layers=1, epochs=1), Trees(max_iter=5)):
        one = iterate(problem, classifier, 2, ensemble=2, seed=5)
        other = iterate(shuffled, classifier, 2, ensemble=2, seed=5)
        np.testing.assert_array_equal(one.push[sim], other.push)
        assert not np.array_equal(one.push, iterate(problem, classifier, 2, ensemble=2, seed=6).push)


def test_batches_of_training_change_the_answer_within_its_error() -> None:
    n = 10_000
    problem, _ = gaussian(n, seed=5)
    means = []
    for batch in (256, 1024):
        push = iterate(problem, QUICK.model_copy(update={"batch": batch}), 2, seed=1).push
        means.append(np.average(problem.gen[:, 0], weights=push))
    # The mean of data and of simulation have errors of sqrt(0.89/n) and sqrt(1.25/n).
    assert abs(means[0] - means[1]) < 2 * np.sqrt(2.14 / n)


def plain_ibu(problem: Problem, iterations: int, misses: str) -> np.ndarray:
    """OmniFold's two steps as loops over bins."""
    x, y = problem.gen[:, 0].astype(int), problem.reco[:, 0].astype(int)
    data = problem.data[:, 0].astype(int)
    w, push = problem.weight, np.ones(len(problem))
    for _ in range(iterations):
        pull = push.copy()
        for b in set(y[problem.pass_reco]):
            here = problem.pass_reco & (y == b)
            pull[here] *= problem.data_weight[data == b].sum() / (w * push)[here].sum()
        used = problem.matched if misses == "average" else problem.pass_gen
        push = np.ones(len(problem))
        for b in set(x[problem.pass_gen]):
            here = used & (x == b)
            push[problem.pass_gen & (x == b)] = (w * pull)[here].sum() / w[here].sum()
    return push


@pytest.mark.parametrize("misses", ["average", "keep"])
def test_with_a_classifier_in_bins_it_is_iterative_bayesian_unfolding(
    misses: Misses, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A histogram of all events is its own calibration.
    monkeypatch.setattr(module, "ratio", lambda _, events, *rest: Ratio(Counts(events), 1.0, 0.0, 0.0, 1.0))
    rng = np.random.default_rng(7)
    n = 4000
    gen = rng.integers(0, 5, n)
    reco = np.clip(gen + rng.integers(-1, 2, n), 0, 5)
    truth = rng.binomial(4, 0.6, n)
    data = np.clip(truth + rng.integers(-1, 2, n), 0, 5)
    problem = Problem.of(
        data, gen, reco, rng.uniform(0.5, 1.5, n), rng.uniform(0.5, 1.5, n), rng.random(n) < 0.9, rng.random(n) < 0.8
    )
    done = iterate(problem, QUICK, 4, misses=misses, seed=1)
    np.testing.assert_allclose(done.push, plain_ibu(problem, 4, misses), rtol=1e-9)


@pytest.mark.parametrize("classifier", [QUICK, FEW_TREES], ids=["mlp", "trees"])
def test_a_gaussian_is_unfolded_to_its_likelihood_ratio(classifier: Mlp | Trees) -> None:
    n = 20_000
    problem, _ = gaussian(n, seed=8)
    done = iterate(problem, classifier, 3, seed=1)
    x = problem.gen[:, 0]
    edges = np.linspace(-2.2, 2.6, 17)
    unfolded = np.histogram(x, edges, weights=done.push)[0]
    exact = n * np.diff(norm.cdf(edges, 0.2, 0.8))
    ideal = np.histogram(x, edges, weights=np.exp(log_ratio(x)))[0]  # with the simulation's own fluctuations
    before = triangular(np.histogram(x, edges)[0], exact)
    assert triangular(unfolded, exact) < triangular(ideal, exact) + 0.03 * before
    assert unfolded.sum() == pytest.approx(exact.sum(), rel=0.01)


def test_efficiency_and_fakes_are_undone() -> None:
    """Efficiency falls with truth, a fifth of the events at reco are fakes: the truth's total and mean come back."""
    rng = np.random.default_rng(9)
    n = 20_000

    def detector(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return x + 0.3 * rng.standard_normal(len(x)), rng.random(len(x)) < 1 / (1 + np.exp(x - 0.5))

    gen, truth = rng.standard_normal(n), rng.normal(0.3, 1.0, n)
    reco, passed = detector(gen)
    measured, seen = detector(truth)
    fakes, measured_fakes = rng.normal(-1, 1, n // 10), rng.normal(-1, 1, n // 10)
    problem = lossy(gen, reco, passed, measured[seen], fakes, measured_fakes)
    for misses, iterations in (("average", 3), ("keep", 6)):
        push = iterate(problem, QUICK, iterations, misses=misses, seed=1).push[:n]
        total, mean = push.sum(), np.average(gen, weights=push)
        # sqrt(n) of the data, of the simulation and of the fakes in both, over an efficiency of 0.6.
        assert total == pytest.approx(n, abs=4 * np.sqrt(2 * 0.7 * n) / 0.6)
        assert mean == pytest.approx(truth.mean(), abs=0.05)
    # Neither undone, the mean would be that of what is seen.
    assert abs(np.mean(problem.data) - truth.mean()) > 0.2


def test_the_data_decide_how_often() -> None:
    near, _ = gaussian(8000, seed=10, mean=0.0, width=1.0)
    far, _ = gaussian(8000, seed=11, mean=0.8, width=0.6)
    few, many = (OmniFold(classifier=QUICK, max_iterations=4).unfold(p, seed=1) for p in (near, far))
    assert few.iterations < many.iterations
    assert many.discrepancy[0][0] > 20
    assert few.discrepancy[-1][0] < 1
    assert len(many.discrepancy) == many.iterations + 1


@pytest.mark.slow
def test_training_adds_little_to_the_statistical_error() -> None:
    n = 5000
    problem, _ = gaussian(n, seed=12)
    means = [
        np.average(problem.gen[:, 0], weights=iterate(problem, Mlp(hidden=16), 2, seed=seed).push) for seed in range(5)
    ]
    # As above; an epoch chosen by its held-out loss alone gave more than the statistical error.
    assert np.std(means) < 0.5 * np.sqrt(2.14 / n)
