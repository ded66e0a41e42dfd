"""What agents are told of time, budget and the past: from one source, short, recorded, and last in their context."""

from __future__ import annotations

import json
from pathlib import Path

from scripted import Script, Scripted, TinyTask, call, hand_in, make_crew, plan, step
from test_graph import REPORT
from tool_events import called

from agents.backends.base import Usage
from agents.backends.opening import read_context
from agents.crew import graph
from agents.crew.budget import Budget
from agents.crew.memory import FINDINGS, memory
from agents.crew.standing import iterations, standing, took
from agents.crew.worker import MAX_TURNS
from agents.trace.events import Told
from agents.trace.observation import Observation
from agents.trace.where import Where
from tasks.convergence import Rule
from tasks.lhco.claims import SearchSubmission
from tasks.score import Score


def score(value: float | None, **details: object) -> Score:
    return Score(metric="m", value=value, error=0.1, reason="r" * 50, details=details)


def test_planner_and_workers_are_told_what_is_left_and_how_many_work(tmp_path: Path) -> None:
    script: Script = {
        "planner/0": [plan(step("a"), step("s", ["a"], submits=True))],
        "worker/0/a": [call("finish", summary="looked")],
        "worker/0/s": hand_in(),
        "planner/1": [plan(step("s", submits=True))],
        "worker/1/s": hand_in(),
    }
    backend = Scripted(script | REPORT, usage=Usage(prompt_tokens=90, completion_tokens=10, dollars=0.25))
    budget = Budget(dollars=10, tokens=10_000, seconds=6000, model_calls=40)
    crew = make_crew(tmp_path, backend, task=TinyTask(max_iterations=2, patience=2), budget=budget, clock=lambda: 0.0)
    graph.build(crew).invoke({}, {})
    first = dict(reversed(backend.asked))
    now = {where: read_context(request.messages[1]).get("now") for where, request in first.items()}
    assert now["planner/0"] == {
        "iterations_done": 0,
        "iterations_left": 2,
        "minutes_left": 100.0,
        "dollars_left": 10.0,
        "tokens_left": 10_000.0,
        "model_calls_left": 40.0,
        "steps_at_once": 2,
    }
    assert now["worker/0/s"]["replies_at_most"] == MAX_TURNS
    assert now["worker/0/s"]["dollars_left"] == 9.5
    assert now["planner/1"]["ends_after_more_without_gain"] == 2
    assert now["planner/1"]["iterations_left"] == 1
    assert now["reporter"] is None
    for where in ("planner/1", "worker/1/s"):
        assert list(read_context(first[where].messages[1]))[-1] == "now"  # the rest can be cached
    assert {e.where for e in crew.store.events() if isinstance(e, Told)} == set(now) - {"reporter"}


def test_what_was_told_is_played_and_not_made_up_again(tmp_path: Path) -> None:
    crew = make_crew(tmp_path, Scripted({}))
    where = Where("planner", 0)
    told = crew.store.append(Told(where=where, facts={"minutes_left": 7.0}))
    crew.record.__init__(crew.store.events())  # type: ignore[misc]
    assert standing(crew, where, []) == told.facts
    assert standing(crew, Where("worker", 0, "a"), []) == iterations([], TinyTask().rule) | {"steps_at_once": 2}


def test_slow_tools_are_told_with_their_shortest_and_longest_call() -> None:
    calls = [called("slow", seconds=seconds) for seconds in (61.0, 29.0, 118.0)]
    calls += [called("quick", seconds=1.0), called("same", seconds=31.0), called("same", seconds=34.0)]
    calls += [called("slow", where="claim/0/a", seconds=500.0)]
    assert took(calls) == {"seconds_per_call": {"slow": [60.0, 100.0], "same": [30.0]}}
    assert took([]) == {}


def test_patience_counts_from_the_last_gain() -> None:
    rule = Rule(patience=2, max_iterations=5)
    assert "ends_after_more_without_gain" not in iterations([score(None)], rule)
    assert iterations([score(1.0), score(0.5)], rule)["ends_after_more_without_gain"] == 1


def test_the_past_is_told_in_full_where_it_matters_and_stays_short() -> None:
    n = 8
    scores = [score(5.0 if k == 1 else 1.0, window=[k, k + 1]) for k in range(n)]
    submissions = [SearchSubmission(scores=f"i{k}/s/scores.parquet") for k in range(n)]
    observations = [
        Observation(iteration=k, step=f"s{j}", ok=True, summary=f"{k} {j} " + "x" * 5000)
        for k in range(n)
        for j in range(4)
    ]
    told = memory(scores, submissions, observations)
    assert [entry["iteration"] for entry in told] == list(range(n))
    assert [entry["iteration"] for entry in told if "found" in entry] == [1, 5, 6, 7]
    assert all(entry["submission"]["scores"] == f"i{entry['iteration']}/s/scores.parquet" for entry in told)
    assert told[1]["verdict"]["details"] == {"window": [1, 2]}
    assert told[0]["verdict"] == {"metric": "m", "value": 1.0, "error": 0.1}
    assert all(len(json.dumps(entry)) < FINDINGS + 1000 for entry in told)
    assert told[7]["found"]["s3"].startswith("7 3")


def test_the_planner_keeps_the_findings_of_iterations_before_the_last(tmp_path: Path) -> None:
    script: Script = {f"planner/{k}": [plan(step(f"s{k}", submits=True))] for k in range(3)}
    script |= {f"worker/{k}/s{k}": hand_in() for k in range(3)} | REPORT
    crew = make_crew(tmp_path, backend := Scripted(script), task=TinyTask(max_iterations=3, patience=3))
    graph.build(crew).invoke({}, {"recursion_limit": 100})
    contexts = {where: read_context(request.messages[1]) for where, request in reversed(backend.asked)}
    assert [entry["iteration"] for entry in contexts["planner/2"]["earlier"]] == [0]
    assert [o["step"] for o in contexts["planner/2"]["observations"]] == ["s1"]
    assert [entry["found"] for entry in contexts["worker/2/s2"]["earlier"]] == [
        {"s0": "handed in"},
        {"s1": "handed in"},
    ]
