"""The loop: plans, waves of steps, which submission is graded, when it ends and how it fails."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import pytest
from scripted import (
    CLAIM,
    SUBMISSION,
    FakeSandbox,
    Script,
    Scripted,
    TinyTask,
    call,
    hand_in,
    make_crew,
    plan,
    pretend,
    scores_file,
    step,
)

from agents.backends.opening import read_context
from agents.crew import graph
from agents.crew.shared import RETRIES, Crew
from agents.runs.session import ending
from agents.trace.events import Decided, Event, Graded, Planned, StepFinished, StepStarted, Trouble

REPORT = {"reporter": [json.dumps(CLAIM)]}


def work(folder: Path, script: Script, workers: int = 2, **options: int) -> tuple[Crew, Any]:
    crew = make_crew(folder, Scripted(script), task=TinyTask(**options))
    return crew, graph.build(crew).invoke({}, {"max_concurrency": workers, "recursion_limit": 1000})


def of(crew: Crew, *kinds: type[Event]) -> list[Any]:
    return [event for event in crew.store.events() if isinstance(event, kinds)]


def order(crew: Crew) -> list[str]:
    """Starts (+) and ends (-) of steps, as the trace has them."""
    events = of(crew, StepStarted, StepFinished)
    return [f"+{e.step}" if isinstance(e, StepStarted) else f"-{e.observation.step}" for e in events]


def meeting(parties: int) -> Any:
    """Turns that only get an answer when as many steps ask at once."""
    barrier = threading.Barrier(parties)

    def answer(request: Any) -> Any:
        barrier.wait(timeout=20)
        return call("finish", summary="met")

    return answer


def test_independent_steps_run_side_by_side_and_dependent_ones_after_them(tmp_path: Path) -> None:
    answer = meeting(2)
    script = {
        "planner/0": [plan(step("a"), step("b"), step("c", ["a", "b"], submits=True), step("d", ["c"]))],
        "worker/0/a": [answer],
        "worker/0/b": [answer],
        "worker/0/c": hand_in(),
        "worker/0/d": [call("finish", summary="after")],
    } | REPORT
    crew, state = work(tmp_path, script, max_iterations=1)
    steps = order(crew)
    assert set(steps[:2]) == {"+a", "+b"}
    assert set(steps[2:4]) == {"-a", "-b"}
    assert steps[4:] == ["+c", "-c", "+d", "-d"]
    assert ending(state)[0] == "exhausted"


def test_no_more_steps_at_once_than_workers(tmp_path: Path) -> None:
    lock, now, most = threading.Lock(), 0, 0

    def counted(request: Any) -> Any:
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)
        threading.Event().wait(0.05)  # room for another to come in, were there one
        with lock:
            now -= 1
        return call("finish", summary="counted")

    names = [f"s{k}" for k in range(5)]
    script = {"planner/0": [plan(*map(step, names), step("c", submits=True))], "worker/0/c": hand_in()} | REPORT
    work(tmp_path, script | {f"worker/0/{name}": [counted] for name in names}, workers=2, max_iterations=1)
    assert 1 <= most <= 2


def test_a_failed_step_does_not_stop_the_others_and_dependants_are_told(tmp_path: Path) -> None:
    backend_script = {
        "planner/0": [plan(step("a"), step("b"), step("c", ["a", "b"], submits=True))],
        "worker/0/a": [call("finish", summary="broken pipe", ok=False)],
        "worker/0/b": [call("finish", summary="fine")],
        "worker/0/c": hand_in(),
    } | REPORT
    crew = make_crew(tmp_path, backend := Scripted(backend_script), task=TinyTask(max_iterations=1))
    state = graph.build(crew).invoke({}, {"max_concurrency": 1})
    assert {o.step: o.ok for o in state["observations"]} == {"a": False, "b": True, "c": True}
    told = next(request for where, request in backend.asked if where == "worker/0/c").messages[1].content
    assert "broken pipe" in told
    assert "/workspace/i0/a" in told
    assert state["scores"][0].value == pytest.approx(1.0)


def test_it_converges_and_reports_the_best(tmp_path: Path) -> None:
    good, bad = (hand_in(noise) for noise in (0.0, 1.0))
    script: Any = {f"planner/{k}": [plan(step("s", submits=True))] for k in range(3)}
    script |= {"worker/0/s": bad, "worker/1/s": good, "worker/2/s": bad} | REPORT

    def written(argv: Any, folder: Path) -> str:
        if folder.parent.name == "i1":
            return pretend(argv, folder)
        (folder / "scores.parquet").write_bytes(scores_file(1.0))
        return ""

    crew = make_crew(
        tmp_path, Scripted(script), FakeSandbox(tmp_path / "workspace", written), TinyTask(max_iterations=9)
    )
    state = graph.build(crew).invoke({}, {"recursion_limit": 1000})
    assert [d.decision.action for d in of(crew, Decided)] == ["continue", "continue", "converged"]
    assert state["decision"].best == 1
    assert ending(state)[0] == "converged"
    assert state["claim"].text == CLAIM["text"]


def test_the_planner_sees_verdicts_and_observations_of_the_round_before(tmp_path: Path) -> None:
    script: Any = {f"planner/{k}": [plan(step(f"s{k}", submits=True))] for k in range(2)}
    script |= {"worker/0/s0": hand_in(), "worker/1/s1": hand_in()} | REPORT
    crew = make_crew(tmp_path, backend := Scripted(script), task=TinyTask(max_iterations=2))
    graph.build(crew).invoke({}, {})
    context = read_context(next(r for where, r in backend.asked if where == "planner/1").messages[1])
    assert [entry["metric"] for entry in context["history"]] == ["correlation"]
    assert [o["step"] for o in context["observations"]] == ["s0"]


def test_a_worker_sees_what_earlier_iterations_found_handed_in_and_were_told(tmp_path: Path) -> None:
    script: Any = {f"planner/{k}": [plan(step(f"s{k}", submits=True))] for k in range(2)}
    script |= {"worker/0/s0": hand_in(), "worker/1/s1": hand_in()} | REPORT
    crew = make_crew(tmp_path, backend := Scripted(script), task=TinyTask(max_iterations=2))
    graph.build(crew).invoke({}, {})
    contexts = [read_context(r.messages[1]) for where, r in backend.asked if where in ("worker/0/s0", "worker/1/s1")]
    assert contexts[0]["earlier"] == []
    (earlier,) = contexts[-1]["earlier"]
    assert earlier["found"] == {"s0": "handed in"}
    assert earlier["submission"]["scores"] == "i0/s0/scores.parquet"
    assert earlier["verdict"]["metric"] == "correlation"


def test_a_planner_that_sees_nothing_to_gain_ends_the_run_with_the_best_so_far(tmp_path: Path) -> None:
    script: Any = {
        "planner/0": [plan(step("s", submits=True))],
        "worker/0/s": hand_in(),
        "planner/1": [json.dumps({"reasoning": "it is what it is", "stop": True})],
    } | REPORT
    crew, state = work(tmp_path, script, max_iterations=5)
    assert ending(state) == ("converged", "the planner expects no further gain: it is what it is")
    assert state["decision"].best == 0
    assert [e.iteration for e in of(crew, Graded)] == [0]
    assert [e.decision.action for e in of(crew, Decided)] == ["continue", "converged"]


@pytest.mark.parametrize(
    ("answers", "said"),
    [
        ([plan(step("a", calls=[{"tool": "nonesuch"}], submits=True))] * RETRIES, "nonesuch"),
        ([plan(step("a"))] * RETRIES, "exactly one step must have submits=true, not 0"),
        ([plan(step("a", submits=True), step("b", submits=True))] * RETRIES, "submits=true, not 2 ['a', 'b']"),
        ([json.dumps({"reasoning": "enough", "stop": True})] * RETRIES, "no submission has been graded yet"),
        ([plan(step("a", ["b"], submits=True), step("b"))] * RETRIES, "earlier steps"),
        ([plan(step("a", submits=True), step("a"))] * RETRIES, "unique"),
        ([plan(step("../a", submits=True))] * RETRIES, "steps.0.id"),
    ],
    ids=["unknown tool", "nothing handed in", "two hand in", "stop at once", "forward", "twice", "path as id"],
)
def test_a_plan_that_cannot_be_used_is_a_failed_round_and_the_run_goes_on(
    tmp_path: Path, answers: list[str], said: str
) -> None:
    script = {
        "planner/0": answers,
        "planner/1": [plan(step("s", submits=True))],
        "worker/1/s": hand_in(),
    } | REPORT
    crew, state = work(tmp_path, script, max_iterations=2)
    trouble = [e for e in of(crew, Trouble) if e.where == "planner/0"]
    assert said in trouble[-1].text
    assert {e.who for e in trouble} == {"model"}
    assert [e.iteration for e in of(crew, Planned)] == [1]
    assert [e.score.value is None for e in of(crew, Graded)] == [True, False]
    assert ending(state)[0] == "exhausted"


def test_refused_submissions_only_make_a_failed_run_with_an_answer(tmp_path: Path) -> None:
    wrong = [call("submit", **SUBMISSION | {"scores": "none.parquet"}), call("finish", summary="x")]
    script: Any = {f"planner/{k}": [plan(step("s", submits=True))] for k in range(2)}
    crew, state = work(tmp_path, script | {"worker/0/s": wrong, "worker/1/s": wrong} | REPORT)
    assert ["none.parquet" in e.score.reason for e in of(crew, Graded)] == [True, True]
    status, reason = ending(state)
    assert status == "failed"
    assert "none.parquet" in reason
    assert state["claim"] is not None


def test_a_reporter_without_an_answer_makes_a_failed_run(tmp_path: Path) -> None:
    script = {
        "planner/0": [plan(step("s", submits=True))],
        "worker/0/s": hand_in(),
        "reporter": ["I do not know"] * RETRIES,
    }
    crew, state = work(tmp_path, script, max_iterations=1)
    assert ending(state) == ("failed", "the reporter gave no valid claim")
    assert [e.where for e in of(crew, Trouble)] == ["reporter"] * (RETRIES + 1)
