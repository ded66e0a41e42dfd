"""Does a tagger believe its simulation? Drops against closed forms, who sees which jets, what the page says."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from jets_toys import toy_jets
from scipy.stats import norm

from tasks.page import Graded, Plot, Run, Table, Text
from tasks.score import Score
from tasks.tagging.intake import TaggingIntake
from tasks.tagging.page import NOT_ASKED, TaggingDetails
from tasks.tagging.samples import load_other
from tasks.tagging.simulation import compared, in_words
from tasks.tagging.submission import TaggerSubmission
from tasks.tagging.task import TaggingTask
from tasks.task import TaskError
from tools.events.sight import Sight
from tools.jet_model.jets import Jets
from tools.jet_model.jets_file import read_jets, write_jets
from tools.jet_model.observables import observables

LABELS = (30, 120)
SUBMISSION = TaggerSubmission(scores="scores.parquet")


def gaussians(distance: float, n: int, seed: int) -> tuple[dict[int, np.ndarray], np.ndarray]:
    """Scores of two numbers of labels: tops N(distance, 1), background N(0, 1), with the same jets in both."""
    rng = np.random.default_rng(seed)
    is_top = np.arange(n) < n // 3
    score = rng.normal(size=n) + distance * is_top
    return {30: score, 120: score + 0.3 * rng.normal(size=n)}, is_top


def test_a_shift_lowers_the_auc_as_gaussians_say() -> None:
    found = compared(*gaussians(2.0, 20_000, 1), *gaussians(1.2, 20_000, 2))
    one = found.numbers["30"]
    drop = norm.cdf(2.0 / np.sqrt(2)) - norm.cdf(1.2 / np.sqrt(2))
    assert one["drop"] == pytest.approx(drop, abs=4 * one["drop_error"])
    assert one["drop_error"] < 0.06 * drop
    kept = norm.sf(2.0) / norm.sf(1.2)
    assert one["kept"] == pytest.approx(kept, abs=4 * one["kept_error"])
    # Tops have moved by 0.8 below the cut that halves them here.
    assert one["efficiency"] == pytest.approx(norm.sf(0.8), abs=4 * one["efficiency_error"])
    spread = np.hypot(1, 0.3)
    noisy = norm.cdf(2.0 / np.sqrt(2) / spread) - norm.cdf(1.2 / np.sqrt(2) / spread)
    assert found.mean["drop"] == pytest.approx((drop + noisy) / 2, abs=4 * found.mean["drop_error"])
    # What two numbers of labels share does not average out: the error of a mean of independent ones would be 0.7 of it.
    assert found.mean["drop_error"] > 0.85 * one["drop_error"]
    assert found.said.startswith("The tagger believes its simulation")


def test_the_same_simulation_shows_no_drop() -> None:
    pulls = []
    for seed in range(20):
        found = compared(*gaussians(2.0, 1500, seed), *gaussians(2.0, 900, 100 + seed))
        pulls.append(found.mean["drop"] / found.mean["drop_error"])
    assert abs(np.mean(pulls)) < 4 / np.sqrt(len(pulls))
    assert 0.5 < np.std(pulls) < 1.6


@pytest.mark.parametrize(
    ("drop", "said"), [(0.03, "believes its simulation"), (-0.03, "loses nothing"), (0.01, "above 0.026 is excluded")]
)
def test_the_answer_in_words(drop: float, said: str) -> None:
    mean = {"drop": drop, "drop_error": 0.01, "kept": 0.7, "kept_error": 0.1}
    mean |= {"efficiency": 0.51, "efficiency_error": 0.02}
    assert said in in_words(mean)
    assert "carry over" not in in_words(mean)
    assert "keeps 0.600 ± 0.020 there" in in_words(mean | {"efficiency": 0.6})
    assert "0.70 ± 0.10" in in_words(mean)


def wider(jets: Jets) -> Jets:
    """Return jets of a simulation in which angles of background jets are larger."""
    assert jets.pid is not None
    particles = jets.particles.copy()
    particles[jets.pid != jets.kinds.index("top"), :, :2] *= 1.35
    return replace(jets, particles=particles)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("jets")
    write_jets(folder / "jets.h5", toy_jets(2400))
    write_jets(folder / "same.h5", toy_jets(1000, seed=7))
    write_jets(folder / "herwig.h5", wider(toy_jets(1000, seed=7)))
    return folder


def features(jets: Jets) -> np.ndarray:
    found = observables(jets)
    return np.column_stack([np.ones(len(jets)), *(np.log(found[x] + 1e-9) for x in ("mass", "e2", "width"))])


def axes(jets: Jets) -> set[tuple[float, ...]]:
    assert jets.jet is not None
    return set(map(tuple, jets.jet.tolist()))


def hand_in(inputs: Path, folder: Path) -> Path:
    """Write the scores of a linear tagger of the jets in `inputs`."""
    x = features(read_jets(inputs / "jets.h5"))
    scores = {}
    for n in LABELS:
        labelled = read_jets(inputs / f"labelled_{n}.h5")
        assert labelled.pid is not None
        scores[f"score_{n}"] = x @ np.linalg.lstsq(features(labelled), labelled.pid - 0.34, rcond=1e-3)[0]
    folder.mkdir(exist_ok=True)
    pq.write_table(pa.table(scores), folder / "scores.parquet")
    return folder


def asked(folder: Path, run: Path, other: str) -> tuple[TaggingTask, Score, Score]:
    """Return the task, the score of the linear tagger and its audited one, with the answer."""
    task = TaggingTask(data=folder, labels=LABELS, weights=None, other=folder / other)
    facts = task.prepare(run / "inputs", run / "held_out", run / "sealed")
    assert facts["other_simulation"] is True
    chosen = task.grade(SUBMISSION, run / "inputs", hand_in(run / "inputs", run / "workspace"), 1)
    claim = hand_in(run / "held_out", run / "claim")
    confirmed = task.confirm(SUBMISSION, chosen, run / "held_out", claim, run / "sealed")
    assert confirmed.ok, confirmed.reason
    assert task.audit
    assert task.audit.decoy(SUBMISSION, chosen, confirmed, run / "held_out", run / "sealed", run / "decoy")
    again = hand_in(run / "decoy", run / "audit")
    where = run / "held_out", run / "decoy", again, run / "sealed"
    return task, chosen, task.audit.judge(SUBMISSION, chosen, confirmed, *where, "")


def test_a_recipe_is_run_again_on_jets_that_no_agent_saw(folder: Path, tmp_path: Path) -> None:
    task, chosen, judged = asked(folder, tmp_path, "herwig.h5")
    jets = read_jets(tmp_path / "decoy" / "jets.h5")
    assert (jets.pid, jets.kinds) == (None, ())
    seen, other = axes(read_jets(tmp_path / "inputs" / "jets.h5")), load_other(folder / "herwig.h5")
    assert not axes(jets) & seen
    assert axes(jets) == axes(task.split().claim) | axes(other)
    for n in LABELS:
        given, before = (read_jets(tmp_path / where / f"labelled_{n}.h5") for where in ("decoy", "inputs"))
        np.testing.assert_array_equal(given.particles, before.particles)
        np.testing.assert_array_equal(given.pid, before.pid)
    found = TaggingDetails.of(judged).other
    assert found is not None
    assert found.jets == {"here": len(task.split().claim), "there": len(other)}
    # The drop by hand, on the features of the same jets.
    labelled, here = task.split().labelled.take(slice(0, 120)), task.split().claim
    assert labelled.pid is not None
    weights = np.linalg.lstsq(features(labelled), labelled.pid - 0.34, rcond=1e-3)[0]
    areas = []
    for each in (here, other):
        s, top = features(each) @ weights, each.pid == 1
        areas.append(np.mean(s[top][:, None] > s[~top][None]))
    assert found.numbers["120"]["drop"] == pytest.approx(areas[0] - areas[1], abs=1e-4)
    assert found.mean["drop"] > 3 * found.mean["drop_error"]
    assert found.said in judged.reason
    assert judged.value is not None
    blocks = task.page(Run(graded=[Graded(0, SUBMISSION, chosen)], best=0, confirmed=judged, audited=True)).best
    (table,) = [b for b in blocks if isinstance(b, Table) and b.title == "Dependence on the simulation"]
    assert [row[0] for row in table.rows] == ["30", "120"]
    assert any(isinstance(b, Text) and "believes its simulation" in b.text for b in blocks)
    plots = {b.name: b for b in blocks if isinstance(b, Plot)}
    assert set(plots) == {"on_mass", "on_both"}
    assert all(plot.draw() for plot in plots.values())
    assert plots["on_both"].data is not None
    assert plots["on_both"].data.columns[1].values == [each["auc_there"] for each in found.numbers.values()]


def test_other_jets_of_the_same_simulation_show_no_drop(folder: Path, tmp_path: Path) -> None:
    _, _, judged = asked(folder, tmp_path, "same.h5")
    found = TaggingDetails.of(judged).other
    assert found is not None
    assert abs(found.mean["drop"]) < 4 * found.mean["drop_error"]


def test_a_recipe_that_fails_there_keeps_its_value(folder: Path, tmp_path: Path) -> None:
    task, chosen, judged = asked(folder, tmp_path, "same.h5")
    assert task.audit
    where = tmp_path / "held_out", tmp_path / "decoy", tmp_path / "nothing", tmp_path / "sealed"
    (tmp_path / "nothing").mkdir()
    for trouble in ("it stopped", ""):
        failed = task.audit.judge(SUBMISSION, chosen, judged, *where, trouble)
        assert failed.value == judged.value
        found = TaggingDetails.of(failed).other
        assert found is not None
        assert found.numbers == {}
        assert (trouble or "scores.parquet") in found.said
    refused = judged.model_copy(update={"value": None})
    assert not task.audit.decoy(SUBMISSION, chosen, refused, *where[:1], where[3], tmp_path / "never")
    assert not (tmp_path / "never").exists()


def test_without_another_simulation_the_page_says_how_to_ask(folder: Path) -> None:
    task = TaggingTask(data=folder, labels=LABELS, weights=None)
    assert task.audit is None
    score = Score(metric="", value=3.0, reason="")
    blocks = task.page(Run(graded=[Graded(0, SUBMISSION, score)], best=0)).best
    assert Text(NOT_ASKED) in blocks
    assert "--set other=" in NOT_ASKED


def test_a_request_finds_the_file_beside_the_jets(folder: Path) -> None:
    sight = Sight(path=str(folder), kind="folder", parts=["herwig.h5", "jets.h5", "notes.txt"])
    asked_for = TaggingIntake().offer("Tag top jets; what is lost with the other generator?", sight)
    assert asked_for.options == {"other": str(folder / "herwig.h5")}
    not_asked = TaggingIntake().offer("Tag top jets with few labels.", sight)
    assert not_asked.options == {}
    assert "herwig.h5" in not_asked.remarks[-1]


@pytest.mark.parametrize(
    ("jets", "said"),
    [(None, "other=.*a file of jets"), ("quark", "of the kind top"), (30, "20 or more"), ("five", "4 features")],
)
def test_another_simulation_that_cannot_be_used(jets: Any, said: str, folder: Path, tmp_path: Path) -> None:
    if jets == "quark":
        write_jets(tmp_path / "x.h5", toy_jets(100).with_kinds(("quark", "gluon")))
    elif jets == "five":
        given = toy_jets(100)
        particles = np.pad(given.particles, ((0, 0), (0, 0), (0, 1)))  # with the kind of each particle
        write_jets(tmp_path / "x.h5", replace(given, particles=particles))
    elif jets:
        write_jets(tmp_path / "x.h5", toy_jets(jets))
    task = TaggingTask(data=folder, labels=LABELS, weights=None, other=tmp_path / "x.h5")
    with pytest.raises(TaskError, match=said):
        task.prepare(tmp_path / "a", tmp_path / "b", tmp_path / "c")
