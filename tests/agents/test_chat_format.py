"""Our requests and replies in the words of the chat-completions protocol, and back."""

from __future__ import annotations

import string
from typing import Any

import pytest
from chat_service import Answer, completion

from agents.backends.base import Message, Reply, Request, ToolSchema
from agents.backends.chat_format import from_answer, to_body
from agents.backends.dialect import Dialect
from agents.backends.price import Price
from agents.backends.reading import call_id, function_name

REQUEST = Request(
    role="worker",
    messages=(Message(role="user", content="Is there a bump?"),),
    tools=(ToolSchema(name="anomaly.classify", description="train a classifier", parameters={"type": "object"}),),
)


def read(answer: Answer) -> Reply:
    body = to_body(REQUEST, "asked-for", Dialect(), "host/model")
    return from_answer(answer.body, REQUEST, "asked-for", "host/model", Price(prompt=2, completion=10), body)


def test_tool_calls_come_back_under_our_names() -> None:
    calls = [
        {"id": "a", "type": "function", "function": {"name": "anomaly__classify", "arguments": '{"mass": 3.5}'}},
        {"id": "b", "type": "function", "function": {"name": "made__up", "arguments": "{not json"}},
        {"type": "function", "function": {"name": "anomaly.classify", "arguments": {"mass": 2}}},
    ]
    reply = read(completion(None, "tool_calls", tool_calls=calls))
    assert reply.message.content == ""
    assert reply.finish == "tool_calls"
    assert [(c.id, c.name, c.arguments) for c in reply.message.tool_calls] == [
        ("a", "anomaly.classify", '{"mass": 3.5}'),
        ("b", "made__up", "{not json"),
        (call_id(REQUEST, 2), "anomaly.classify", '{"mass": 2}'),
    ]
    again = to_body(REQUEST.model_copy(update={"messages": (reply.message,)}), "m", Dialect(), "host/model")
    names = [call["function"]["name"] for call in again["messages"][0]["tool_calls"]]
    assert names == ["anomaly__classify", "made__up", "anomaly__classify"]


@pytest.mark.parametrize("name", ["anomaly.classify", "a b", "é.x", "x" * 90])
def test_function_names_are_allowed_ones(name: str) -> None:
    assert 0 < len(function_name(name)) <= 64
    assert set(function_name(name)) <= set(string.ascii_letters + string.digits + "_-")


@pytest.mark.parametrize(
    ("usage", "counted"),
    [
        ({"prompt_tokens": 1000, "completion_tokens": 200}, (1000, 200, 0.004)),  # at 2 and 10 dollars per million
        ({"prompt_tokens": 10, "completion_tokens": 1, "cost": 0.25}, (10, 1, 0.25)),  # the service's own word
        ({"prompt_tokens": 10, "completion_tokens": None}, (10, 0, 0.00002)),
    ],
)
def test_tokens_and_dollars(usage: Any, counted: tuple[int, int, float]) -> None:
    found = read(completion(usage=usage)).usage
    assert (found.prompt_tokens, found.completion_tokens, found.dollars) == pytest.approx(counted)


def test_tokens_that_a_service_does_not_count_are_estimated_and_marked() -> None:
    found = read(completion("x" * 400, usage=None)).usage
    assert found.estimated == 1
    assert found.completion_tokens == pytest.approx(100, abs=15)
    assert found.prompt_tokens > 0
    assert found.dollars == pytest.approx((2 * found.prompt_tokens + 10 * found.completion_tokens) / 1e6)


@pytest.mark.parametrize(
    "usage",
    [
        {"prompt_tokens": 1000, "completion_tokens": 10, "prompt_tokens_details": {"cached_tokens": 900}},
        {"prompt_tokens": 1000, "completion_tokens": 10, "prompt_cache_hit_tokens": 900},
    ],
)
def test_cached_tokens_have_their_own_price(usage: Any) -> None:
    body = to_body(REQUEST, "m", Dialect(), "host/model")
    price = Price(prompt=2, completion=10, cached=0.2)
    found = from_answer(completion(usage=usage).body, REQUEST, "m", "host/model", price, body).usage
    assert found.cached_tokens == 900
    assert found.dollars == pytest.approx((100 * 2 + 900 * 0.2 + 10 * 10) / 1e6)


def test_truncated_and_refused_replies_are_replies() -> None:
    assert read(completion("half a pl", "length")).finish == "length"
    assert read(completion(None, refusal="I will not")).message.content == "I will not"


def test_the_least_a_reply_can_be() -> None:
    reply = read(Answer({"choices": [{"message": {}}]}))
    assert reply.message == Message(role="assistant")
    assert (reply.model, reply.finish) == ("asked-for", "stop")
