"""The analyst on the tagging task: calls that the tools take, scores in one file, a claim from the verdict."""

from __future__ import annotations

import ast
import json
import sys
from pathlib import Path
from subprocess import run
from typing import Any

import numpy as np
import pytest
from asked import ask, only_call, planned, told

from agents.backends.base import Message
from tasks.claim import Measurement
from tasks.plan import Plan
from tasks.policy import run_python
from tasks.tagging import policy as tagging
from tasks.tagging.submission import TaggerSubmission
from tools.catalogue import CATALOGUE
from tools.events.parquet import read_columns, write_events
from tools.jet_model.jets import from_momenta
from tools.jet_model.jets_file import write_jets

LABELS = (60, 200)
FACTS: dict[str, Any] = {
    "task": "tagging",
    "jets": "/inputs/jets.h5",
    "labels": list(LABELS),
    "labelled": {str(n): f"/inputs/labelled_{n}.h5" for n in LABELS},
    "kinds": ["qcd", "top"],
    "pretrained": "/inputs/pretrained.safetensors",
}
TRAINED = {"labels_used": 60, "best_epoch": 7, "separation": {"auc": {"qcd": 0.931, "top": 0.931}}}
RAN = {"exit_code": 0, "stdout": "60 labels: cross-validated AUC 0.9", "stderr": ""}


def plan(iteration: int, **facts: Any) -> Plan:
    return planned(FACTS | facts, iteration)


def written(code: str, values: dict[str, Any]) -> str:
    return run_python("a.py", code, values).arguments["code"]


def worker_context(made: Plan) -> dict[str, Any]:
    return {"facts": FACTS, "step": made.steps[0].model_dump(mode="json"), "done": {}}


@pytest.mark.parametrize("iteration", [1, 2, 6])
def test_plans_hold_calls_that_the_tools_take(iteration: int) -> None:
    made = plan(iteration)
    calls = made.steps[0].calls
    assert [call.tool for call in calls] == ["jet_model.finetune", "jet_model.score"] * len(LABELS)
    for n, (finetune, score) in zip(LABELS, zip(calls[::2], calls[1::2], strict=True), strict=True):
        request = CATALOGUE["jet_model.finetune"].parse(finetune.arguments)
        assert (request.jets, request.start) == (FACTS["labelled"][str(n)], FACTS["pretrained"])
        assert CATALOGUE["jet_model.score"].parse(score.arguments).checkpoint == request.out
    outs = [call.arguments["out"] for call in calls]
    assert len(set(outs)) == len(outs)


def test_iterations_try_something_new_and_start_from_scratch_where_they_must() -> None:
    assert plan(0).steps[0].calls == []
    tried = [json.dumps(plan(k).steps[0].calls[0].arguments) for k in range(1, 1 + len(tagging.IDEAS))]
    assert len(set(tried)) == len(tried)
    scratch = plan(1, pretrained=None)
    assert "start" not in scratch.steps[0].calls[0].arguments
    assert "scratch" in scratch.reasoning


KNOWN = {"pretrained_kinds": ["quark", "gluon", "w", "top"]}


def test_weights_that_know_tops_are_asked_before_they_are_trained() -> None:
    made = plan(1, **KNOWN)
    (call,) = made.steps[0].calls
    request = CATALOGUE["jet_model.score"].parse(call.arguments)
    assert (request.checkpoint, request.signal, request.against) == (FACTS["pretrained"], "top", ["quark", "gluon"])
    code = written(*tagging.code({"facts": FACTS, "step": made.steps[0].model_dump(mode="json")}))
    assert ast.literal_eval(code.splitlines()[1].removeprefix("SCORES = ")) == dict.fromkeys(LABELS, request.out)
    tuned = CATALOGUE["jet_model.finetune"].parse(plan(2, **KNOWN).steps[0].calls[0].arguments)
    assert tuned.like == {"qcd": ["quark", "gluon"]}
    for no_use in (["quark", "gluon", "w"], ["top", "w"]):
        assert plan(1, pretrained_kinds=no_use) == plan(1)


def test_the_first_step_writes_code_submits_and_sums_up() -> None:
    context = worker_context(plan(0))
    first = only_call(ask("worker", context))
    assert first.name == "run_python"
    second = only_call(ask("worker", context, told(RAN)))
    assert second.name == "submit"
    handed_in = TaggerSubmission.model_validate_json(second.arguments)
    assert handed_in.scores == tagging.OUT
    last = only_call(ask("worker", context, told(RAN), told({"submitted": {}})))
    assert last.name == "finish"
    assert "cross-validated AUC 0.9" in json.loads(last.arguments)["summary"]
    broken = only_call(ask("worker", context, told(RAN | {"exit_code": 1, "stderr": "no such file"})))
    assert (broken.name, json.loads(broken.arguments)) == ("finish", {"summary": "no such file", "ok": False})


def test_the_model_is_tuned_once_for_each_number_of_labels() -> None:
    context = worker_context(plan(1))
    answers: list[Message] = []
    for tool in ["jet_model.finetune", "jet_model.score"] * len(LABELS):
        assert only_call(ask("worker", context, *answers)).name == tool
        answers.append(told({"result": TRAINED if tool.endswith("finetune") else {}}))
    assert only_call(ask("worker", context, *answers)).name == "run_python"
    answers.append(told(RAN))
    assert only_call(ask("worker", context, *answers)).name == "submit"
    last = only_call(ask("worker", context, *answers, told({"submitted": {}})))
    assert "60 labels, best epoch 7, held-out AUC qcd 0.931" in json.loads(last.arguments)["summary"]


def test_the_claim_is_that_of_the_best_submission() -> None:
    def entry(value: float | None, rejection: float = 20.0) -> dict[str, Any]:
        numbers = {"rejection_60": {"value": rejection, "error": 3.0}, "auc_60": {"value": 0.9, "error": 0.01}}
        details = {"numbers": numbers, "validation_jets": 500} if value else {}
        return {"metric": "s", "value": value, "error": 0.1, "reason": "r", "details": details}

    context = {"facts": FACTS, "history": [entry(9.0), entry(21.0, 31.5), entry(None)], "confirmed": None}
    claim = Measurement.model_validate_json(ask("reporter", context).content)
    assert {name: m.value for name, m in claim.numbers.items()} == {"rejection_60": 31.5}
    assert "31.5 ± 3.0 with 60 labels" in claim.text
    refused = {"value": None, "reason": "score_60 falls"}
    assert (
        "Audit: score_60 falls."
        in Measurement.model_validate_json(ask("reporter", context | {"confirmed": refused}).content).text
    )


def prongs(n: int, seed: int, labels: bool) -> Any:
    """Jets of one core, and tops of two, that any observable tells apart."""
    rng = np.random.default_rng(seed)
    pid = rng.integers(0, 2, n)
    side = np.where(rng.random((n, 10)) < 0.5, 1, -1) * pid[:, None] * 0.3
    eta = side + 0.05 * rng.standard_normal((n, 10))
    phi = 0.05 * rng.standard_normal((n, 10))
    pt = rng.exponential(50, (n, 10)) + 1
    known = {"pid": pid.astype(np.int64), "kinds": ("qcd", "top")} if labels else {}
    return from_momenta(pt, eta, phi, pt * np.cosh(eta), **known), pid


def test_the_code_of_the_first_step_tags(tmp_path: Path) -> None:
    jets, pid = prongs(300, 1, labels=False)
    write_jets(tmp_path / "jets.h5", jets)
    labelled, _ = prongs(200, 2, labels=True)
    paths = {}
    for n in LABELS:
        write_jets(tmp_path / f"labelled_{n}.h5", labelled.take(slice(0, n)))
        paths[str(n)] = str(tmp_path / f"labelled_{n}.h5")
    facts = FACTS | {"jets": str(tmp_path / "jets.h5"), "labelled": paths}
    (tmp_path / "step.py").write_text(written(*tagging.code({"facts": facts, "step": {"id": tagging.OBSERVABLES}})))
    root = Path(__file__).parents[2]
    done = run(
        [sys.executable, "step.py"],
        cwd=tmp_path,
        env={"PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    scores = read_columns(tmp_path / tagging.OUT)
    assert list(scores) == [f"score_{n}" for n in LABELS]
    for values in scores.values():
        assert np.mean(values[pid == 1]) > np.mean(values[pid == 0]) + 2 * np.std(values[pid == 0])


def test_scores_are_put_in_one_file(tmp_path: Path) -> None:
    for n in LABELS:
        write_events(tmp_path / f"scores_{n}.parquet", {"score": np.full(4, float(n)), "p_top": np.zeros(4)})
    (tmp_path / "step.py").write_text(written(*tagging.code({"facts": FACTS, "step": {"id": tagging.TAG}})))
    root = Path(__file__).parents[2]
    run([sys.executable, "step.py"], cwd=tmp_path, env={"PYTHONPATH": str(root)}, check=True)
    scores = read_columns(tmp_path / tagging.OUT)
    assert {name: set(values) for name, values in scores.items()} == {f"score_{n}": {float(n)} for n in LABELS}
