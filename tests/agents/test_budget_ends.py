"""What a budget counts and says, and what is left when it is spent: in whole runs, with a service on loopback."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
from chat_service import Service, completion, running
from killed import COST, SETTINGS
from scripted import Scripted, call, hand_in, plan, python, step, two_rounds

from agents.backends.base import BackendLost, Message, Reply, Request, Usage
from agents.backends.openai_service import OpenAIService
from agents.backends.price import Price
from agents.crew.budget import Budget, BudgetSpent, Meter
from agents.runs.in_time import InTime
from agents.runs.replay import replay
from agents.runs.run import resume, start
from agents.trace.events import BudgetNear, Executed, ModelCalled, RunFinished
from agents.trace.store import read_trace
from benchmarks.services.server import Answer, Stream

PRICE = Price(prompt=1000, completion=1000)  # a tenth of a cent for each token
ASKED = Request(role="planner", messages=(Message(role="user", content="x" * 400),))


def limited(**limits: float) -> Any:
    return SETTINGS.model_copy(update={"budget": Budget.model_validate(limits), "workers": 1})


class Silent:
    """A model whose reply does not come before the test is over."""

    name, is_llm = "silent", False

    def __init__(self) -> None:
        self.over = threading.Event()

    def complete(self, request: Request) -> Reply:
        self.over.wait()
        raise BackendLost("the test is over")


def test_a_reply_is_not_waited_for_beyond_the_time_of_the_run() -> None:
    model = Silent()
    with pytest.raises(BudgetSpent, match=r"the planner.s reply was given up after .* its cost is unknown"):
        InTime(model, Meter(Budget(seconds=0.05), priced=True)).complete(ASKED)
    model.over.set()
    with pytest.raises(BackendLost, match="the test is over"):
        InTime(model, Meter(Budget(seconds=60), priced=True)).complete(ASKED)
    with pytest.raises(BackendLost):
        InTime(model, Meter(Budget(), priced=True)).complete(ASKED)


def test_a_command_is_cut_off_when_the_time_of_the_run_is_over(tmp_path: Path) -> None:
    """It would go on for an hour; what was found before it is in the report."""
    first = [python("print('looked')"), call("finish", summary="looked around")]
    script = {
        "planner/0": [plan(step("a"), step("b", ["a"], submits=True))],
        "worker/0/a": first,
        "worker/0/b": [python("import time\ntime.sleep(3600)"), *hand_in()],
    }
    result = start(limited(seconds=6), Scripted(script), tmp_path / "run")
    assert result.status == "budget"
    assert "worker/0/b: it was cut off after" in result.reason
    assert [e.where for e in read_trace(tmp_path / "run") if isinstance(e, Executed)] == ["worker/0/a"]
    (said,) = [event for event in read_trace(tmp_path / "run") if isinstance(event, BudgetNear)]
    assert (said.name, said.limit) == ("seconds", 6.0)
    report = (tmp_path / "run/report.md").read_text()
    assert "**What was found so far**" in report
    assert "iteration 0, a: looked around" in report


def test_most_of_a_limit_is_announced_once(tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    result = start(limited(dollars=5), Scripted(two_rounds(), usage=COST), run_dir)
    assert (result.status, result.cost.dollars) == ("budget", 5.0)
    (said,) = [event for event in read_trace(run_dir) if isinstance(event, BudgetNear)]
    assert (said.name, said.used, said.limit) == ("dollars", 4.0, 5.0)
    report = (run_dir / "report.md").read_text()
    assert "80% of the limit is used: 4 of 5 dollars" in report
    assert "best so far: correlation = " in report
    assert replay(run_dir, tmp_path / "cut", patience=0.1).agrees
    assert resume(run_dir, Scripted(two_rounds(), usage=COST), Budget(dollars=8)).status == "converged"
    again = [(event.used, event.limit) for event in read_trace(run_dir) if isinstance(event, BudgetNear)]
    assert again == [(4.0, 5.0), (6.5, 8.0)], "of the new limit once"
    assert replay(run_dir, tmp_path / "whole").agrees


def lost(service: Service) -> BackendLost:
    model = OpenAIService("m", service.url, price=PRICE, max_retries=1, sleep=lambda _: None)
    with pytest.raises(BackendLost) as caught:
        model.complete(ASKED)
    return caught.value


def test_unreadable_answers_count() -> None:
    """As they say themselves; if they say nothing, or break off, what was sent is estimated."""
    usage = {"prompt_tokens": 100, "completion_tokens": 20}
    with running() as service:
        service.answers = [Answer({"choices": [], "usage": usage})]
        assert lost(service).usage == Usage(prompt_tokens=100, completion_tokens=20, dollars=0.12)
        service.answers = [Answer("<html>Welcome</html>")]
        unread = lost(service).usage
        assert unread.estimated == 1
        assert unread.prompt_tokens > 100
        service.answers = [Stream([{"choices": [{"delta": {"content": "half a"}}]}], done=False)]
        assert lost(service).usage.estimated == 2, "two tries"
        service.answers = [service.answers[0], completion()]
        model = OpenAIService("m", service.url, price=PRICE, sleep=lambda _: None)
        assert model.complete(ASKED).usage.estimated == 1
        service.answers = [completion(""), completion(""), Answer("gone", 403)]
        assert lost(service).usage.prompt_tokens == 2000, "empty replies before the loss"


def test_the_cost_of_calls_without_a_reply_is_of_the_run(tmp_path: Path) -> None:
    """It is in the result, and counts in the budget after a resumption."""
    gone = BackendLost("unreadable")
    gone.usage = Usage(prompt_tokens=10, dollars=2.0)
    begun = two_rounds()
    result = start(limited(dollars=6), Scripted(begun | {"worker/0/c": [gone]}, usage=COST), tmp_path / "run")
    calls = sum(isinstance(event, ModelCalled) for event in read_trace(tmp_path / "run"))
    assert (result.status, result.cost.dollars) == ("lost", 2.0 + 0.5 * calls)
    result = resume(tmp_path / "run", Scripted(begun, usage=COST))
    assert (result.status, result.cost.dollars) == ("budget", 6.0)
    ended = read_trace(tmp_path / "run")[-1]
    assert isinstance(ended, RunFinished)
    assert ended.usage.dollars == 6.0
