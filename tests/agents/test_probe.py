"""The eleven questions to a service, asked of services on loopback."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from agents.backends.openai_service import OpenAIService
from agents.backends.price import Price
from agents.backends.probe import QUESTIONS, interview, price_of
from agents.cli.main import app
from benchmarks.services.scene import call, results, say
from benchmarks.services.server import Answer, Json, refusal, serving


def able(path: str, body: Json, key: str | None) -> Answer:
    """A model that does what is asked, and a cache that holds what it has read before."""
    asked = json.dumps(body.get("messages", []))
    usage = {"prompt_tokens": 900, "completion_tokens": 30}
    if "bin 8" in asked:
        usage |= {"prompt_tokens_details": {"cached_tokens": 810}}  # type: ignore[dict-item]
    if "image_url" in asked:
        return say({"content": "Blue, yellow and red."}, usage=usage)
    if "response_format" in body:
        return say({"content": '{"weight": 4.2, "note": null}'}, usage=usage)
    if "tools" in body and not results(body):
        return say({"content": None, "tool_calls": [call("stones__count", {"weight": 4})]}, usage=usage)
    return say({"content": "137"}, usage=usage)


def limited(path: str, body: Json, key: str | None) -> Answer:
    if "image_url" in json.dumps(body["messages"]):
        return refusal(400, "This model does not support image input.")
    if "temperature" in body:
        return refusal(400, "Unsupported parameter: 'temperature'", param="temperature")
    if body.get("max_tokens", 0) > 8192:
        return refusal(400, "max_tokens is too large. This model supports at most 8192 completion tokens")
    if "tools" in body:
        return say({"content": "I would count them."})
    return say({"content": "hello"}, usage=None)


def test_an_able_service() -> None:
    with serving(able) as url:
        found = {f.question: f for f in interview(OpenAIService("m-1", url, price=Price(prompt=1, completion=2)))}
    assert list(found) == list(QUESTIONS)
    assert [name for name, finding in found.items() if not finding.ok] == []
    assert found["cache"].seen == "90% of a repeated prompt came from the cache"
    assert found["a tool call"].usage.dollars == pytest.approx((900 + 30 * 2) / 1e6)


def test_what_a_service_cannot_do_is_said() -> None:
    with serving(limited) as url:
        found = {f.question: f for f in interview(OpenAIService("m-1", url))}
    assert found["answers in text"].ok
    assert "gave up temperature" in found["answers in text"].seen
    assert found["temperature and seed"].seen == "refused: temperature"
    assert found["long replies"].seen.startswith("replies of 8192 tokens are the longest allowed")
    assert "not the requested JSON" in found["JSON by a schema"].seen
    assert found["its second turn"].seen == "there was no call to answer"
    assert found["counts tokens"].seen == "tokens are not counted"
    assert not found["cache"].ok
    assert found["sees pictures"].seen.startswith("refused: figures will only be named, as with --no-pictures")


def test_a_service_that_ignores_a_picture_is_found_out() -> None:
    def blind(path: str, body: Json, key: str | None) -> Answer:
        content = body["messages"][-1]["content"]
        assert isinstance(content, str) or content[1]["image_url"]["url"].startswith("data:image/png;base64,")
        return say({"content": "Red, yellow, blue."})

    with serving(blind) as url:
        found = {f.question: f for f in interview(OpenAIService("m-1", url))}["sees pictures"]
    assert not found.ok
    assert "not seen: 'Red, yellow, blue.'; use --no-pictures" in found.seen


def test_a_service_that_is_not_there_ends_it_with_the_reason() -> None:
    with serving(able) as url:
        pass
    backend = OpenAIService("m-1", url, max_retries=0)
    (finding,) = interview(backend)
    assert "cannot connect" in finding.seen


def test_on_the_command_line_the_price_is_stated_first() -> None:
    with serving(able) as url:
        ran = CliRunner().invoke(app, ["doctor", "--model", "m-1", "--base-url", url, "--price", "1,2"])
    assert ran.exit_code == 0
    assert price_of(Price(prompt=1, completion=2)) in " ".join(ran.stderr.split())
    assert "asked by chat, tools as schema, streaming" in ran.stdout
