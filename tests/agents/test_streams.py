"""Streams: silence that is a stall and silence that is thought, and pieces that make a whole."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.backends.streams import Cut, Stalled, events_of, whole_answer, with_limit
from benchmarks.services.scene import LOOK, call, pieces

ROLE = 'data: {"choices": [{"delta": {"role": "assistant", "content": ""}}]}'
WORD = 'data: {"choices": [{"delta": {"content": "The"}}]}'


def paused(*lines: str | float) -> Iterator[str]:
    """Lines, with pauses in seconds between them."""
    for line in lines:
        if isinstance(line, float):
            time.sleep(line)
        else:
            yield line


def test_a_model_may_think_before_its_first_word_and_not_stall_after_it() -> None:
    assert list(with_limit(paused(ROLE, 0.6, WORD), first=30, between=0.2)) == [ROLE, WORD]
    with pytest.raises(Stalled):
        list(with_limit(paused(WORD, 3.0, WORD), first=30, between=0.2))


def test_comments_that_keep_a_connection_open_say_nothing() -> None:
    with pytest.raises(Stalled):
        list(with_limit(paused(*[": alive", 0.1] * 30), first=0.5, between=0.2))


def test_a_stream_without_an_end_was_cut() -> None:
    events = pieces({"role": "assistant", "content": "half a sentence"})[:2]
    lines = [f"data: {json.dumps(event)}" for event in events]
    with pytest.raises(Cut):
        whole_answer(events_of(lines), "chat")
    whole = whole_answer(events_of([*lines, "data: [DONE]"]), "chat")
    assert whole["choices"][0]["message"]["content"] == "half a "


@settings(deadline=None)
@given(st.text(max_size=60), st.lists(st.text(max_size=40), max_size=3))
def test_pieces_make_what_would_have_come_in_one(words: str, paths: list[str]) -> None:
    signed: dict[str, Any] = {"extra_content": {"google": {"thought_signature": "abc=="}}}
    calls = [call("events__describe", LOOK | {"events": path}, number) | signed for number, path in enumerate(paths)]
    message = {"role": "assistant", "content": words, "reasoning_content": "x", "tool_calls": calls}
    written: list[str] = []
    whole = whole_answer(iter(pieces(message)), "chat", written.append)
    found = whole["choices"][0]["message"]
    assert {"tool_calls": []} | found == message
    assert "".join(written) == words
    assert whole["usage"]["prompt_tokens"] == 1000
