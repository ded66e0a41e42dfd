"""What a service said beside words and calls: kept in the trace, sent back to it from there, and to no other."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from test_trace_store import STARTED

from agents.backends import chat_format, responses_format
from agents.backends.base import Message, Request
from agents.backends.dialect import Dialect
from agents.backends.openai_service import OpenAIService
from agents.trace.record import Record
from agents.trace.recorders import RecordedBackend
from agents.trace.store import Store
from benchmarks.services import kept
from benchmarks.services.scene import TOOLS, opening
from benchmarks.services.server import serving

REQUEST = Request(role="worker", messages=tuple(opening()), tools=TOOLS, max_tokens=512)


@pytest.fixture
def signed(tmp_path: Path) -> Message:
    """A message of a service that signs its calls, as a trace gives it back."""
    with serving(lambda path, body, key: kept.gemini(body)) as url:
        backend = OpenAIService("m-1", url)
        with Store.create(tmp_path) as store:
            store.append(STARTED)
            RecordedBackend(backend, store, Record()).complete(REQUEST, "worker/0/s")
    with Store.open(tmp_path) as store:
        return RecordedBackend(backend, store, Record(store.events())).complete(REQUEST, "worker/0/s").message


def again(message: Message, source: str) -> str:
    body = chat_format.to_body(Request(role="worker", messages=(message,)), "m-1", Dialect(), source)
    return json.dumps(body)


def test_a_signature_survives_the_trace(signed: Message) -> None:
    assert signed.opaque
    assert "c2lnbmVk+/==" in again(signed, "127.0.0.1/m-1")


def test_another_model_or_wire_gets_words_and_calls_alone(signed: Message) -> None:
    assert "c2lnbmVk+/==" not in again(signed, "127.0.0.1/m-2")
    assert "events__describe" in again(signed, "127.0.0.1/m-2")
    request = Request(role="worker", messages=(signed,))
    items = responses_format.to_body(request, "m-1", Dialect(wire="responses"), "127.0.0.1/m-1")["input"]
    assert [item["type"] for item in items] == ["function_call"]


def test_what_is_opaque_is_part_of_what_was_asked(signed: Message) -> None:
    plain = signed.model_copy(update={"opaque": None})
    assert Request(role="worker", messages=(signed,)).key() != Request(role="worker", messages=(plain,)).key()
