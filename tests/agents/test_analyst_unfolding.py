"""The analyst on the unfolding task: calls that the tool takes, new ideas, a claim from the verdict."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from asked import ask, only_call, planned, told

from tasks.claim import Measurement
from tasks.plan import Plan
from tasks.policy import run_python
from tasks.unfolding import policy as unfolding
from tasks.unfolding.submission import WeightsSubmission
from tasks.unfolding.weights import BOOTSTRAPS_MIN
from tools.catalogue import CATALOGUE
from tools.events.parquet import write_events
from tools.unfolding.publish import publish

OBSERVABLES = ["mass", "mult", "width", "lnrho", "tau21", "zg"]
FACTS: dict[str, Any] = {
    "task": "unfolding",
    "data": "/inputs/data.parquet",
    "simulation": "/inputs/simulation.parquet",
    "alternative": "/inputs/alternative.parquet",
    "measured_events": 9000,
    "nuisances": ["w_scale"],
    "about": [{"name": "mass", "unit": "GeV", "bins": [0.0, 10.0, 20.0, 60.0]}],
    "observables": OBSERVABLES,
    "asked_for": OBSERVABLES[:3],
    "bootstraps_needed": BOOTSTRAPS_MIN,
}
RESULT = {
    "iterations": 4,
    "n_unfolded": 8123.4,
    "effective_sample_size": 6001.0,
    "reco_delta_before": {"mass": 5.1},
    "reco_delta": {"mass": 0.7},
    "reco_delta_floor": {"mass": 0.5},
}
NUMBERS = {"events": {"value": 8123.4, "error": 101.0}, "mean_mass": {"value": 21.31, "error": 0.18}}


def plan(iteration: int) -> Plan:
    return planned(FACTS, iteration)


@pytest.mark.parametrize("iteration", [0, 1, 2, 7])
def test_plans_hold_calls_that_the_tool_takes(iteration: int) -> None:
    made = plan(iteration)
    assert [step.submits for step in made.steps] == [True, False]
    request = CATALOGUE["unfolding.unfold"].parse(made.steps[0].calls[0].arguments)
    assert set(FACTS["asked_for"]) <= set(request.observables)
    assert request.bootstraps >= BOOTSTRAPS_MIN
    assert request.alternative == FACTS["alternative"]
    assert request.nuisances == FACTS["nuisances"]
    assert request.beside is not None
    assert request.beside.kind != request.method.kind


def test_what_is_not_there_is_not_asked_of_the_tool() -> None:
    facts = FACTS | {"alternative": None, "nuisances": [], "observables": OBSERVABLES[:3]}
    tried = [planned(facts, iteration).steps[0].calls[0].arguments for iteration in (0, 1)]
    requests = [CATALOGUE["unfolding.unfold"].parse(each) for each in tried]
    assert [each.alternative for each in requests] == [None, None]
    assert requests[0].method != requests[1].method  # the same observables twice would be nothing new
    entry = {"metric": "s", "value": 0.9, "error": 0.1, "reason": "r"}
    details = {"numbers": NUMBERS, "unseen_events": 900, "bootstraps": 10, "share_of_the_other_method": 0.81}
    told_so = ask("reporter", {"facts": facts, "history": [entry | {"details": details}], "confirmed": None})
    text = Measurement.model_validate_json(told_so.content).text
    assert "No closure test" in text
    assert "The other method alone removes 81%" in text
    assert "21.31 ± 0.18 GeV" in text


def test_iterations_try_something_new() -> None:
    tried = [plan(k).steps[0].calls[0].arguments for k in range(len(unfolding.IDEAS))]
    assert len({json.dumps([a["observables"], a["method"]]) for a in tried}) == len(tried)
    assert len({a["seed"] for a in tried}) == len(tried)


def gate(passed: bool | None) -> dict[str, Any]:
    return {"value": 1.7, "limit": "at most 1", "passed": passed, "more": "", "numbers": {}}


def test_a_failed_gate_changes_the_next_plan_and_is_said() -> None:
    def after(gates: dict[str, Any]) -> tuple[dict[str, Any], str, str]:
        details = {"numbers": NUMBERS, "unseen_events": 900, "bootstraps": 10, "iterations": 4, "gates": gates}
        entry = {"metric": "s", "value": 0.9, "error": 0.1, "reason": "r", "details": details}
        made = unfolding.UnfoldingPolicy().plan({"facts": FACTS, "iteration": 1, "history": [entry]}, 1)
        told_so = ask("reporter", {"facts": FACTS, "history": [entry], "confirmed": None})
        claim = Measurement.model_validate_json(told_so.content).text
        return made.steps[0].calls[0].arguments, made.reasoning, claim

    fine, _, said = after({"stress 50%": gate(True)})
    assert fine["stress"] is True
    assert "iterations" not in fine["method"]
    assert "All 1 gates passed" in said
    slopes, why, said = after({"stress 50%": gate(False), "flat prior": gate(None)})
    assert slopes["method"]["iterations"] == 8
    assert slopes["bootstraps"] == BOOTSTRAPS_MIN
    assert "stress 50%" in why
    assert "0 of 2 gates passed. The others: flat prior not made; stress 50% 1.7, but at most 1." in said
    singular, why, _ = after({"covariance mass": gate(False)})
    assert singular["bootstraps"] == 2 * BOOTSTRAPS_MIN
    assert "iterations" not in singular["method"]
    assert CATALOGUE["unfolding.unfold"].parse(slopes).stress


def test_the_step_unfolds_submits_and_sums_up() -> None:
    made = plan(0)
    context = {"facts": FACTS, "step": made.steps[0].model_dump(mode="json"), "done": {}}
    first = only_call(ask("worker", context))
    assert first.name == "unfolding.unfold"
    second = only_call(ask("worker", context, told({"result": RESULT})))
    assert second.name == "submit"
    handed_in = WeightsSubmission.model_validate_json(second.arguments)
    assert handed_in.weights == json.loads(first.arguments)["out"]
    last = only_call(ask("worker", context, told({"result": RESULT}), told({"submitted": {}})))
    assert last.name == "finish"
    for words in ("4 iterations", "8123 events", "mass 5.10 to 0.70"):
        assert words in json.loads(last.arguments)["summary"]


def test_nothing_unfolded_nothing_drawn() -> None:
    context = {"facts": FACTS, "step": plan(0).steps[1].model_dump(mode="json"), "done": {"unfold": {"ok": False}}}
    call = only_call(ask("worker", context))
    assert (call.name, json.loads(call.arguments)["ok"]) == ("finish", False)


def test_the_claim_is_that_of_the_best_submission() -> None:
    def entry(value: float | None, **more: Any) -> dict[str, Any]:
        details = {"numbers": NUMBERS, "unseen_events": 1200, "bootstraps": 10} | more
        return {"metric": "s", "value": value, "error": 0.03, "reason": "r", "details": details if value else {}}

    worse = entry(0.7, numbers={"events": {"value": 1.0, "error": 1.0}})
    history = [worse, entry(0.91), entry(None)]
    context = {"facts": FACTS, "history": history, "confirmed": None}
    claim = Measurement.model_validate_json(ask("reporter", context).content)
    assert isinstance(claim, Measurement)
    assert {name: m.model_dump() for name, m in claim.numbers.items()} == NUMBERS
    assert "91 ± 3%" in claim.text
    assert "9000 measured events" in claim.text
    closed = {"value": 0.8, "reason": "70% of the bins within one stated error"}
    told_so = Measurement.model_validate_json(ask("reporter", context | {"confirmed": closed}).content)
    assert told_so.numbers == claim.numbers
    assert "Closure test: 80% of the difference removed; 70% of the bins" in told_so.text
    nothing = Measurement.model_validate_json(ask("reporter", context | {"history": [entry(None)]}).content)
    assert nothing.numbers == {}


def test_the_figure_is_drawn(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    names, n = FACTS["asked_for"], 2000
    for file in ("simulation", "alternative"):
        table = {f"gen_{x}": rng.gamma(4.0, 5.0, n) for x in names} | {"pass_gen": (rng.uniform(size=n) < 0.9) * 1.0}
        write_events(tmp_path / f"{file}.parquet", table)
    replicas = ("ensemble_0", *(f"bootstrap_{i}" for i in range(5)), "model")
    folder = tmp_path / "i0" / "unfold"
    weights = {name: rng.poisson(1, n).astype(float) for name in replicas}
    publish(folder / unfolding.OUT, {x: np.ones(n) for x in names}, weights, {})
    facts = FACTS | {name: str(tmp_path / f"{name}.parquet") for name in ("simulation", "alternative")}
    values = unfolding.drawn({"facts": facts, "done": {"unfold": {"folder": str(folder)}}})
    code = run_python("figure.py", unfolding.CODE, values).arguments["code"]
    (tmp_path / "figure.py").write_text(f"import sys\nsys.path.insert(0, {str(Path.cwd())!r})\n{code}")
    ran = subprocess.run([sys.executable, "figure.py"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    assert (tmp_path / "unfolded.png").read_bytes().startswith(b"\x89PNG")
    assert "mass: median error of a bin" in ran.stdout
    assert "statistical" in ran.stdout
