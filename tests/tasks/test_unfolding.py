"""The unfolding task on toys whose density ratio is known: what the grader rewards, refuses and cannot be fooled by."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from zjets_toys import SHIFT, log_ratio, write_samples

from tasks.catalogue import make_task
from tasks.claim import Measured, Measurement
from tasks.score import Score
from tasks.task import TaskError
from tasks.unfolding.samples import NATURES, SAMPLE, SIMULATION
from tasks.unfolding.submission import WeightsSubmission
from tasks.unfolding.task import UnfoldingTask
from tools.arrays import sha256
from tools.events.parquet import read_columns, write_events
from tools.events.zjets import COLUMNS
from tools.events.zjets_jets import OBSERVABLES

GEN, RECO = ([f"{level}_{x}" for x in OBSERVABLES] for level in ("gen", "reco"))
ASKED = {"observables": list(OBSERVABLES[:3]), "also": list(OBSERVABLES[3:])}
SUBMISSION = WeightsSubmission(weights="unfolded.parquet")
BOOTSTRAPS = 12


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("samples")
    write_samples(out)
    return out


@pytest.fixture(scope="module")
def task(folder: Path) -> UnfoldingTask:
    return UnfoldingTask(data=folder, **ASKED)


@pytest.fixture(scope="module")
def prepared(task: UnfoldingTask, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    run = tmp_path_factory.mktemp("run")
    facts = task.prepare(run / "inputs", run / "held_out", run / "sealed")
    (run / "workspace").mkdir()
    return run, facts


@pytest.fixture(scope="module")
def simulation(folder: Path) -> dict[str, np.ndarray]:
    return read_columns(folder / "simulation.parquet")


def good(simulation: dict[str, np.ndarray], facts: dict[str, Any]) -> np.ndarray:
    """The true density ratio, normalised to the data."""
    passed = simulation["pass_gen"] > 0
    weight = np.where(passed, np.exp(log_ratio(simulation)), 0.0)
    return weight * facts["measured_events"] / weight.sum()


def with_replicas(nominal: np.ndarray, spread: float = 0.02, seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    replicas = {f"weights_bootstrap_{i}": nominal * rng.poisson(1, len(nominal)) for i in range(BOOTSTRAPS)}
    return {"weights_nominal": nominal, **replicas, "weights_model": nominal * (1 + spread)}


def grade(task: UnfoldingTask, run: Path, columns: dict[str, Any] | None) -> Score:
    if columns is not None:
        pq.write_table(pa.table(columns), run / "workspace" / "unfolded.parquet")
    return task.grade(SUBMISSION, run / "inputs", run / "workspace", 1)


def test_inputs_hold_no_truth_and_the_unseen_events_are_nowhere(
    task: UnfoldingTask, prepared: tuple[Path, dict[str, Any]], folder: Path
) -> None:
    run, facts = prepared
    data = read_columns(run / "inputs" / "data.parquet")
    assert list(data) == RECO
    nature = read_columns(folder / "nature.parquet")
    measured = nature["reco_mass"][nature["pass_reco"] > 0]
    assert len(data["reco_mass"]) == facts["measured_events"] == pytest.approx(0.7 * len(measured), rel=0.03)
    unseen = task.samples().data(unseen=True)
    together = np.sort(np.concatenate([data["reco_mass"], unseen[:, 0]]))
    np.testing.assert_allclose(together, np.sort(measured), rtol=1e-6)
    assert np.mean(np.diff(data["reco_mass"]) > 0) == pytest.approx(0.5, abs=0.05)  # not sorted
    simulated = read_columns(run / "inputs" / "simulation.parquet")
    assert set(simulated) == {*COLUMNS, "weight"}
    # The simulation is normalised to the data.
    assert simulated["weight"] @ simulated["pass_reco"] == pytest.approx(facts["measured_events"], rel=1e-5)
    assert set(read_columns(run / "sealed" / "truth.parquet")) == set(GEN)
    assert task.options() == make_task("unfolding", task.options()).options()


def test_true_weights_remove_all_and_none_remove_nothing(
    task: UnfoldingTask, prepared: tuple[Path, dict[str, Any]], simulation: dict[str, np.ndarray]
) -> None:
    run, facts = prepared
    best = grade(task, run, with_replicas(good(simulation, facts)))
    assert best.value is not None
    assert best.error is not None
    assert 0.75 < best.value < 1.05
    assert best.error < 0.1
    assert best.artefact == hashlib.sha256((run / "workspace" / "unfolded.parquet").read_bytes()).hexdigest()
    assert (
        json.loads(best.model_dump_json())["details"]["reco_delta"]["mass"] < best.details["reco_delta_before"]["mass"]
    )

    nothing = grade(task, run, with_replicas(np.where(simulation["pass_gen"] > 0, 0.7, 0.0)))
    assert nothing.value == pytest.approx(0.0, abs=0.02)
    half = grade(task, run, with_replicas(np.sqrt(good(simulation, facts))))
    assert half.value is not None
    assert 0.4 < half.value < best.value - 2 * best.error


def test_what_is_cheap_does_not_pay(
    task: UnfoldingTask, prepared: tuple[Path, dict[str, Any]], simulation: dict[str, np.ndarray]
) -> None:
    run, facts = prepared
    best = grade(task, run, with_replicas(good(simulation, facts)))
    assert best.value is not None
    both = (simulation["pass_gen"] > 0) & (simulation["pass_reco"] > 0)
    # The exact density ratio at detector level: as good as the truth there, and not unfolded. In a mode of variance v
    # it undoes v / (v + SMEAR^2) of the shift: for the five of 1/2 that is 2/3, and (1/3)^2 of the discrepancy stays.
    folded = np.where(both, np.exp(log_ratio(simulation, SHIFT, "reco")), simulation["pass_gen"])
    at_reco = grade(task, run, with_replicas(folded))
    assert at_reco.value is not None
    assert at_reco.details["shares"]["as_they_are"] > best.value - 0.04
    # From one toy to the next the difference moves by 0.02.
    assert 0.02 < best.value - at_reco.value < 0.2

    rng = np.random.default_rng(4)
    noise = rng.lognormal(0, 1.5, len(folded))
    wild = grade(task, run, with_replicas(good(simulation, facts) * noise))
    assert wild.value is not None
    assert wild.value < best.value - 0.3
    assert wild.details["effective_fraction"] < 0.5 * best.details["effective_fraction"]


@pytest.mark.parametrize("odd", [1e308, 1e300, 1e-300, 5e-324])
@pytest.mark.parametrize("which", ["all", "one", "model", "replicas"])
def test_odd_weights_are_graded_or_refused(
    task: UnfoldingTask,
    prepared: tuple[Path, dict[str, Any]],
    simulation: dict[str, np.ndarray],
    odd: float,
    which: str,
) -> None:
    """The crew's failure, never the harness's: whatever is a number gets a score that a trace can hold."""
    run, _ = prepared
    columns = with_replicas(np.ones(len(simulation["pass_gen"])))
    one = np.where(np.arange(len(simulation["pass_gen"])) == 3, odd, 1.0)
    changed = {"all": columns, "one": ["weights_nominal"], "model": ["weights_model"]}
    for name in changed.get(which, [name for name in columns if "bootstrap" in name]):
        columns[name] = one if which == "one" else np.full(len(one), odd)
    json.dumps(grade(task, run, columns).model_dump(), allow_nan=False)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda c: {"score": c["weights_nominal"]}, "weights_nominal"),
        (lambda c: {k: v[:-1] for k, v in c.items()}, "one weight each"),
        (lambda c: c | {"weights_nominal": c["weights_nominal"] * np.nan}, "not finite"),
        (lambda c: c | {"weights_model": -c["weights_nominal"]}, "weights_model must be 0 or more"),
        (lambda c: c | {"weights_nominal": 0 * c["weights_nominal"]}, "weights_nominal must be 0 or more"),
        (lambda c: {"weights_nominal": c["weights_nominal"]}, "weights_bootstrap_"),
        (lambda c: c | {"weights_nominal": [str(x) for x in c["weights_nominal"]]}, "plain numbers"),
    ],
)
def test_refusals_say_what_is_wrong(
    task: UnfoldingTask,
    prepared: tuple[Path, dict[str, Any]],
    simulation: dict[str, np.ndarray],
    change: Any,
    said: str,
) -> None:
    run, facts = prepared
    refused = grade(task, run, change(with_replicas(good(simulation, facts))))
    assert refused.value is None
    assert said in refused.reason


def test_a_missing_file_is_refused(task: UnfoldingTask, prepared: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    score = task.grade(SUBMISSION, prepared[0] / "inputs", tmp_path, 1)
    assert score.value is None
    assert "unfolded.parquet" in score.reason


def test_claims_are_compared_and_sealed_against_the_truth(
    task: UnfoldingTask, prepared: tuple[Path, dict[str, Any]], simulation: dict[str, np.ndarray], folder: Path
) -> None:
    run, facts = prepared
    score = grade(task, run, with_replicas(good(simulation, facts)))
    ours = score.details["numbers"]
    assert set(ours) == set(facts["numbers_to_claim"])
    claim = Measurement(
        numbers={
            "mean_mass": Measured(**ours["mean_mass"]),
            "mean_mult": Measured(value=1.0, error=0.1),
            "mean_zg": Measured(value=0.3, error=0.1),
        }
    )
    checks = {check.name: check for check in task.check(claim, [score], None)}
    assert (checks["mean_mass"].agrees, checks["mean_mult"].agrees) == (True, False)
    assert (checks["events"].agrees, checks["mean_zg"].agrees) == (None, None)

    verdict = task.seal(list(checks.values()), SUBMISSION, run / "workspace", run / "sealed", None)
    nature = read_columns(folder / "nature.parquet")
    passed = nature["pass_gen"] > 0
    true = {check.name: check.truth for check in verdict.checks}
    assert true["mean_mass"] == pytest.approx(nature["gen_mass"][passed].mean(), rel=1e-6)
    assert true["events"] == pytest.approx(0.7 * passed.sum(), rel=0.02)
    # The weights are the true ratio, so the claimed mean is the true one but for fluctuations.
    assert abs(ours["mean_mass"]["value"] - true["mean_mass"]) < 4 * ours["mean_mass"]["error"] + 0.1

    metrics = {metric.name: metric for metric in verdict.metrics}
    fluctuations = 250 * 50 * (1 / passed.sum() + 1 / (simulation["pass_gen"].sum()))
    before = float(metrics["delta_mass"].note.split("before ")[1].split(";")[0])
    assert metrics["delta_mass"].value < 2 * fluctuations < before
    assert metrics["coverage_1_sigma"].value > 0.4
    assert metrics["coverage_2_sigma"].value > 0.7
    assert sum(verdict.curves["mass_truth"]) == pytest.approx(1)
    # The worst that can be claimed is that nothing was handed in.
    assert task.seal([], None, run / "workspace", run / "sealed", None).metrics == []


def test_too_small_errors_do_not_cover(
    task: UnfoldingTask, prepared: tuple[Path, dict[str, Any]], simulation: dict[str, np.ndarray]
) -> None:
    run, _ = prepared
    nominal = np.where(simulation["pass_gen"] > 0, 1.0, 0.0)
    sure = {"weights_nominal": nominal} | {f"weights_bootstrap_{i}": nominal for i in range(BOOTSTRAPS)}
    grade(task, run, sure)
    verdict = task.seal([], SUBMISSION, run / "workspace", run / "sealed", None)
    assert {m.name: m.value for m in verdict.metrics}["coverage_2_sigma"] < 0.1


def test_closure_is_that_of_the_other_simulation(
    task: UnfoldingTask, prepared: tuple[Path, dict[str, Any]], simulation: dict[str, np.ndarray], folder: Path
) -> None:
    run, _ = prepared
    other = read_columns(folder / "alternative.parquet")
    data = read_columns(run / "held_out" / "data.parquet")
    measured = other["reco_mass"][other["pass_reco"] > 0]
    np.testing.assert_array_equal(np.sort(data["reco_mass"]), np.sort(measured))
    assert not np.array_equal(data["reco_mass"], measured)
    held = read_columns(run / "held_out" / "simulation.parquet")
    assert held["weight"] @ held["pass_reco"] == pytest.approx(len(measured), rel=1e-5)

    def close(weight: np.ndarray) -> Score:
        columns = with_replicas(np.where(simulation["pass_gen"] > 0, weight, 0.0))
        pq.write_table(pa.table(columns), run / "workspace" / "unfolded.parquet")
        return task.confirm(SUBMISSION, Score(metric="", value=1.0, reason=""), run, run / "workspace", run)

    right, none = close(np.exp(log_ratio(simulation, 0.5 * SHIFT))), close(np.ones(len(simulation["pass_gen"])))
    assert right.value is not None
    assert right.value > 0.6
    assert none.value == pytest.approx(0, abs=1e-6)
    # These replicas know the fluctuations of the simulation and not those of as many true events: 2/sqrt(2) sigma.
    assert 0.7 < right.details["coverage_2_sigma"] < 0.95
    assert task.confirm(SUBMISSION, right, run, folder, run).value is None


def test_the_other_simulation_by_itself_has_to_close(
    task: UnfoldingTask, prepared: tuple[Path, dict[str, Any]], simulation: dict[str, np.ndarray]
) -> None:
    run, _ = prepared
    passed = simulation["pass_gen"] > 0
    right = np.where(passed, np.exp(log_ratio(simulation, 0.5 * SHIFT)), 0.0)

    def details(columns: dict[str, np.ndarray]) -> tuple[dict[str, Any], str]:
        pq.write_table(pa.table(columns), run / "workspace" / "unfolded.parquet")
        score = task.confirm(SUBMISSION, Score(metric="", value=1.0, reason=""), run, run / "workspace", run)
        return score.details, score.reason

    closed, said = details(with_replicas(right) | {"weights_model": right})
    assert closed["self_closure"] == pytest.approx(1, abs=0.4)
    assert "unfolded with itself" in said
    assert details(with_replicas(right) | {"weights_model": 1.0 * passed})[0]["self_closure"] == pytest.approx(0)
    alone = with_replicas(right)
    del alone["weights_model"]
    assert details(alone)[0]["self_closure"] is None


def test_what_the_last_iteration_changed_is_in_units_of_the_error(
    task: UnfoldingTask, prepared: tuple[Path, dict[str, Any]], simulation: dict[str, np.ndarray]
) -> None:
    run, facts = prepared
    nominal = good(simulation, facts)
    passed, mass = simulation["pass_gen"] > 0, simulation["gen_mass"]
    low = passed & (mass < np.quantile(mass[passed], 0.1))
    columns = with_replicas(nominal, spread=0.0)
    assert grade(task, run, columns).details["last_iteration_change"] is None
    before = np.where(low, 0.9 * nominal, nominal)
    columns |= {"weights_ensemble_0": nominal, "weights_iteration_4": before}
    sums = [columns[f"weights_bootstrap_{i}"][low].sum() for i in range(BOOTSTRAPS)]
    change = grade(task, run, columns).details["last_iteration_change"]
    # Masses know of the multiplicity: no other bin can have changed more, in units of about the same error.
    assert change == pytest.approx(0.1 * nominal[low].sum() / np.std(sums, ddof=1), rel=1e-6)
    still = grade(task, run, columns | {"weights_iteration_4": nominal})
    assert still.details["last_iteration_change"] == 0


def test_options_that_cannot_be(tmp_path: Path) -> None:
    with pytest.raises(TaskError, match="simulation, nature"):
        UnfoldingTask(data=tmp_path).prepare(tmp_path / "i", tmp_path / "h", tmp_path / "s")
    with pytest.raises(TaskError, match="hold_out"):
        make_task("unfolding", {"hold_out": 0.0})


def test_the_shipped_sample_is_what_its_provenance_says() -> None:
    provenance = json.loads((SAMPLE / "provenance.json").read_text())
    assert set(provenance) == {SIMULATION, *NATURES}
    for name, made in provenance.items():
        path = SAMPLE / f"{name}.parquet"
        assert sha256(path) == made["sha256"]
        columns = read_columns(path)
        assert len(columns["pass_gen"]) == made["simulation"]["events"]
        assert made["simulation"]["process"]["tune"] == name
        np.testing.assert_array_equal(columns["gen_mult"], np.round(columns["gen_mult"]))
    assert sum(path.stat().st_size for path in SAMPLE.iterdir()) < 6 * 2**20


def test_weights_of_simulated_events_are_used_and_measured_ones_have_none(folder: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    tables = {name: read_columns(folder / f"{name}.parquet") for name in ("simulation", "alternative", "nature")}
    start = {
        name: np.where(t["pass_gen"] > 0, np.exp(log_ratio(t, 0.5 * SHIFT)), 1.0)
        for name, t in list(tables.items())[:2]
    }
    for name, columns in tables.items():
        write_events(tmp_path / f"{name}.parquet", columns | ({"genWeight": 3 * start[name]} if name in start else {}))
    task = UnfoldingTask(data=tmp_path, **ASKED)
    facts = task.prepare(run / "inputs", run / "held_out", run / "sealed")
    (run / "workspace").mkdir()
    given = read_columns(run / "inputs" / "simulation.parquet")
    np.testing.assert_allclose(
        given["weight"] / given["weight"].mean(), start["simulation"] / start["simulation"].mean(), rtol=1e-5
    )
    assert given["weight"] @ given["pass_reco"] == pytest.approx(facts["measured_events"], rel=1e-5)
    # The weights as they came unfold nothing; without them the simulation is farther from the data.
    passed = tables["simulation"]["pass_gen"] > 0
    scores = [
        grade(task, run, with_replicas(weight)).value or 0.0
        for weight in (np.where(passed, given["weight"], 0.0), 1.0 * passed)
    ]
    assert scores[0] == pytest.approx(0.0, abs=0.01)
    assert scores[1] < -0.5
    # As nature, the other simulation has no weights, and yet the same distribution.
    drawn, other = task.samples().as_nature(1), tables["alternative"]
    weight = start["alternative"] * other["pass_gen"]
    mean = np.average(other["gen_mass"], weights=weight)
    masses = drawn["gen_mass"][drawn["pass_gen"] > 0]
    assert abs(masses.mean() - mean) < 4 * masses.std() / np.sqrt(len(masses))
    assert abs(mean - other["gen_mass"][other["pass_gen"] > 0].mean()) > 4 * masses.std() / np.sqrt(len(masses))
    write_events(
        tmp_path / "nature.parquet", tables["nature"] | {"weight": np.linspace(0, 1, len(tables["nature"]["pass_gen"]))}
    )
    with pytest.raises(TaskError, match="measured events count once each"):
        UnfoldingTask(data=tmp_path).samples()
