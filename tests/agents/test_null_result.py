"""A null result, handed in by a step or decided by the planner: nothing is confirmed, and everything says so."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from scripted import CLAIM, Script, Scripted, TinyTask, call, hand_in, make_crew, plan, step
from test_graph import REPORT, of, work
from test_replay import nothing_live

from agents.backends.opening import read_context
from agents.crew import graph
from agents.runs.replay import replay
from agents.runs.run import Settings, start
from agents.runs.session import ending
from agents.trace.events import Decided, Graded, StepFinished, Trouble
from tasks import catalogue
from tasks.plan import Plan

NULL = [call("null_result", summary="no bump above 2 sigma; 300 events would have been seen")]
STOP = json.dumps({"reasoning": "300 events would have been seen", "stop": True, "null_result": True})
SUBMITS = plan(step("s", submits=True))


def test_a_step_hands_in_a_null_result_and_the_planner_ends_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(catalogue.catalogue(), "tiny", TinyTask)
    script: Script = {"planner/0": [SUBMITS], "worker/0/s": NULL, "planner/1": [STOP], "reporter": [json.dumps(CLAIM)]}
    options = {"holds_out": True, "audits": True, "max_iterations": 3}
    settings = Settings(request="Anything?", task="tiny", sandbox="bubblewrap", options=options)
    result = start(settings, backend := Scripted(script), tmp_path / "r")
    assert (result.status, result.troubles) == ("converged", [])
    assert result.null_result == "300 events would have been seen"
    assert (result.confirmed, result.steering, result.best_iteration) == (None, None, None)
    assert result.iterations[0].reason.startswith("a null result was handed in: no bump above 2 sigma")
    assert not (tmp_path / "r" / "decoy").exists()
    assert list((tmp_path / "r" / "claim").iterdir()) == []
    for name in ("report.md", "report.html"):
        said = (tmp_path / "r" / name).read_text()
        assert "A null result." in said
        assert "no test on unseen inputs was made" in said
    assert json.loads((tmp_path / "r" / "result.json").read_text())["null_result"] == result.null_result
    told = {where: read_context(request.messages[1]) for where, request in backend.asked}
    assert told["planner/1"]["observations"][0]["null_result"].startswith("no bump")
    assert told["reporter"]["decision"]["null_result"] == result.null_result
    nothing_live(monkeypatch)
    assert replay(tmp_path / "r", tmp_path / "out").agrees


def test_the_planner_may_go_on_after_a_null_result(tmp_path: Path) -> None:
    script: Script = {"planner/0": [SUBMITS], "worker/0/s": NULL, "planner/1": [SUBMITS], "worker/1/s": hand_in()}
    crew, state = work(tmp_path, script | REPORT, max_iterations=2)
    assert state["decision"].best == 1
    assert ending(state)[0] == "exhausted"
    assert [e.score.value is None for e in of(crew, Graded)] == [True, False]
    assert not of(crew, Trouble)


def test_a_null_result_in_the_last_iteration_is_final_whatever_was_submitted_before(tmp_path: Path) -> None:
    script: Script = {"planner/0": [SUBMITS], "worker/0/s": hand_in(), "planner/1": [SUBMITS], "worker/1/s": NULL}
    crew, state = work(tmp_path, script | REPORT, max_iterations=2)
    assert state["decision"].best is None
    assert state["decision"].null_result.startswith("no bump")
    assert state["confirmed"] is None
    assert ending(state) == ("converged", f"a null result: {state['decision'].null_result}")
    assert [e.decision.action for e in of(crew, Decided)] == ["continue", "converged"]


def test_the_planner_may_disbelieve_what_was_submitted(tmp_path: Path) -> None:
    script: Script = {"planner/0": [SUBMITS], "worker/0/s": hand_in(), "planner/1": [STOP]}
    _, state = work(tmp_path, script | REPORT, max_iterations=3)
    assert (state["decision"].best, state["confirmed"]) == (None, None)
    assert ending(state)[0] == "converged"


def test_nothing_is_no_result_before_anything_was_looked_for(tmp_path: Path) -> None:
    script: Script = {"planner/0": [STOP, SUBMITS], "worker/0/s": hand_in()}
    crew, state = work(tmp_path, script | REPORT, max_iterations=1)
    assert "nothing has been looked for yet" in of(crew, Trouble)[0].text
    assert state["decision"].best == 0
    with pytest.raises(ValueError, match="only with stop"):
        Plan.model_validate({"reasoning": "", "null_result": True, "steps": [step("s", submits=True)]})


def test_only_a_step_that_submits_can_hand_it_in_and_the_last_word_counts(tmp_path: Path) -> None:
    look: list[Any] = [*NULL, call("finish", summary="looked")]
    submit = call("submit", scores="scores.parquet", window=[3.3, 3.7])
    script: Script = {
        "planner/0": [plan(step("look"), step("s", submits=True))],
        "worker/0/look": look,
        "worker/0/s": [*hand_in()[:1], submit, *NULL],
    } | REPORT
    crew = make_crew(tmp_path, Scripted(script), task=TinyTask(max_iterations=1))
    state = graph.build(crew).invoke({}, {"recursion_limit": 100})
    (trouble,) = of(crew, Trouble)
    assert "not a tool of this step" in trouble.text
    found = {e.observation.step: e.observation for e in of(crew, StepFinished)}
    assert (found["s"].submission, found["s"].ok) == (None, True)
    assert state["decision"].null_result == found["s"].null_result
