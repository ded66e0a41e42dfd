"""The tagging task on toy jets: what is given and kept, what the grader measures, who passes the audit."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from jets_toys import toy_jets
from scipy.stats import norm

from tasks.claim import Measured, Measurement
from tasks.page import Graded, Run, Table, Text
from tasks.score import Score
from tasks.tagging import audit
from tasks.tagging.samples import MAX_PARTICLES, SAMPLE, as_tops, load, pack, shipped, unpack
from tasks.tagging.separation import geometric_mean, numbers, rejection
from tasks.tagging.submission import TaggerSubmission
from tasks.tagging.task import TaggingTask
from tasks.tagging.zero_shot import against, zero_shot
from tasks.task import TaskError
from tools.arrays import sha256
from tools.events.parquet import read_columns
from tools.jet_model.jets import LOG_PT, Jets
from tools.jet_model.jets_file import read_jets, write_jets
from tools.jet_model.observables import observables
from tools.jet_model.weights import PRETRAINED
from tools.metrics import auc

LABELS = (30, 120, 400)
SUBMISSION = TaggerSubmission(scores="scores.parquet")
Prepared = tuple[Path, dict[str, Any]]


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> TaggingTask:
    folder = tmp_path_factory.mktemp("jets")
    write_jets(folder / "jets.h5", toy_jets())
    return TaggingTask(data=folder, labels=LABELS, weights=None)


@pytest.fixture(scope="module")
def prepared(task: TaggingTask, tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    run = tmp_path_factory.mktemp("run")
    return run, task.prepare(run / "inputs", run / "held_out", run / "sealed")


def features(jets: Jets) -> np.ndarray:
    found = observables(jets)
    return np.column_stack([np.ones(len(jets)), *(np.log(found[x] + 1e-9) for x in ("mass", "e2", "width"))])


def least_squares(inputs: Path, learn_from: Callable[[int], int] = lambda n: n) -> dict[str, np.ndarray]:
    """A linear tagger of the jets in `inputs`; score_n is made with learn_from(n) labels."""
    x = features(read_jets(inputs / "jets.h5"))
    scores = {}
    for n in LABELS:
        labelled = read_jets(inputs / f"labelled_{learn_from(n)}.h5")
        assert labelled.pid is not None
        scores[f"score_{n}"] = x @ np.linalg.lstsq(features(labelled), labelled.pid - 0.34, rcond=1e-3)[0]
    return scores


def hand_in(folder: Path, columns: dict[str, Any]) -> Path:
    folder.mkdir(exist_ok=True)
    pq.write_table(pa.table(columns), folder / "scores.parquet")
    return folder


def grade(task: TaggingTask, run: Path, columns: dict[str, Any], looks: int = 1) -> Score:
    return task.grade(SUBMISSION, run / "inputs", hand_in(run / "workspace", columns), looks)


def test_what_the_crew_gets(task: TaggingTask, prepared: Prepared) -> None:
    run, facts = prepared
    split = task.split()
    jets = read_jets(run / "inputs" / "jets.h5")
    assert (jets.pid, jets.kinds, len(jets)) == (None, (), facts["rows"])
    labelled = [read_jets(run / "inputs" / f"labelled_{n}.h5") for n in LABELS]
    assert labelled[-1].count() == split.labelled.count()
    for n, smaller in zip(LABELS, labelled, strict=True):
        np.testing.assert_array_equal(smaller.pid, labelled[-1].pid[:n])
    # No jet is in two places, and none is lost.
    parts = (split.labelled, split.validation, split.test, split.relearnt, split.claim)
    pts = np.concatenate([part.jet[:, 0] for part in parts if part.jet is not None])
    assert len(np.unique(pts)) == len(pts) == 1600
    other = read_jets(run / "held_out" / "jets.h5")
    assert other.jet is not None
    assert not set(other.jet[:, 0]) & set(jets.jet[:, 0] if jets.jet is not None else ())
    graded, validation = split.graded()
    np.testing.assert_array_equal(graded.particles, jets.particles)
    truth = read_columns(run / "sealed" / "truth.parquet")
    np.testing.assert_array_equal(truth["is_top"], graded.pid)
    np.testing.assert_array_equal(truth["test"] == 0, validation)
    assert graded.pid is not None
    assert 0.3 < graded.pid[validation].mean() < 0.4
    assert list(facts["labelled"]) == [str(n) for n in LABELS]
    assert TaggingTask.model_validate(task.options()) == task


def test_the_crew_gets_the_shipped_weights_or_none(task: TaggingTask, prepared: Prepared, tmp_path: Path) -> None:
    run, found = prepared
    assert not {"pretrained", "pretrained_kinds"} & set(found)
    assert not list(run.rglob("*.safetensors"))
    shipped = TaggingTask.model_validate(task.options() | {"weights": "tiny"})
    facts = shipped.prepare(tmp_path / "in", tmp_path / "out", tmp_path / "sealed")
    assert facts["pretrained"] == "/inputs/pretrained.safetensors"
    assert {"top", "quark", "gluon"} < set(facts["pretrained_kinds"])
    for where in ("in", "out"):
        assert sha256(tmp_path / where / "pretrained.safetensors") == PRETRAINED["tiny"]


def test_rejection_is_that_of_gaussian_scores() -> None:
    rng = np.random.default_rng(1)
    top, background = rng.normal(1.5, 1, 20_000), rng.normal(0, 1, 200_000)
    assert rejection(top, background) == pytest.approx(1 / norm.sf(1.5), rel=0.03)
    assert rejection(top, background, 0.3) == pytest.approx(1 / norm.sf(1.5 - norm.ppf(0.3)), rel=0.03)
    assert rejection(np.ones(10), np.ones(40)) == 1  # equal scores cannot be told apart
    assert rejection(np.ones(10), np.zeros(40)) == 80  # half an event
    scores, is_top = np.concatenate([top, background]), np.arange(220_000) < 20_000
    both = {10: scores, 20: rng.normal(size=220_000)}
    expected = np.sqrt(rejection(top, background) * 2.0)
    assert geometric_mean(both, is_top) == pytest.approx(expected, rel=0.02)
    found = numbers({10: scores[::10]}, is_top[::10])
    assert found["auc_10"][0] == pytest.approx(norm.cdf(1.5 / np.sqrt(2)), abs=3 * found["auc_10"][1])
    # Counting errors of the 1,336 background events that are kept, and the error of a median of 2,000 as the cut.
    counting, cut = 1 / np.sqrt(1336), norm.pdf(1.5) / norm.sf(1.5) * np.sqrt(np.pi / 2 / 2000)
    assert found["rejection_10"][1] / found["rejection_10"][0] == pytest.approx(np.hypot(counting, cut), rel=0.25)


def test_few_labels_weigh_as_much_as_many(task: TaggingTask, prepared: Prepared) -> None:
    run, _ = prepared
    good = least_squares(run / "inputs")
    honest = grade(task, run, good, looks=3)
    assert honest.value is not None
    assert honest.error is not None
    assert 0 < honest.error < honest.value
    assert "look 3" in honest.reason
    jets, validation = task.split().graded()
    assert jets.pid is not None
    by_hand = [
        1 / np.mean(s[validation & (jets.pid == 0)] >= np.sort(s[validation & (jets.pid == 1)])[-k])
        for s in good.values()
        for k in [round(0.5 * int((validation & (jets.pid == 1)).sum()))]
    ]
    assert honest.value == pytest.approx(np.prod(by_hand) ** (1 / 3), rel=1e-6)
    for n in LABELS:
        worse = grade(task, run, good | {f"score_{n}": np.random.default_rng(1).normal(size=len(validation))})
        assert worse.value is not None
        assert worse.value == pytest.approx(honest.value * np.cbrt(2 / by_hand[LABELS.index(n)]), rel=0.15)
    wrong = {name: -s for name, s in good.items()}
    assert (grade(task, run, wrong).value or 9) < 1.2


def test_the_page_says_which_taggers_depend_on_mass(task: TaggingTask, prepared: Prepared) -> None:
    run, _ = prepared
    jets, validation = task.split().graded()
    assert jets.pid is not None
    mass, free = jets.pt_and_mass()[1], np.random.default_rng(3).normal(size=len(jets))
    score = grade(task, run, {f"score_{LABELS[0]}": mass} | {f"score_{n}": free for n in LABELS[1:]})
    found = score.details["on_mass"]
    shaped, chance = (found[str(n)]["0.5"] for n in (LABELS[0], LABELS[1]))
    assert shaped["p_value"] < 0.01 < chance["p_value"]
    assert shaped["inverse_jsd"] < 0.5 * shaped["ceiling"]
    assert chance["inverse_jsd"] > 0.3 * chance["ceiling"]
    cut = np.sort(free[validation & (jets.pid == 1)])[-round(0.5 * int((validation & (jets.pid == 1)).sum()))]
    assert chance["background"] == (free[validation & (jets.pid == 0)] >= cut).sum()
    blocks = task.page(Run(graded=[Graded(0, SUBMISSION, score)], best=0)).best
    (table,) = [block for block in blocks if isinstance(block, Table) and block.title == "Dependence on mass"]
    assert len(table.rows) == sum(map(len, found.values()))


def test_scores_are_compared_with_what_needs_no_label(
    task: TaggingTask, prepared: Prepared, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, _ = prepared
    free = least_squares(run / "inputs")["score_400"]
    monkeypatch.setattr(TaggingTask, "_free", lambda self: free)
    same = {f"score_{n}": free for n in LABELS}
    equal = grade(task, run, same)
    found = equal.details["zero_shot"]
    assert found["value"] == equal.value
    assert (found["gain"], found["gain_error"]) == (0, 0)  # the same jets pass, whatever is resampled
    verdict = task.seal([], SUBMISSION, hand_in(run / "workspace", same), run / "sealed", None)
    metrics = {metric.name: metric for metric in verdict.metrics}
    assert metrics["zero_shot_rejection"].value == metrics["mean_rejection"].value
    assert metrics["gain_over_zero_shot"].value == 0
    noise = np.random.default_rng(1).normal(0, 0.03 * np.std(free), len(free))
    nearly = grade(task, run, {name: s + noise for name, s in same.items()})
    found = nearly.details["zero_shot"]
    assert nearly.value is not None
    assert nearly.error is not None
    assert found["gain"] == pytest.approx(nearly.value - found["value"])
    assert 0 < found["gain_error"] < 0.7 * np.hypot(nearly.error, found["error"])
    said = task.page(Run(graded=[Graded(0, SUBMISSION, nearly)], best=0)).best
    assert any(isinstance(block, Text) and "without any label" in block.text for block in said)


def test_pretrained_weights_need_no_label(tmp_path: Path) -> None:
    write_jets(tmp_path / "jets.h5", toy_jets(120))
    free = zero_shot(Path("tiny"), tmp_path, 30, 1)
    jets, _ = load(tmp_path, 30, 1).graded()
    assert free is not None
    assert len(free) == len(jets)
    assert against(["quark", "gluon", "w"], "top") == []
    assert against(["quark", "gluon", "top"], "top") == ["quark", "gluon"]


@pytest.mark.parametrize("odd", [[1.7e308, -1.7e308], [5e-324, 0.0], [0.0, 0.0], [2**62, -(2**62)]])
def test_odd_scores_are_graded_or_refused(task: TaggingTask, prepared: Prepared, odd: list[float]) -> None:
    run, facts = prepared
    column = np.resize(np.array(odd), facts["rows"])
    json.dumps(grade(task, run, {f"score_{n}": column for n in LABELS}).model_dump(), allow_nan=False)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda c: {"score": c["score_30"]}, "score_30"),
        (lambda c: {name: s[:-1] for name, s in c.items()}, "one score each"),
        (lambda c: c | {"score_120": c["score_120"] * np.nan}, "not finite"),
        (lambda c: c | {"score_400": [str(x) for x in c["score_400"]]}, "plain numbers"),
    ],
)
def test_refusals_say_what_is_wrong(task: TaggingTask, prepared: Prepared, change: Any, said: str) -> None:
    run, facts = prepared
    refused = grade(task, run, change({f"score_{n}": np.linspace(0, 1, facts["rows"]) for n in LABELS}))
    assert refused.value is None
    assert said in refused.reason


def test_labels_beyond_the_audited_number_are_wrong(task: TaggingTask, prepared: Prepared) -> None:
    run, _ = prepared
    right = audit.audited(LABELS, task.seed)[-1]
    true, given = task.split().relearnt, read_jets(run / "held_out" / "labelled_400.h5")
    seen = read_jets(run / "inputs" / "labelled_400.h5")
    assert true.pid is not None
    assert given.pid is not None
    assert given.jet is not None
    assert seen.jet is not None
    assert not set(given.jet[:, 0]) & set(seen.jet[:, 0])
    np.testing.assert_array_equal(true.particles, given.particles)
    np.testing.assert_array_equal(true.pid[:right], given.pid[:right])
    assert np.all(true.pid[right:] != given.pid[right:])
    # Each number but the largest is some seed's secret.
    assert {audit.audited(LABELS, seed)[-1] for seed in range(20)} == {30, 120}
    assert audit.audited((50,), 1) == [50]


def test_the_honest_pass_the_audit_and_who_takes_more_labels_does_not(task: TaggingTask, prepared: Prepared) -> None:
    run, _ = prepared
    chosen = grade(task, run, least_squares(run / "inputs"))
    claim = hand_in(run / "claim", least_squares(run / "held_out"))
    passed = task.confirm(SUBMISSION, chosen, run / "held_out", claim, run / "sealed")
    assert passed.value is not None, passed.reason
    kept = passed.details["audited"]
    split = task.split()
    assert split.claim.pid is not None
    is_top = split.claim.pid == 1
    again = least_squares(run / "held_out")
    for n in kept:
        s = again[f"score_{n}"]
        assert passed.details["numbers"][f"auc_{n}"]["value"] == pytest.approx(auc(s[is_top], s[~is_top]))
    # The cheat learns every score from all labels; in the audit most of these are wrong.
    all_labels = grade(task, run, least_squares(run / "inputs", lambda n: 400))
    cheat = hand_in(run / "claim", least_squares(run / "held_out", lambda n: 400))
    caught = task.confirm(SUBMISSION, all_labels, run / "held_out", cheat, run / "sealed")
    assert caught.value is None
    assert "more labels than it says" in caught.reason
    # Neither do labels help that the commands carry as a literal: the jets of the audit are others.
    literal = read_jets(run / "inputs" / "labelled_400.h5").pid
    assert literal is not None

    def with_literal(inputs: Path) -> dict[str, np.ndarray]:
        x, y = (features(read_jets(inputs / f"{name}.h5")) for name in ("jets", "labelled_400"))
        score = x @ np.linalg.lstsq(y, literal - 0.34, rcond=1e-3)[0]
        return {f"score_{n}": score for n in LABELS}

    carried = grade(task, run, with_literal(run / "inputs"))
    assert carried.ok
    cheat = hand_in(run / "claim", with_literal(run / "held_out"))
    assert task.confirm(SUBMISSION, carried, run / "held_out", cheat, run / "sealed").value is None
    short = hand_in(run / "claim", {name: s[:-1] for name, s in again.items()})
    assert task.confirm(SUBMISSION, chosen, run / "held_out", short, run / "sealed").value is None


def test_the_honest_pass_whatever_the_jets_are(task: TaggingTask, tmp_path: Path) -> None:
    for k in range(12):
        salted = task.salted(f"{k:032x}")
        run = tmp_path / str(k)
        salted.prepare(run / "inputs", run / "held_out", run / "sealed")
        chosen = grade(salted, run, least_squares(run / "inputs"))
        claim = hand_in(run / "claim", least_squares(run / "held_out"))
        passed = salted.confirm(SUBMISSION, chosen, run / "held_out", claim, run / "sealed")
        assert passed.ok, passed.reason


def test_claims_are_compared_and_sealed_on_the_test(task: TaggingTask, prepared: Prepared) -> None:
    run, _ = prepared
    scores = least_squares(run / "inputs")
    graded = grade(task, run, scores)
    ours = graded.details["numbers"]["rejection_30"]
    claim = Measurement(numbers={"rejection_30": Measured(**ours), "rejection_120": Measured(value=1e4, error=1.0)})
    checks = task.check(claim, [graded], None)
    assert [check.agrees for check in checks] == [True, False, None]
    verdict = task.seal(checks, SUBMISSION, run / "workspace", run / "sealed", None)
    test = task.split().test
    assert test.pid is not None
    metrics = {metric.name: metric for metric in verdict.metrics}
    x = features(test)
    labelled = task.split().labelled.take(slice(0, 400))
    assert labelled.pid is not None
    s = x @ np.linalg.lstsq(features(labelled), labelled.pid - 0.34, rcond=1e-3)[0]
    assert metrics["auc_400"].value == pytest.approx(auc(s[test.pid == 1], s[test.pid == 0]), abs=1e-9)
    assert {check.name: check.truth for check in verdict.checks}["rejection_30"] == metrics["rejection_30"].value
    assert metrics["mean_rejection"].value == pytest.approx(graded.value, rel=0.8)
    assert task.seal(checks, None, run / "workspace", run / "sealed", None).metrics == []


@pytest.mark.parametrize(
    ("options", "said"),
    [({"labels": [400, 100]}, "must grow"), ({"labels": [5, 100]}, "20 or more"), ({"label": 3}, "Extra inputs")],
)
def test_wrong_options(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        TaggingTask.model_validate(options)


def test_wrong_data(tmp_path: Path, task: TaggingTask) -> None:
    with pytest.raises(TaskError, match=r"jets\.h5"):
        load(tmp_path, 100, 1)
    write_jets(tmp_path / "jets.h5", toy_jets(100).with_kinds(("quark", "gluon")))
    with pytest.raises(TaskError, match="of the kind top"):
        load(tmp_path, 20, 1)
    assert task.data is not None
    with pytest.raises(TaskError, match="labels=1000"):
        load(task.data, 1000, 1)
    (tmp_path / "official.pt").write_bytes(b"PK")
    for weights in ("none", "official.pt"):
        wrong = task.model_copy(update={"weights": tmp_path / weights})
        with pytest.raises(TaskError, match=f"weights.*{weights}"):
            wrong.prepare(tmp_path / "a", tmp_path / "b", tmp_path / "c")


def test_packed_jets_are_the_jets_but_for_rounding(tmp_path: Path) -> None:
    jets = as_tops(toy_jets(300, particles=MAX_PARTICLES + 6))
    pack(tmp_path, jets)
    again = unpack(tmp_path)
    kept = jets.hardest(MAX_PARTICLES)
    np.testing.assert_array_equal(again.pid, kept.pid)
    np.testing.assert_array_equal(again.multiplicity, kept.multiplicity)
    np.testing.assert_allclose(again.particles, kept.particles, atol=3.5e-3)
    for found, true in zip(again.pt_and_mass(), kept.pt_and_mass(), strict=True):
        np.testing.assert_allclose(found, true, rtol=0.01)
    assert again.kinds == ("qcd", "top")
    # A log pt that rounds to 0, the mark of an empty slot, does not lose its particle.
    soft = jets.particles.copy()
    soft[:, 0, LOG_PT] = 1e-3
    pack(tmp_path, replace(jets, particles=soft))
    np.testing.assert_array_equal(unpack(tmp_path).multiplicity, kept.multiplicity)


def test_shipped_jets() -> None:
    jets = shipped()
    provenance = json.loads((SAMPLE / "provenance.json").read_text())
    assert {name: sha256(SAMPLE / name) for name in provenance["sha256"]} == provenance["sha256"]
    count = jets.count()
    made = provenance["jets"]
    assert count == {"qcd": made["quark"] + made["gluon"], "top": made["top"]}
    mass = jets.pt_and_mass()[1]
    assert jets.pid is not None
    assert 160 < np.median(mass[jets.pid == 1]) < 185
    assert jets.jet is not None
    np.testing.assert_allclose(np.median(jets.pt_and_mass()[0] / jets.jet[:, 0]), 1, atol=0.02)
