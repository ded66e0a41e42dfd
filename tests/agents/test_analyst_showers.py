"""The analyst on the task showers: calls that the tools take, new ideas, a claim that says where not to trust it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from asked import ask, only_call, planned, told

from agents.backends.base import Message
from tasks.claim import Measurement
from tasks.plan import Plan
from tasks.showers import policy as showers
from tasks.showers.submission import ShowersSubmission
from tools.catalogue import CATALOGUE

FACTS: dict[str, Any] = {
    "task": "showers",
    "train": "/inputs/train.h5",
    "reference": "/inputs/reference.h5",
    "energies": "/inputs/energies.h5",
    "geometry": "ds1_photons",
    "training_showers": 5000,
    "voxels": 368,
}
VERDICT = {
    "auc_voxels": 0.61,
    "auc_observables": 0.587,
    "auc_memory": 0.502,
    "ms_per_shower": {"1": 20.0, "100": 1.5},
    "distrusted": ["256 <= E_inc [MeV] < 512: AUC 0.71"],
    "regions": 44,
}
NUMBERS = {name: {"value": 0.6, "error": 0.01} for name in ("auc_voxels", "auc_observables", "auc_memory")}


def plan(iteration: int) -> Plan:
    return planned(FACTS, iteration)


@pytest.mark.parametrize("iteration", [0, 1, 2, 9])
def test_plans_hold_calls_that_the_tools_take(iteration: int) -> None:
    (step,) = plan(iteration).steps
    assert step.submits
    requests = [CATALOGUE[call.tool].parse(call.arguments) for call in step.calls]
    train, asked, like, judged = requests
    assert train.out == asked.generator == like.generator == judged.generator
    assert (asked.like, asked.out) == (FACTS["energies"], showers.OUT)
    assert (like.like, like.out) == (judged.reference, judged.generated) == (FACTS["reference"], showers.LIKE)
    assert judged.training == train.showers


def test_iterations_try_something_new() -> None:
    tried = [plan(k).steps[0].calls[0].arguments for k in range(len(showers.IDEAS))]
    assert len({json.dumps(a["generator"]) for a in tried}) == len({a["seed"] for a in tried}) == len(tried)


def test_the_step_trains_makes_judges_submits_and_sums_up() -> None:
    context = {"facts": FACTS, "step": plan(0).steps[0].model_dump(mode="json"), "done": {}}
    answers: list[Message] = []
    for name in ("train", "generate", "generate", "judge"):
        assert only_call(ask("worker", context, *answers)).name == f"calorimeter.{name}"
        answers.append(told({"result": VERDICT if name == "judge" else {"sha256": ""}}))
    handed_in = only_call(ask("worker", context, *answers))
    assert handed_in.name == "submit"
    assert ShowersSubmission.model_validate_json(handed_in.arguments).showers == showers.OUT
    last = only_call(ask("worker", context, *answers, told({"submitted": {}})))
    assert last.name == "finish"
    for words in ("voxels 0.610", "observables 0.587", "1.5 ms at batch 100", "1 of 44 regions", "E_inc"):
        assert words in json.loads(last.arguments)["summary"]


def test_a_failed_call_ends_the_step() -> None:
    context = {"facts": FACTS, "step": plan(0).steps[0].model_dump(mode="json"), "done": {}}
    error = told({"error": {"field": "showers", "value": "3", "allowed": "100 showers or more"}})
    call = only_call(ask("worker", context, error))
    assert (call.name, json.loads(call.arguments)["ok"]) == ("finish", False)


def test_the_claim_is_that_of_the_best_submission() -> None:
    def entry(value: float | None, regions: list[str]) -> dict[str, Any]:
        details = {
            "numbers": NUMBERS,
            "distrusted": regions,
            "regions_distrusted": len(regions),
            "regions": 44,
            "regions_untested": 5,
            "showers": 1000,
        }
        return {"metric": "s", "value": value, "error": 0.02, "reason": "r", "details": details if value else {}}

    def claim(*history: dict[str, Any]) -> Measurement:
        context = {"facts": FACTS, "history": list(history), "confirmed": None}
        return Measurement.model_validate_json(ask("reporter", context).content)

    made = claim(entry(0.5, ["everywhere"]), entry(0.8, ["at 256 MeV: AUC 0.7"]), entry(None, []))
    assert isinstance(made, Measurement)
    assert {name: m.value for name, m in made.numbers.items()} == {"auc_voxels": 0.6, "auc_observables": 0.6}
    assert "cannot be trusted in 1 of 44 regions, the worst being: at 256 MeV" in made.text
    assert "5 regions had too few showers" in made.text
    assert "None of 44 regions showed a deviation" in claim(entry(0.9, [])).text
    assert claim(entry(None, [])).numbers == {}
