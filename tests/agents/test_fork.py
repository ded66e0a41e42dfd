"""A fork has the past of its parent for nothing, and a future of its own; it can be resumed, replayed and forked."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from scripted import CLAIM, Script, Scripted, TinyTask, hand_in, two_rounds
from test_replay import beamcrew, content, edited_trace
from test_resume import COST, SETTINGS

from agents.backends import select
from agents.backends.base import BackendLost
from agents.crew.budget import Budget
from agents.crew.context import FILES
from agents.runs.fork import fork
from agents.runs.replay import replay
from agents.runs.run import resume, start
from agents.trace.events import Executed, ModelCalled, Parent, RunStarted
from agents.trace.record import identity
from agents.trace.store import TRACE, TraceError, read_trace
from agents.trace.verify import verified
from tasks import catalogue


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(catalogue.catalogue(), "tiny", TinyTask)
        run_dir = tmp_path_factory.mktemp("runs") / "r"
        start(SETTINGS, Scripted(two_rounds(), usage=COST), run_dir)
        yield run_dir


class Other(Scripted):
    name = "other"


def asked(backend: Scripted) -> list[str]:
    return sorted({where for where, _ in backend.asked})


def begun(run_dir: Path) -> RunStarted:
    first = read_trace(run_dir)[0]
    assert isinstance(first, RunStarted)
    return first


PLACES = {
    "planner/0": ["planner/0", "planner/1", "reporter", "worker/0/a", "worker/0/b", "worker/0/c", "worker/1/c"],
    "worker/0/a": ["planner/1", "reporter", "worker/0/a", "worker/0/c", "worker/1/c"],
    "worker/0/c": ["planner/1", "reporter", "worker/0/c", "worker/1/c"],
    "planner/1": ["planner/1", "reporter", "worker/1/c"],
    "worker/1/c": ["reporter", "worker/1/c"],
    "reporter": ["reporter"],
}


@pytest.mark.parametrize("step", PLACES)
def test_only_what_follows_from_the_step_is_asked_anew(run_dir: Path, tmp_path: Path, step: str) -> None:
    before, backend = content(run_dir), Other(two_rounds(), usage=COST)
    result = fork(run_dir, step, tmp_path / "child", backend)
    assert asked(backend) == PLACES[step]
    assert content(run_dir) == before
    assert (result.status, result.run, result.backend, result.cost.model_calls) == ("converged", "child", "other", 14)
    parent = begun(tmp_path / "child").parent
    assert parent
    assert (parent.run, parent.step) == ("r", step)
    assert parent.trace == hashlib.sha256((run_dir / TRACE).read_bytes()).hexdigest()
    events = verified(tmp_path / "child")
    copied, originals = events[1 : parent.past + 1], {identity(event) for event in read_trace(run_dir)}
    assert {identity(event) for event in copied} <= originals
    assert events[parent.past + 1].kind == "run_resumed"
    again = [event for event in events[parent.past :] if isinstance(event, Executed)]
    assert {event.where for event in again} == {where for where in PLACES[step] if where in _commands(events)}
    for name in ("report.md", "report.html"):
        assert parent.trace in (tmp_path / "child" / name).read_text()


def _commands(events: list) -> set[str]:  # type: ignore[type-arg]
    return {event.where for event in events if isinstance(event, Executed)}


def test_a_child_asks_in_other_words_and_keeps_the_past(run_dir: Path, tmp_path: Path) -> None:
    """Request, prompts and reply length change; what was asked before the step is not asked again for that."""
    for name in FILES:
        (tmp_path / name).write_text(f"You are another {name}.")
    backend = Other(two_rounds(), usage=COST)
    told = {name: (tmp_path / name).read_text() for name in FILES}
    budget = {"dollars": 100.0, "reply_tokens": 777}
    child = tmp_path / "child"
    result = fork(run_dir, "planner/1", child, backend, request="Nothing at all?", prompts=told, budget=budget)
    assert (result.status, result.request) == ("converged", "Nothing at all?")
    assert asked(backend) == PLACES["planner/1"]
    for _, request in backend.asked:
        assert request.messages[0].content == f"You are another {request.role}.md."
        assert "Nothing at all?" in request.messages[1].content
        assert request.max_tokens == 777
    assert begun(child).budget == {"dollars": 100.0, "reply_tokens": 777.0}
    assert replay(child, tmp_path / "out").agrees


def test_the_past_counts_in_the_budget_of_the_child(run_dir: Path, tmp_path: Path) -> None:
    backend = Other(two_rounds(), usage=COST)
    result = fork(run_dir, "planner/1", tmp_path / "child", backend, budget={"dollars": 4.0})
    assert result.status == "budget"
    assert not backend.asked


def test_a_child_goes_its_own_way(run_dir: Path, tmp_path: Path) -> None:
    worse: Script = dict(two_rounds()) | {"worker/0/c": hand_in(0.9)}
    result = fork(run_dir, "worker/0/c", tmp_path / "child", Other(worse))
    parent = json.loads((run_dir / "result.json").read_text())
    assert result.iterations[0].value != parent["iterations"][0]["value"]
    assert result.best_iteration == 1
    assert replay(tmp_path / "child", tmp_path / "out").agrees


def test_a_child_that_lost_its_service_is_resumed_and_forked(run_dir: Path, tmp_path: Path) -> None:
    lost = Other(dict(two_rounds()) | {"reporter": [BackendLost("gone")]}, usage=COST)
    assert fork(run_dir, "planner/1", tmp_path / "child", lost, request="Other?").status == "lost"
    again = Other(two_rounds(), usage=COST)
    result = resume(tmp_path / "child", again)
    assert (result.status, result.cost.model_calls, asked(again)) == ("converged", 14, ["reporter"])
    assert replay(tmp_path / "child", tmp_path / "out").agrees
    third = Scripted(two_rounds(), usage=COST)
    assert fork(tmp_path / "child", "worker/1/c", tmp_path / "grandchild", third).status == "converged"
    assert asked(third) == PLACES["worker/1/c"]
    calls = [event for event in read_trace(tmp_path / "grandchild") if isinstance(event, ModelCalled)]
    assert len(calls) == 14


def test_what_cannot_be_forked_is_refused_and_leaves_nothing(run_dir: Path, tmp_path: Path) -> None:
    backend = Other({})
    for step in ("planner/2", "worker/0/x", "claim", "", "worker/0"):
        with pytest.raises(ValueError, match=r"select from planner/0, worker/0/., worker/0/., worker/0/c, planner/1"):
            fork(run_dir, step, tmp_path / "child", backend)
    backend.is_llm = True  # type: ignore[misc]
    with pytest.raises(ValueError, match="price is unknown"):
        fork(run_dir, "planner/1", tmp_path / "child", backend, budget={"dollars": 1.0})
    with pytest.raises(ValueError, match="exists already"):
        fork(run_dir, "planner/1", tmp_path, backend)
    copy = edited_trace(run_dir, tmp_path / "copy", lambda documents, store: None)
    (copy / TRACE).write_bytes((copy / TRACE).read_bytes().replace(b"because", b"becausa", 1))
    with pytest.raises(TraceError, match="line 5: was changed"):
        fork(copy, "planner/1", tmp_path / "child", backend)
    assert [path.name for path in tmp_path.iterdir()] == ["copy"]
    assert not backend.asked


def test_the_command_makes_a_run_beside_its_parent(
    run_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = Other(dict(two_rounds()) | {"reporter": [json.dumps(CLAIM)]})
    monkeypatch.setattr(select, "choose_backend", lambda *_, **__: backend)
    words = ["--request", "Really?", "--max-tokens", "100000", "--json"]
    status, out, err = beamcrew("fork", str(run_dir), "reporter", *words, "--out", str(tmp_path / "child"))
    assert (status, json.loads(out)["request"]) == (0, "Really?"), err
    assert begun(tmp_path / "child").budget["tokens"] == 100000
    assert isinstance(begun(tmp_path / "child").parent, Parent)
    status, _, err = beamcrew("fork", str(run_dir), "nowhere")
    assert (status, "step='nowhere': select from planner/0" in err) == (2, True)
    status, _, err = beamcrew("fork", str(run_dir), "reporter", "--prompts", str(tmp_path))
    assert (status, "missing: planner.md, worker.md, reporter.md" in err) == (2, True)
    assert Budget.model_validate(begun(run_dir).budget).tokens is None
