"""The task showers: what the grader rewards, refuses and cannot be fooled by, on GFlash showers of the hidden kind."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from tasks.catalogue import make_task
from tasks.claim import Measured, Measurement
from tasks.convergence import Change, change
from tasks.score import Score
from tasks.showers import grader
from tasks.showers import samples as parts
from tasks.showers.samples import Samples, nature
from tasks.showers.submission import ShowersSubmission
from tasks.showers.task import ShowersTask
from tasks.task import TaskError
from tools.calorimeter import classifier
from tools.calorimeter.geometry import Geometry, Layer, read_binning, write_binning
from tools.calorimeter.gflash import simulate
from tools.calorimeter.materials import find_material
from tools.calorimeter.showers import Showers, read_showers, write_showers
from tools.metrics import auc

SUBMISSION = ShowersSubmission(showers="generated.safetensors")
# Like data set 1, with fewer voxels: trees take their time for each.
G = Geometry(
    "binning",
    "photon",
    (
        Layer(0, (0.0, 10.0, 100.0), 1, (1.0, 4.0)),
        Layer(1, (0.0, 5.0, 20.0, 50.0, 200.0), 4, (4.0, 14.0)),
        Layer(2, (0.0, 50.0, 300.0), 1, (14.0, 26.0)),
    ),
)


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> ShowersTask:
    path = tmp_path_factory.mktemp("geometry") / "binning.xml"
    write_binning(path, G)
    return ShowersTask(geometry=str(path), showers=3000)


@pytest.fixture(scope="module")
def prepared(task: ShowersTask, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    run = tmp_path_factory.mktemp("run")
    facts = task.prepare(run / "inputs", run / "held_out", run / "sealed")
    (run / "workspace").mkdir()
    return run, facts


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(classifier, "TREES", classifier.TREES | {"max_iter": 40, "max_leaf_nodes": 15})


@pytest.fixture(scope="module")
def perfect(task: ShowersTask) -> Showers:
    """As good as it gets: the hidden calorimeter itself, with another seed."""
    return simulate(task.samples().asked.incident, G, 99, nature(G, task.seed))


def grade(task: ShowersTask, run: Path, showers: Showers) -> Score:
    write_showers(run / "workspace" / SUBMISSION.showers, showers)
    return task.grade(SUBMISSION, run / "inputs", run / "workspace", 1)


def test_the_crew_gets_energies_and_no_hidden_shower(task: ShowersTask, prepared: tuple[Path, dict[str, Any]]) -> None:
    run, facts = prepared
    assert not (run / "held_out").exists()
    assert {p.name for p in (run / "inputs").iterdir()} == {"train.h5", "reference.h5", "energies.h5", "binning.xml"}
    given = {name: read_showers(run / "inputs" / f"{name}.h5", G) for name in ("train", "reference", "energies")}
    assert not given["energies"].voxels.any()
    assert [len(s) for s in given.values()] == [1500, 300, 1200]
    assert facts["showers_asked_for"] == 1200
    s = task.samples()
    np.testing.assert_array_equal(given["energies"].incident, s.asked.incident)
    assert s.steers.sum() == 600
    # Every shower is in one part only.
    together = np.concatenate([given["train"].voxels, given["reference"].voxels, s.asked.voxels])
    assert len(np.unique(together.sum(axis=1))) > 2990
    assert read_binning(run / "inputs" / "binning.xml", "photon").n_voxels == facts["voxels"] == 20
    assert facts["geometry"] == "/inputs/binning.xml"
    assert ShowersTask().samples().train.geometry.name == "ds1_photons"
    assert make_task("showers", task.options()).options() == task.options()


def test_a_perfect_simulation_hides_and_others_do_not(
    task: ShowersTask, prepared: tuple[Path, dict[str, Any]], perfect: Showers
) -> None:
    run, _ = prepared
    best = grade(task, run, perfect)
    assert best.value is not None
    assert best.error is not None
    assert best.value > 0.9
    assert 0.02 < best.error < 0.1
    assert best.artefact == hashlib.sha256((run / "workspace" / SUBMISSION.showers).read_bytes()).hexdigest()
    assert best.details["regions_distrusted"] <= 1

    low = grade(task, run, Showers(perfect.incident, perfect.voxels * np.float32(0.95), G))
    assert low.value is not None
    assert low.value < best.value - 2 * best.error
    # It ignores the incident energy.
    shuffled = perfect.voxels[np.random.default_rng(1).permutation(len(perfect))]
    deaf = grade(task, run, Showers(perfect.incident, shuffled, G))
    assert deaf.value is not None
    assert deaf.value < 0.2
    assert deaf.details["regions_distrusted"] > 5


def test_gains_are_judged_on_the_same_resampled_showers(
    task: ShowersTask, prepared: tuple[Path, dict[str, Any]], perfect: Showers
) -> None:
    run, _ = prepared
    low = Showers(perfect.incident, perfect.voxels * np.float32(0.95), G)
    best, again, other = (grade(task, run, showers) for showers in (perfect, perfect, low))
    assert change(again, best, 0) == Change(against_iteration=0, value=0, error=0, paired=True)
    made = change(other, best, 0)
    assert made.paired
    assert made.value < -2 * made.error < 0
    for score in (best, other):
        assert len(score.resampled) == grader.TOYS
        assert score.error is not None
        assert score.error / 2 < np.std(score.resampled) < 2 * score.error


def test_resampling_repeats_whole_rows() -> None:
    """Each row once is the sample itself, and a row taken three times is three such rows, in whatever order."""
    rng = np.random.default_rng(2)
    ours, theirs, rows = rng.normal(size=40), rng.normal(0.5, 1, size=40), rng.permutation(40)
    look = grader.Look(ours, theirs, rows, rows[::-1])
    assert look.auc(np.ones(40, dtype=np.int64)) == auc(theirs, ours)
    counts = rng.multinomial(40, np.full(40, 1 / 40))
    listed = [
        np.concatenate([[value] * counts[row] for value, row in zip(*both, strict=True)])
        for both in ((theirs, rows[::-1]), (ours, rows))
    ]
    assert look.auc(counts) == pytest.approx(auc(*listed))
    spread = np.std(grader.resampled([look], 40))
    stretched = np.std(grader.resampled([replace(look, stretch=1.5)], 40))
    assert stretched == pytest.approx(1.5 * spread, rel=0.35)  # not exactly: a score never exceeds 1


def test_a_built_in_material_is_not_the_answer(task: ShowersTask) -> None:
    hidden, known = nature(G, task.seed), find_material("lead_argon")
    assert nature(G, 2) != hidden == nature(G, 1)
    assert hidden.sampling != known.sampling
    assert hidden.moliere_mm != pytest.approx(known.moliere_mm, rel=1e-3)


def test_copies_do_not_pay(task: ShowersTask, prepared: tuple[Path, dict[str, Any]]) -> None:
    run, _ = prepared
    train, asked = task.samples().train, task.samples().asked
    rng = np.random.default_rng(1)
    near = np.argsort(np.abs(np.log(asked.incident[:, None] / train.incident)), axis=1)[:, :5]
    rows = near[np.arange(len(asked)), rng.integers(0, 5, len(asked))]
    scale = (asked.incident / train.incident[rows])[:, None]
    copied = grade(task, run, Showers(asked.incident, train.voxels[rows] * scale, G))
    assert copied.value is not None
    assert copied.value < 0.1
    assert copied.details["worst"] == "auc_memory"
    assert max(copied.details["numbers"][f"auc_{look}"]["value"] for look in ("voxels", "observables")) < 0.6


@pytest.mark.parametrize("noise", [0.0, 0.001])
def test_copies_of_the_hidden_showers_are_an_alarm(
    task: ShowersTask, prepared: tuple[Path, dict[str, Any]], noise: float
) -> None:
    asked = task.samples().asked
    near = np.random.default_rng(1).normal(1, noise, asked.voxels.shape).astype(np.float32)
    copied = grade(task, prepared[0], Showers(asked.incident, asked.voxels * near, G))
    assert copied.value is None
    assert "below chance" in copied.reason


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda a: {"showers": a["showers"]}, "incident_energies"),
        (lambda a: {k: v[:-1] for k, v in a.items()}, "one shower for each of the 1200"),
        (lambda a: {k: v[::-1] for k, v in a.items()}, "in their order"),
        (lambda a: a | {"showers": -a["showers"]}, "0 MeV or more"),
        (lambda a: a | {"showers": a["showers"] * np.float32(np.nan)}, "finite"),
        (lambda a: a | {"showers": a["showers"] / 1000}, "GeV"),
        (lambda a: a | {"showers": a["showers"][:, :-1]}, "20 voxels"),
        (lambda a: a | {"incident_energies": np.zeros((1200, 3))}, "1200, 3"),
        (lambda a: a | {"more": np.zeros(10**6)}, "too much"),
    ],
)
def test_refusals_say_what_is_wrong(
    task: ShowersTask, prepared: tuple[Path, dict[str, Any]], perfect: Showers, change: Any, said: str
) -> None:
    run, _ = prepared
    arrays = {"incident_energies": perfect.incident[:, None], "showers": perfect.voxels}
    wrong = {name: np.ascontiguousarray(values) for name, values in change(arrays).items()}
    save_file(wrong, run / "workspace" / SUBMISSION.showers)
    refused = task.grade(SUBMISSION, run / "inputs", run / "workspace", 1)
    assert refused.value is None
    assert said in refused.reason


@pytest.mark.parametrize("odd", [3e38, 1e30, 1e-40, 0.0])
@pytest.mark.parametrize("which", ["all", "one"])
def test_odd_showers_are_graded_or_refused(
    task: ShowersTask, prepared: tuple[Path, dict[str, Any]], perfect: Showers, odd: float, which: str
) -> None:
    voxels = perfect.voxels.copy()
    voxels[:, 0 if which == "one" else slice(None)] = odd
    json.dumps(grade(task, prepared[0], Showers(perfect.incident, voxels, G)).model_dump(), allow_nan=False)


def test_links_and_other_formats_are_refused(
    task: ShowersTask, prepared: tuple[Path, dict[str, Any]], perfect: Showers, tmp_path: Path
) -> None:
    write_showers(tmp_path / "real.safetensors", perfect)
    (tmp_path / SUBMISSION.showers).symlink_to(tmp_path / "real.safetensors")
    assert "links are not followed" in task.grade(SUBMISSION, tmp_path, tmp_path, 1).reason
    assert ".safetensors" in task.grade(ShowersSubmission(showers="x.h5"), tmp_path, tmp_path, 1).reason
    assert task.grade(ShowersSubmission(showers="none.safetensors"), tmp_path, tmp_path, 1).value is None


def test_claims_and_the_sealed_verdict(
    task: ShowersTask, prepared: tuple[Path, dict[str, Any]], perfect: Showers, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, facts = prepared
    monkeypatch.setattr("tools.calorimeter.fpd.KPD_SIZE", 500)
    voxels = perfect.voxels.copy()
    wrong = (perfect.incident > 1e4) & (perfect.incident < 2e4)
    voxels[wrong] *= np.float32(0.8)
    score = grade(task, run, Showers(perfect.incident, voxels, G))
    ours = score.details["numbers"]
    assert set(facts["numbers_to_claim"]) <= set(ours)
    claim = Measurement(
        numbers={
            "auc_voxels": Measured(**ours["auc_voxels"]),
            "auc_observables": Measured(value=0.99, error=0.01),
            "speed": Measured(value=1.0),
        }
    )
    checks = {check.name: check for check in task.check(claim, [score], None)}
    assert (checks["auc_voxels"].agrees, checks["auc_observables"].agrees) == (True, False)
    assert (checks["auc_memory"].agrees, checks["speed"].agrees, checks["speed"].harness) == (None, None, None)

    verdict = task.seal(list(checks.values()), SUBMISSION, run / "workspace", run / "sealed", None)
    metrics = {metric.name: metric for metric in verdict.metrics}
    true = {check.name: check.truth for check in verdict.checks}
    assert true["auc_voxels"] == metrics["auc_voxels"].value
    assert true["speed"] is None
    assert metrics["auc_memory"].value == pytest.approx(0.5, abs=0.1)
    assert metrics["response_deviation"].value == pytest.approx(0.2, abs=0.06)
    ratio = np.array(verdict.curves["response_generated"]) / np.array(verdict.curves["response"])
    assert 9e3 < verdict.curves["incident_mev"][int(np.argmin(ratio))] < 2.2e4
    assert metrics["regions_distrusted"].value > 0
    assert task.seal([], None, run / "workspace", run / "sealed", None).metrics == []


def test_a_file_of_one_s_own(tmp_path: Path, task: ShowersTask) -> None:
    whole: Samples = task.samples()
    write_showers(tmp_path / "mine.h5", whole.train)
    with pytest.raises(TaskError, match=r"at most 1500, the number in mine\.h5"):
        ShowersTask(data=tmp_path / "mine.h5", geometry=task.geometry, showers=2000).samples()
    with pytest.raises(TaskError, match="no such file"):
        ShowersTask(data=tmp_path / "none.h5").samples()
    with pytest.raises(TaskError, match="ds1_photons"):
        ShowersTask(geometry="cube").samples()
    with pytest.raises(TaskError, match="showers"):
        make_task("showers", {"showers": 10})
    write_showers(tmp_path / "two.h5", Showers(whole.asked.incident, whole.asked.voxels, G))
    loaded = parts._load(tmp_path / "two.h5", G, 1000, 1)
    assert [len(s) for s in (loaded.train, loaded.reference, loaded.asked)] == [500, 100, 400]
    assert set(loaded.train.voxels.sum(axis=1)) <= set(whole.asked.voxels.sum(axis=1))
