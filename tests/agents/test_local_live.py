"""The packaged small models themselves: form, determinism, limits. Needs the extra `local`."""

from __future__ import annotations

import importlib.util
import json
from typing import Any

import pytest
from test_local import TOOLS, errors

from agents.backends.base import Message, Request, ToolCall
from agents.backends.local import Local, files
from tasks.plan import Plan

pytestmark = [pytest.mark.live, pytest.mark.timeout(900)]
TASK = "Plan a search for a new particle in a dijet mass spectrum: train a classifier, then hand in the scores."


@pytest.fixture(scope="module", params=sorted(files.PACKAGES))
def backend(request: pytest.FixtureRequest) -> Local:
    if importlib.util.find_spec("llama_cpp") is None or request.param not in files.installed():
        pytest.skip(f"{request.param} or llama-cpp-python is not installed: {files.HELP}")
    return Local(request.param)


def ask(text: str, **more: Any) -> Request:
    messages = (Message(role="system", content="You are a physicist."), Message(role="user", content=text))
    return Request(**({"role": "planner", "messages": messages, "max_tokens": 200} | more))


def test_a_plan_has_the_form_and_tokens_are_counted(backend: Local) -> None:
    reply = backend.complete(ask(TASK, response_schema=Plan.model_json_schema()))
    assert set(errors(Plan, reply.message.content)) <= {"value_error"}, reply.message.content
    assert reply.usage.prompt_tokens > 100
    assert 10 < reply.usage.completion_tokens <= 200
    assert reply.usage.dollars == 0


@pytest.mark.parametrize("rows", [1, 300])
def test_a_worker_makes_a_call_of_the_form(backend: Local, rows: int) -> None:
    """With a result longer than the context, the result is left out, and a call is made all the same."""
    call = ToolCall(id="c", name="events.describe", arguments="{}")
    result = json.dumps({"values": [0.12345] * 10 * rows})
    history = (
        *ask("Look at the events, then train a classifier in the window from 3.3 to 3.7 TeV.").messages,
        Message(role="assistant", tool_calls=(call,)),
        Message(role="tool", content=result, tool_call_id="c"),
    )
    reply = backend.complete(ask("", role="worker", messages=history, tools=tuple(TOOLS), max_tokens=120))
    (made,) = reply.message.tool_calls
    assert made.name in [tool.name for tool in TOOLS]
    assert isinstance(json.loads(made.arguments), dict)


def test_the_same_reply_whatever_was_asked_before(backend: Local) -> None:
    """Beginnings of prompts are computed once and kept: replies must not show it."""
    schema = Plan.model_json_schema()
    long = "The events have two jets each. " * 60
    first, other = (ask(long + end, response_schema=schema, max_tokens=60) for end in (TASK, "Stop."))
    fresh = backend.complete(first)
    backend.complete(other)  # begins alike
    backend.complete(ask("Something else. " * 150, max_tokens=20, response_schema=schema))  # begins otherwise
    assert backend.complete(first) == fresh  # from what was kept
    backend._engine._kept.clear()
    backend._engine._filled = ()
    assert backend.complete(first) == fresh  # anew


def test_seeds_draw_different_replies_and_each_the_same_again(backend: Local) -> None:
    request = ask(TASK, response_schema=Plan.model_json_schema(), temperature=1.0, max_tokens=60)
    drawn = [backend.complete(request.model_copy(update={"seed": seed})).message.content for seed in (1, 2, 1)]
    assert drawn[0] == drawn[2] != drawn[1]


def test_what_cannot_fit_is_a_failed_reply(backend: Local) -> None:
    reply = backend.complete(ask("dijet " * 9000))
    assert reply.finish == "length"
    assert "the context of this model has 8192" in reply.message.content
