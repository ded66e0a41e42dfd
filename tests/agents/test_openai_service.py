"""The client of OpenAI-compatible services, against one on loopback that answers from a script."""

from __future__ import annotations

import itertools
import json
import logging
import time
import traceback
from collections.abc import Iterator
from email.utils import formatdate
from typing import Any

import pytest
from chat_service import Answer, Service, completion, refusal, running

from agents.backends.base import BackendLost, Message, QuotaSpent, Request, ToolCall, ToolSchema
from agents.backends.dialect import JSON_MODES
from agents.backends.failures import LONGEST_WAIT
from agents.backends.openai_service import OpenAIService
from agents.backends.price import Price

KEY = "sk-test-0123456789abcdef"
SCHEMA: dict[str, Any] = {"type": "object", "properties": {"mass": {"type": "number"}}, "required": ["mass"]}
CLASSIFY = ToolSchema(name="anomaly.classify", description="train a classifier", parameters=SCHEMA)


@pytest.fixture
def service() -> Iterator[Service]:
    with running() as service:
        yield service


@pytest.fixture
def slept() -> list[float]:
    return []


@pytest.fixture
def backend(service: Service, slept: list[float]) -> OpenAIService:
    return OpenAIService(
        "gpt-x", service.url, KEY, Price(prompt=2, completion=10), timeout=5, max_retries=2, sleep=slept.append
    )


def ask(**more: Any) -> Request:
    messages = (Message(role="system", content="You plan."), Message(role="user", content="Is there a bump?"))
    return Request(**({"role": "planner", "messages": messages} | more))


def lost(backend: OpenAIService, request: Request | None = None) -> str:
    """The message for the operator; whatever happened, the key is nowhere in the exception."""
    with pytest.raises(BackendLost) as caught:
        backend.complete(request or ask())
    assert KEY not in "".join(traceback.format_exception(caught.value))
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None
    message = str(caught.value)
    assert message.startswith(f"openai:gpt-x at {backend.base_url}: ")
    return message


def test_a_plain_reply(service: Service, backend: OpenAIService) -> None:
    reply = backend.complete(ask())
    assert reply.message == Message(role="assistant", content="hello")
    assert (reply.model, reply.finish) == ("m-1", "stop")
    assert reply.usage.dollars == pytest.approx(0.004)  # 1000 x 2 + 200 x 10 dollars per million
    assert (backend.name, backend.is_llm) == ("openai:gpt-x", True)
    assert service.keys == [f"Bearer {KEY}"]


def test_the_body_is_the_documented_one(service: Service, backend: OpenAIService) -> None:
    call = ToolCall(id="c7", name="anomaly.classify", arguments='{"mass": 3}')
    history = (
        Message(role="user", content="go"),
        Message(role="assistant", tool_calls=(call,)),
        Message(role="tool", content="done", tool_call_id="c7"),
    )
    backend.complete(
        ask(messages=history, tools=(CLASSIFY,), response_schema=SCHEMA, temperature=0.5, seed=7, max_tokens=99)
    )
    function = {"name": "anomaly__classify", "description": "train a classifier", "parameters": SCHEMA}
    called = {"id": "c7", "type": "function", "function": {"name": "anomaly__classify", "arguments": '{"mass": 3}'}}
    assert service.bodies == [
        {
            "model": "gpt-x",
            "messages": [
                {"role": "user", "content": "go"},
                {"role": "assistant", "content": "", "tool_calls": [called]},
                {"role": "tool", "content": "done", "tool_call_id": "c7"},
            ],
            "tools": [{"type": "function", "function": function}],
            "response_format": {
                "type": "json_schema",
                "json_schema": {"name": "reply", "schema": SCHEMA | {"additionalProperties": False}, "strict": True},
            },
            "temperature": 0.5,
            "seed": 7,
            "max_tokens": 99,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
    ]


def test_waits_as_long_as_the_service_asks(service: Service, backend: OpenAIService, slept: list[float]) -> None:
    service.answers = [
        refusal(429, "slow down", {"Retry-After": "7"}),
        refusal(429, "slow down", {"Retry-After": "300"}),
        completion(),
    ]
    assert backend.complete(ask()).message.content == "hello"
    assert slept == [7, LONGEST_WAIT]


def test_a_retry_date_is_understood(service: Service, backend: OpenAIService, slept: list[float]) -> None:
    date = formatdate(time.time() + 50, usegmt=True)
    service.answers = [refusal(503, "loading", {"Retry-After": date}), completion()]
    backend.complete(ask())
    assert 0 < slept[0] <= 50  # some of it has passed by now, more on a busy machine


def test_failures_of_the_service_pass(service: Service, backend: OpenAIService, slept: list[float]) -> None:
    service.answers = [refusal(500, "oops"), Answer("<h1>bad gateway</h1>", 502), completion()]
    assert backend.complete(ask()).message.content == "hello"
    assert 0.5 <= slept[0] <= 1 <= slept[1] <= 2


def test_tries_are_bounded(service: Service, backend: OpenAIService, slept: list[float]) -> None:
    service.answers = [refusal(500, "oops")]
    assert "HTTP 500: oops), after 3 tries" in lost(backend)
    assert (len(service.bodies), len(slept)) == (3, 2)


def test_a_silent_service(service: Service, slept: list[float]) -> None:
    service.answers = [completion()]
    service.answers[0].delay = 1.0
    backend = OpenAIService("gpt-x", service.url, KEY, timeout=0.1, max_retries=1, sleep=slept.append)
    assert "no answer in time" in lost(backend)
    assert len(slept) == 1


def test_nobody_listens(slept: list[float]) -> None:
    with running() as service:
        url = service.url
    backend = OpenAIService("gpt-x", url, KEY, max_retries=1, sleep=slept.append)
    assert "refused" in lost(backend)
    assert len(slept) == 1


def test_no_credit_is_not_retried(service: Service, backend: OpenAIService, slept: list[float]) -> None:
    service.answers = [refusal(429, "You exceeded your current quota", code="insufficient_quota")]
    assert "no credit or quota left" in lost(backend)
    assert slept == []


@pytest.mark.parametrize(
    ("refused", "hours"),
    [
        (refusal(429, "slow down", {"Retry-After": "7200"}), 2),
        (refusal(429, "Rate limit reached. Please try again in 2h13m12s."), 2.22),
        (refusal(429, "Tokens per day are used up. Please try again in 6m."), 0.1),
        (refusal(402, "Payment required"), None),
    ],
)
def test_a_spent_quota_is_told_from_a_limit_on_the_rate_with_the_time_when_it_refills(
    service: Service, backend: OpenAIService, slept: list[float], refused: Answer, hours: float | None
) -> None:
    service.answers = [refused]
    with pytest.raises(QuotaSpent) as found:
        backend.complete(ask())
    assert slept == []
    refills = found.value.quota.refills
    assert (refills and refills - time.time()) == (hours and pytest.approx(3600 * hours, abs=60))


@pytest.mark.parametrize("status", [401, 403])
def test_a_refused_key(service: Service, status: int) -> None:
    service.answers = [refusal(status, f"Incorrect API key provided: {KEY}.")]
    message = lost(OpenAIService("gpt-x", service.url, KEY, api_key_env="MY_KEY"))
    assert "the key was refused: put a valid one in MY_KEY" in message
    assert "Incorrect API key provided: [key]." in message
    service.answers = [refusal(status, "You must provide a key.")]
    assert "a key is required but none was given" in lost(OpenAIService("gpt-x", service.url))


def test_an_unknown_model(service: Service, backend: OpenAIService) -> None:
    service.answers = [refusal(404, "The model does not exist", code="model_not_found")]
    service.models = [f"other-{n}" for n in range(12)] + ["gpt-x-1"]
    message = lost(backend)
    assert "no model 'gpt-x'" in message
    assert "it has gpt-x-1, other-" in message
    assert "and 3 more" in message
    service.models = []
    assert "/v1" in lost(backend)


COMPLAINTS = [
    refusal(400, "Invalid schema for response_format 'reply': ...", param="response_format"),
    refusal(400, "'response_format.type' must be 'text' or 'json_object'"),
    refusal(422, "unsupported", param="response_format.schema"),
    refusal(500, "[{'type': 'literal_error', 'loc': ('body', 'response_format', 'type')}]"),
]


def test_simpler_ways_to_ask_for_json_are_found_and_remembered(service: Service, backend: OpenAIService) -> None:
    service.answers = [*COMPLAINTS, completion('{"mass": 3}')]
    reply = backend.complete(ask(response_schema=SCHEMA))
    asked = [body.get("response_format") for body in service.bodies]
    assert [a and a["type"] for a in asked] == ["json_schema", "json_schema", "json_object", "json_object", None]
    assert [a and "strict" in str(a) for a in asked] == [True, False, False, False, None]
    assert [a and "schema" in a for a in asked] == [False, False, True, False, None]
    system = [body["messages"][0]["content"] for body in service.bodies]
    assert system[:2] == ["You plan."] * 2
    assert all(text.startswith("You plan.\n\n") and text.endswith(json.dumps(SCHEMA)) for text in system[2:])
    assert [note.split(" (")[0] for note in reply.notes] == [
        f"gave up the reply format {one} in favour of {other}" for one, other in itertools.pairwise(JSON_MODES)
    ]
    again = backend.complete(ask(response_schema=SCHEMA, messages=(Message(role="user", content="again"),)))
    assert again.notes == (), "what was given up is said once"
    assert len(service.bodies) == 6
    assert "response_format" not in service.bodies[-1]
    assert [m["role"] for m in service.bodies[-1]["messages"]] == ["system", "user"]


def test_unsupported_parameters_are_dropped_and_remembered(service: Service, backend: OpenAIService) -> None:
    service.answers = [
        refusal(400, "Use 'max_completion_tokens' instead of 'max_tokens'.", param="max_tokens"),
        refusal(400, "'temperature' does not support 0 with this model."),
        Answer({"detail": [{"loc": ["body", "seed"], "msg": "Extra inputs are not permitted"}]}, 422),
        completion(),
    ]
    backend.complete(ask())
    backend.complete(ask())
    sent = [{*body} - {"model", "messages", "stream", "stream_options"} for body in service.bodies]
    assert sent[0] == {"max_tokens", "temperature", "seed"}
    assert sent[1] == {"max_completion_tokens", "temperature", "seed"}
    assert sent[3:] == [{"max_completion_tokens"}, {"max_completion_tokens"}]


def test_a_refusal_that_simplifying_does_not_cure(service: Service, backend: OpenAIService) -> None:
    service.answers = [refusal(400, "max_tokens is too large, and so are max_completion_tokens")]
    assert "the request was refused (HTTP 400: max_tokens is too large" in lost(backend)
    service.answers = [completion()]
    backend.complete(ask())
    assert "max_tokens" in service.bodies[-1]  # a guess that failed is not remembered


@pytest.mark.parametrize(
    "body",
    ["<html>Welcome</html>", '{"choices": [', {"choices": []}, {"choices": [{}]}, "null"],
)
def test_what_is_no_completion(service: Service, backend: OpenAIService, body: Any) -> None:
    service.answers = [Answer(body)]
    assert "not a chat completion" in lost(backend)


def test_an_error_inside_an_answer_is_an_error(service: Service, backend: OpenAIService, slept: list[float]) -> None:
    service.answers = [Answer({"error": {"message": f"overloaded {KEY}", "code": 503}}), completion()]
    assert backend.complete(ask()).message.content == "hello"
    assert len(slept) == 1


def test_the_key_is_neither_logged_nor_shown(
    service: Service, backend: OpenAIService, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    service.answers = [refusal(500, f"you sent {KEY}"), refusal(400, "x" * 290 + KEY)]
    lost(backend)
    assert caplog.records
    assert KEY not in caplog.text + repr(backend) + str(backend)


@pytest.mark.parametrize("url", ["ftp://host/v1", "host/v1", "http://me:hunter2@host/v1", "http://host/v1?key=hunter2"])
def test_addresses_that_are_refused(url: str) -> None:
    with pytest.raises(ValueError, match="base_url") as caught:
        OpenAIService("gpt-x", url)
    assert "hunter2" not in str(caught.value)


def test_a_key_that_no_header_can_carry() -> None:
    with pytest.raises(ValueError, match="OPENAI_API_KEY contains spaces") as caught:
        OpenAIService("gpt-x", None, "sk-one sk-two")
    assert "sk-one" not in str(caught.value)
