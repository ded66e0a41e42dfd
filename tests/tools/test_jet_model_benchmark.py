"""What the benchmark of the jet model says of losses, power laws and jets whose answer is known."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import norm

from benchmarks import jet_model_labels, jet_model_omnifold, jet_model_scaling
from benchmarks.jet_model_labels import converged, epochs_to
from benchmarks.jet_model_quality import compare
from benchmarks.jet_model_scaling import power_law
from benchmarks.rows import Rows, complete
from tools import jet_model
from tools.events.parquet import particles_path, write_events
from tools.events.zjets_jets import OBSERVABLES
from tools.events.zjets_particles import LEVELS, jet_rows
from tools.jet_model.jets import from_momenta
from tools.jet_model.jets_file import write_jets
from tools.unfolding.problem import Problem

N = [500, 1000, 2000, 5000, 10_000]


def test_a_power_law_is_found_within_its_errors() -> None:
    rng = np.random.default_rng(1)
    true = 0.2 + 0.3 * (np.array(N) / N[0]) ** -0.5
    error = np.full(len(N), 0.003)
    pulls = []
    for _ in range(200):
        found = power_law(N, true + error * rng.standard_normal(len(N)), error)
        assert found is not None
        pulls.append((found["alpha"] - 0.5) / found["alpha_error"])
    assert np.mean(pulls) == pytest.approx(0, abs=0.25)
    assert np.std(pulls) == pytest.approx(1, abs=0.2)
    exact = power_law(N, true, error)
    assert exact is not None
    assert (exact["alpha"], exact["floor"]) == (pytest.approx(0.5, abs=1e-4), pytest.approx(0.2, abs=1e-4))
    assert power_law(N[:2], true[:2], error[:2]) is None


def test_a_law_along_labels_uses_means_over_seeds() -> None:
    rows = [
        {"count": n, "loss": 0.2 + 0.3 * (n / 500) ** -0.5 + shift}
        for n in N
        for shift in (-0.002, 0.002, 0.001, -0.001)
    ]
    found = jet_model_scaling.summarise(rows, "count")
    assert found["scaling_data"]["alpha"] == pytest.approx(0.5, abs=1e-3)
    assert found["scaling_data_loss"]["500"] == pytest.approx(0.5)
    assert jet_model_scaling.summarise(rows[:1], "count") == {}


def test_epochs_to_converge() -> None:
    assert epochs_to([0.5, 0.3], 0.4, 0.7) == pytest.approx(1.5)
    assert epochs_to([0.5, 0.3], 0.6, 0.7) == pytest.approx(0.5)
    assert epochs_to([0.5, 0.6, 0.3], 0.45, 0.7) == pytest.approx(2.5)
    assert epochs_to([0.5, 0.4], 0.1, 0.7) == 2
    line = [0.6, 0.5, 0.4, 0.3]
    assert converged(line, line, 0.7) == pytest.approx(0.95 * 4)
    assert converged([0.5, 0.3], line, 0.7) == pytest.approx(0.95 * 2)
    assert converged([0.8, 0.9], [0.8, 0.9], 0.7) == 2


def test_labels_are_summarised_in_pairs() -> None:
    def row(method: str, seed: int, auc: float, rejection: float, losses: list[float]) -> dict[str, Any]:
        numbers = {"auc": auc, "rejection_30": rejection, "rejection_50": rejection / 2}
        return {"method": method, "count": 500, "seed": seed, "losses": losses} | numbers

    slow, quick = [0.6, 0.5, 0.4, 0.3], [0.5, 0.3, 0.25, 0.2]
    rows = [row("finetuned", 1, 0.95, 40, quick), row("scratch", 1, 0.9, 10, slow)]
    rows += [row("finetuned", 2, 0.97, 90, quick), row("scratch", 2, 0.9, 10, slow)]
    rows += [row("finetuned", 3, 0.5, 1, quick)]  # no partner yet
    found = jet_model_labels.summarise(rows, [500])
    assert found["rejection_gain_500"] == pytest.approx(6)
    assert found["rejection_gain_500_error"] == pytest.approx(6 * np.log(9 / 4) / 2)
    assert found["auc_scratch_500"] == pytest.approx(0.9)
    assert found["auc_finetuned_500_error"] == pytest.approx(np.std([0.95, 0.97, 0.5], ddof=1) / np.sqrt(3))
    level = np.log(2) - 0.95 * (np.log(2) - 0.3)
    assert found["epochs_scratch_500"] == pytest.approx(3 + (0.4 - level) / 0.1)
    assert found["epochs_finetuned_500"] == pytest.approx(1 + (0.5 - level) / 0.2)


def test_the_epoch_ratio_of_unfolding() -> None:
    def row(start: str, seed: int, losses: list[float]) -> dict[str, Any]:
        flat = [1.0] * len(OBSERVABLES)
        return {"start": start, "seed": seed, "losses": losses, "deltas": flat, "before": flat, "exact": flat}

    top = float(np.log(2))
    slow = [top - 0.01 * k for k in (1, 2, 3, 4)]
    rows = [row("scratch", s, slow) for s in (1, 2)]
    rows += [row("pretrained", s, [top - 0.01 * k for k in (2, 4, 4, 4)]) for s in (1, 2)]
    found = jet_model_omnifold.summarise(rows)
    assert found["omnifold_epoch_ratio"] == pytest.approx(2)
    assert found["omnifold_epoch_ratio_error"] == pytest.approx(0)
    assert found["omnifold_loss_gain"] == pytest.approx(0)
    assert jet_model_omnifold.summarise(rows[:2]) == {}


def test_problems_have_the_rows_of_both_files(tmp_path: Path) -> None:
    """Jets of 100, 101, ... GeV, whose mass column says which: rows must lead back to them."""
    rng = np.random.default_rng(1)
    paths = []
    for name, first in (("simulation", 100), ("data", 300)):
        n = 12
        columns: dict[str, np.ndarray] = {f"pass_{level}": (rng.random(n) < 0.8).astype(float) for level in LEVELS}
        columns |= jet_rows(columns, -999.0)
        pts = np.zeros(int(sum(columns[f"pass_{level}"].sum() for level in LEVELS)))
        for shift, level in ((0, "gen"), (50, "reco")):
            there = columns[f"pass_{level}"] > 0
            value = first + shift + np.arange(n)
            pts[columns[f"{level}_jet"][there].astype(int)] = value[there]
            columns |= {f"{level}_{x}": np.where(there, value, -999.0) for x in OBSERVABLES}
        pt = np.repeat(pts[:, None] / 4, 4, axis=1)
        angle = np.tile([-0.1, 0.1, -0.05, 0.05], (len(pts), 1))
        write_jets(particles_path(tmp_path / f"{name}.parquet"), from_momenta(pt, angle, angle, pt * np.cosh(angle)))
        write_events(tmp_path / f"{name}.parquet", columns)
        paths.append(tmp_path / f"{name}.parquet")
    problem, truth = jet_model_omnifold.load(*paths, seed=1)
    network = jet_model_omnifold.JetNetwork(start=None).on([str(particles_path(path)) for path in paths])
    for values in (problem.gen, problem.reco, problem.data):
        pt, _ = network.jets(values).pt_and_mass()
        np.testing.assert_allclose(pt, values[:, 0], rtol=0.01)
    assert len(truth) == len(problem.data)
    assert jet_model_omnifold.deltas(problem, np.ones(len(problem)), problem.gen[:, :-1]) == [0.0] * len(OBSERVABLES)


def test_the_probability_to_be_kept_turns_one_particle_level_into_the_other() -> None:
    """Simulation weighted by it and data thinned by it agree, and differ from the simulation as it was."""
    rng = np.random.default_rng(1)
    mean = np.zeros(len(OBSERVABLES))
    covariance = np.eye(len(mean)) * 0.7 + 0.3
    gen, truth = (rng.multivariate_normal(mean, covariance, 40_000, method="cholesky") for _ in range(2))
    left = truth[rng.random(len(truth)) < jet_model_omnifold.kept(truth, gen)]
    assert len(left) / len(truth) == pytest.approx(0.5, abs=0.01)
    problem = Problem.of(left, gen, gen)
    before, after = (
        np.array(jet_model_omnifold.deltas(problem, weights, left))
        for weights in (np.ones(len(gen)), jet_model_omnifold.kept(gen, gen))
    )
    wide = [OBSERVABLES.index(name) for name in ("mult", "width")]
    assert np.all(before[wide] > 40)  # 54 within 2; the others 12
    assert np.all(after < 3)


def test_distances_and_the_auc_of_known_samples() -> None:
    rng = np.random.default_rng(1)
    true, other, same = ({"x": rng.standard_normal(1000)} for _ in range(3))
    exact = compare(true, true, other)
    assert exact["w1_x"] == 0
    assert 0 < exact["w1_x_true"] < 0.15
    assert compare(same, true, other)["auc_generated"] == pytest.approx(0.5, abs=0.06)
    shifted = compare({"x": true["x"] + 2 * true["x"].std()}, true, other)
    assert shifted["w1_x"] == pytest.approx(2)
    assert shifted["auc_generated"] == pytest.approx(norm.cdf(2 / np.sqrt(2)), abs=0.03)


def test_only_what_is_missing_is_made(tmp_path: Path) -> None:
    rows = Rows(tmp_path / "rows.jsonl", jet_model)
    rows.add({"seed": 1, "made": "before"}, section="a")
    found = complete(rows, dict, [{"seed": 1}, {"seed": 2}], 1, str, section="a")
    assert [(row["seed"], row.get("made")) for row in found] == [(1, "before"), (2, None)]
    assert [row["seed"] for row in rows.find(section="a")] == [1, 2]
