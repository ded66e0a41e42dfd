"""The reviewer: sends a plan and a result back once, with reasons that the crew is told; it never ends a run."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from scripted import CLAIM, SUBMISSION, Scripted, TinyTask, hand_in, make_crew, plan, step

from agents.backends.base import Request
from agents.backends.built_in import BuiltIn
from agents.backends.opening import opening, read_context
from agents.crew.context import read_prompts
from agents.crew.reviewer import review_plan, review_result
from agents.runs.replay import replay
from agents.runs.run import Settings, start
from agents.studies.study import Arm
from agents.trace.events import Decided, GatesChecked, ModelCalled, Planned, Reviewed, RunStarted, Trouble
from agents.trace.observation import Observation
from agents.trace.result import RunResult
from agents.trace.store import read_trace
from tasks import catalogue
from tasks.plan import Plan
from tasks.review import Review
from tasks.score import Score

STAYS = Review(send_back=False).model_dump_json()
REASON = "The scores are noisy: 0.5 is too much."
BACK = Review(send_back=True, reasons=[REASON]).model_dump_json()


@pytest.fixture(autouse=True)
def _tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(catalogue.catalogue(), "tiny", TinyTask)


def planned(name: str) -> Any:
    """A planner that names its step after what it was told: whether its plan was sent back."""

    def answer(request: Request) -> str:
        review = read_context(request.messages[1]).get("review", {})
        return plan(step("again" if review.get("reasons_plan") else name, submits=True))

    return answer


def script(**reviews: str) -> dict[str, Any]:
    """Three iterations, of which the second and third bring no gain; reviews by place, the others let it stay."""
    found: dict[str, Any] = {"reporter": [json.dumps(CLAIM)]}
    for n, noise in enumerate((0.1, 0.5, 0.5)):
        found |= {f"planner/{n}": [planned("first")]} | {f"reviewer/{n}/{of}": [STAYS] for of in ("plan", "result")}
        found |= {f"worker/{n}/{name}": hand_in(noise) for name in ("first", "again")}
    return found | {name.replace("_", "/"): [text] * 3 for name, text in reviews.items()}


def carried_out(folder: Path, backend: Scripted, **settings: Any) -> RunResult:
    chosen = {"request": "?", "task": "tiny", "options": {"max_iterations": 3}, "sandbox": "bubblewrap"}
    return start(Settings.model_validate(chosen | {"reviewer": True} | settings), backend, folder)


def contexts(backend: Scripted, where: str) -> list[dict[str, Any]]:
    """What the agent at a place was told at the beginning of each of its conversations."""
    asked = [request for at, request in backend.asked if at == where]
    return [read_context(request.messages[1]) for request in asked if len(request.messages) == 2]


def test_what_is_sent_back_is_done_again_once_with_the_reasons(tmp_path: Path) -> None:
    backend = Scripted(script(reviewer_0_plan=BACK, reviewer_1_result=BACK, reviewer_2_result=BACK))
    result = carried_out(tmp_path / "run", backend)
    events = read_trace(tmp_path / "run")
    plans = [(e.iteration, e.plan.steps[0].id) for e in events if isinstance(e, Planned)]
    assert plans == [(0, "first"), (0, "again"), (1, "first"), (2, "first")]
    told = contexts(backend, "planner/0")[1]["review"]
    assert (told["reasons_plan"], told["plan"]["steps"][0]["id"]) == ([REASON], "first")
    assert contexts(backend, "worker/0/again")[0]["review"] == {"reasons_plan": [REASON]}
    decided = [e.decision for e in events if isinstance(e, Decided)]
    assert [each.action for each in decided] == ["continue", "continue", "converged"], "reopened once, not twice"
    assert (decided[1].best, decided[1].reason) == (0, f"the reviewer sent the result back: {REASON}")
    for who in ("planner/2", "worker/2/first"):
        assert contexts(backend, who)[0]["review"] == {"reasons_result": [REASON]}
    assert "review" not in contexts(backend, "planner/1")[0]

    verdicts = {str(e.where): e.send_back for e in events if isinstance(e, Reviewed)}
    assert len(verdicts) == sum(isinstance(e, GatesChecked) for e in events) == 6
    assert [where for where, back in verdicts.items() if back] == [
        "reviewer/0/plan",
        "reviewer/1/result",
        "reviewer/2/result",
    ]
    paid = [e for e in events if isinstance(e, ModelCalled)]
    assert sum(e.role == "reviewer" for e in paid) == 6
    assert result.cost.model_calls == len(paid)
    report = (tmp_path / "run/report.md").read_text()
    assert "Review of the plan: sent back" in report
    assert "The scores are noisy" in (tmp_path / "run/report.html").read_text()
    played = replay(tmp_path / "run", tmp_path / "again")
    assert played.agrees
    assert played.whole


@pytest.mark.parametrize("of", ["plan", "result"])
def test_words_of_the_crew_vouch_for_no_number(tmp_path: Path, of: str) -> None:
    """A number that only a plan or a summary has is in no result; one among a call's settings is known."""
    backend = Scripted({f"reviewer/0/{of}": [STAYS]})
    crew = replace(make_crew(tmp_path, backend), prompts=read_prompts(reviewer=True))
    call = {"tool": "events.describe", "arguments": {"events": "e.parquet", "rows": 0.3713}}
    made = Plan.model_validate({"reasoning": "0.41738 with 0.3713", "steps": [step("a", submits=True, calls=[call])]})
    if of == "plan":
        review_plan(crew, made, [], [])
    else:
        said = "0.41738 with 0.3713, and 0.52891"
        done = Observation(iteration=0, step="a", ok=True, summary=said, submission=SUBMISSION)
        review_result(crew, [Score(metric="m", value=0.5, reason="")], None, [done], made)
    (checked,) = [event for event in crew.store.events() if isinstance(event, GatesChecked)]
    odd = "0.41738" if of == "plan" else "0.41738, 0.52891"
    assert [f.text for f in checked.findings] == [f"Numbers that are in no result: {odd}."]
    assert read_context(backend.asked[0][1].messages[1])["gates"] == [f.model_dump() for f in checked.findings]


def test_a_reviewer_that_does_not_answer_in_form_is_skipped(tmp_path: Path) -> None:
    unreasoned = Review(send_back=True).model_dump_json()
    said = {f"reviewer_{n}_{of}": text for n in range(3) for of, text in (("plan", "no JSON"), ("result", unreasoned))}
    result = carried_out(tmp_path / "run", Scripted(script(**said)))
    events = read_trace(tmp_path / "run")
    reviews = [e for e in events if isinstance(e, Reviewed)]
    assert [e.send_back for e in reviews] == [False] * 4
    assert all("in 3 replies" in e.skipped for e in reviews)
    assert "needs `reasons`" in reviews[1].skipped
    assert sum(isinstance(e, Trouble) and e.where.role == "reviewer" for e in events) == 12
    assert (result.status, len(result.iterations)) == ("converged", 2), "as without a reviewer"


def test_without_a_reviewer_nothing_is_asked_or_recorded(tmp_path: Path) -> None:
    backend = Scripted(script())
    carried_out(tmp_path / "run", backend, reviewer=False)
    assert not [where for where, _ in backend.asked if where.startswith("reviewer")]
    begun, *events = read_trace(tmp_path / "run")
    assert isinstance(begun, RunStarted)
    assert "reviewer.md" not in begun.prompts
    assert not [e for e in events if isinstance(e, GatesChecked | Reviewed)]


@pytest.mark.parametrize("found", [[], [{"gate": "warning", "text": "It does not close."}]])
def test_the_analyst_applies_the_gates_alone(found: list[dict[str, str]]) -> None:
    context = {"facts": {"task": "lhco-demo"}, "reviewed": "result", "gates": found}
    reply = BuiltIn("analyst").complete(Request(role="reviewer", messages=opening("", "", context)))
    review = Review.model_validate_json(reply.message.content)
    assert (review.send_back, review.reasons) == (bool(found), [each["text"] for each in found])


@pytest.mark.parametrize("name", ["script", "random"])
def test_controls_have_no_reviewer(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match=f"not for the control {name}"):
        start(Settings(request="?", task="tiny", reviewer=True), BuiltIn(name), tmp_path / "run")
    assert not (tmp_path / "run").exists()
    with pytest.raises(ValueError, match=f"reviewer: must be false if kind is {name}"):
        Arm.model_validate({"name": "a", "kind": name, "reviewer": True})
