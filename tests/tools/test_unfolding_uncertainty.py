"""Replicas: errors against toys, what each kind does, side by side as one by one, and nothing lost on the way."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from unfolding_toys import SMEAR, gaussian

import tools.unfolding.uncertainty as module
from tools.contract import ToolError
from tools.unfolding.ibu import Ibu
from tools.unfolding.iterate import OmniFold, Unfolded
from tools.unfolding.mlp import Mlp
from tools.unfolding.nuisances import Variation
from tools.unfolding.problem import Problem
from tools.unfolding.uncertainty import Plan, study

TINY = OmniFold(classifier=Mlp(hidden=4, layers=1, epochs=1), iterations=1)
QUICK = OmniFold(classifier=Mlp(hidden=16, layers=2, epochs=4), iterations=2)


def spectrum(problem: Problem, weights: np.ndarray) -> np.ndarray:
    return np.histogram(problem.gen[:, 0], np.linspace(-1.5, 2, 8), weights=weights)[0]


def test_bootstraps_have_the_spread_of_toys(tmp_path: Path) -> None:
    """Poisson(1) replicas of one experiment against experiments anew: data and simulation with Poisson totals."""
    toys = []
    for seed in range(150):
        n = np.random.default_rng(seed).poisson(3000, 2)
        rng = np.random.default_rng([seed, 1])
        gen, truth = rng.standard_normal(n[0]), rng.normal(0.2, 0.8, n[1])
        reco, data = (x + SMEAR * rng.standard_normal(len(x)) for x in (gen, truth))
        # The problem's bins move with the simulation: as in a replica, they are few.
        toys.append(spectrum_of(Problem.of(data, gen, reco, weight=np.full(n[0], 1.0))))
    problem, _ = gaussian(3000, seed=1000)
    done = study(problem, Ibu(bins=12, iterations=3), Plan(bootstraps=100), tmp_path)
    replicas = [spectrum(problem, w) for name, w in done.weights.items() if name.startswith("bootstrap")]
    ratio = np.std(replicas, axis=0, ddof=1) / np.std(toys, axis=0, ddof=1)
    assert np.sqrt(np.mean(ratio**2)) == pytest.approx(1, abs=0.12)


def spectrum_of(problem: Problem) -> np.ndarray:
    return spectrum(problem, Ibu(bins=12, iterations=3).unfold(problem).push)


def test_each_kind_of_replica_is_what_it_says(tmp_path: Path) -> None:
    problem, _ = gaussian(2000, seed=1)
    up = np.exp(0.1 * problem.gen[:, 0])
    other, _ = gaussian(2500, seed=2)
    alternative = Problem.of(problem.data, other.gen + 0.1, other.reco + 0.1)
    method = Ibu(bins=10)
    done = study(problem, method, Plan(2, 1, {"jes_up": Variation(up)}, alternative, seed=3), tmp_path)
    assert list(done.weights) == ["ensemble_0", "ensemble_1", "bootstrap_0", "nuisance_jes_up", "model"]
    nominal = method.unfold(problem)
    np.testing.assert_array_equal(done.weights["ensemble_0"], nominal.push)
    assert done.nominal.previous is not None
    before = method.fixed(nominal.iterations - 1).unfold(problem).push if nominal.iterations > 1 else np.ones(2000)
    np.testing.assert_array_equal(done.nominal.previous, before)
    assert done.nominal.iterations == nominal.iterations
    same = method.fixed(nominal.iterations)
    np.testing.assert_allclose(
        done.weights["nuisance_jes_up"], up * same.unfold(problem.reweighted(weight=up)).push, rtol=1e-12
    )
    carried = method.carry(problem, alternative, same.unfold(alternative).push, 1)
    np.testing.assert_allclose(done.weights["model"], carried, rtol=1e-12)
    drawn = done.weights["bootstrap_0"]
    assert np.mean(drawn == 0) == pytest.approx(np.exp(-1), abs=0.04)  # events counted no times


def test_a_network_carries_the_truth_of_another_simulation(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    a, b = rng.standard_normal(8000), rng.normal(0.3, 1, 8000)
    weight = np.exp(-0.2 * b)  # a normal at 0.1
    carried = QUICK.carry(Problem.of(a, a, a), Problem.of(a, b, b), weight, 1)
    assert carried.sum() == pytest.approx(weight.sum())
    assert np.average(a, weights=carried) == pytest.approx(np.average(b, weights=weight), abs=0.03)


def test_side_by_side_is_as_one_by_one(tmp_path: Path) -> None:
    problem, _ = gaussian(500, seed=4)
    plan = Plan(2, 1, seed=5)
    one = study(problem, TINY, plan, tmp_path / "one")
    two = study(problem, TINY, plan, tmp_path / "two", workers=2)
    assert list(one.weights) == list(two.weights)
    for name, weights in one.weights.items():
        np.testing.assert_array_equal(weights, two.weights[name], err_msg=name)
    assert len({w.tobytes() for w in one.weights.values()}) == 3


def test_dask_runs_it_as_well(tmp_path: Path) -> None:
    import distributed

    problem, _ = gaussian(300, seed=4)
    method, plan = Ibu(bins=5, iterations=2), Plan(bootstraps=3)
    with distributed.Client(processes=False, n_workers=1, threads_per_worker=1, dashboard_address=None) as client:
        far = study(problem, method, plan, tmp_path / "dask", executor=client.get_executor())
    near = study(problem, method, plan, tmp_path / "here")
    for name, weights in near.weights.items():
        np.testing.assert_array_equal(weights, far.weights[name])


def test_a_study_goes_on_where_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    problem, _ = gaussian(300, seed=6)
    method, plan, made = Ibu(bins=5, iterations=2), Plan(bootstraps=4), []
    unfold = Ibu.unfold

    def counting(self: Ibu, p: Problem, *rest: object) -> Unfolded:
        made.append(1)
        if len(made) == 4:
            raise RuntimeError("the third replica fails")
        return unfold(self, p)

    monkeypatch.setattr(Ibu, "unfold", counting)
    lines: list[str] = []
    with pytest.raises(RuntimeError, match="third"):
        study(problem, method, plan, tmp_path, progress=lines.append)
    assert len(made) == 5  # the others were made all the same
    assert any("bootstrap_2 failed" in line for line in lines)
    # A file cut off in the middle is made again.
    cut = tmp_path / "replicas" / "bootstrap_0.npz"
    cut.write_bytes(cut.read_bytes()[:100])
    done = study(problem, method, plan, tmp_path)
    assert len(made) == 7
    more = study(problem, method, Plan(bootstraps=5), tmp_path)
    assert len(made) == 8
    np.testing.assert_array_equal(more.weights["bootstrap_3"], done.weights["bootstrap_3"])


def test_a_folder_of_another_study_is_refused(tmp_path: Path) -> None:
    problem, _ = gaussian(300, seed=7)
    study(problem, Ibu(bins=5), Plan(nuisances={"a": Variation(problem.weight)}), tmp_path)
    others = (
        (gaussian(300, seed=8)[0], Ibu(bins=5), Plan()),
        (problem, Ibu(bins=6), Plan()),
        (problem, Ibu(bins=5), Plan(seed=2)),
        (problem, Ibu(bins=5), Plan(nuisances={"a": Variation(2 * problem.weight)})),
    )
    for other in others:
        with pytest.raises(ToolError, match="another study"):
            study(*other, tmp_path)


def test_seeds_of_replicas_do_not_depend_on_how_many_there_are(tmp_path: Path) -> None:
    problem, _ = gaussian(300, seed=9)
    few = study(problem, Ibu(bins=5), Plan(bootstraps=1), tmp_path / "few")
    many = study(problem, Ibu(bins=5), Plan(bootstraps=2), tmp_path / "many")
    np.testing.assert_array_equal(few.weights["bootstrap_0"], many.weights["bootstrap_0"])
    assert module.METHOD.validate_json(Ibu(bins=5).model_dump_json()) == Ibu(bins=5)
