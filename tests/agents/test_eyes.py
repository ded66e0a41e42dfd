"""Figures: what models see of the pictures that their commands make, and that a replay sees the same."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from chat_service import completion, refusal, running
from PIL import Image
from scripted import FakeSandbox, Scripted, call, make_crew, python

from agents.backends import chat_format, responses_format
from agents.backends.base import Figure, Message, Request, ToolCall
from agents.backends.dialect import Dialect
from agents.backends.openai_service import OpenAIService
from agents.crew import eyes
from agents.crew.worker import Worker
from agents.runs.workbench import Nowhere
from agents.trace.events import Seen
from agents.trace.record import Record
from agents.trace.recorders import RecordedBackend, RecordedWorkbench
from tasks.plan import Step

STEP = Step(id="s", goal="g")
RED = np.full((60, 2000, 3), (255, 0, 0), np.uint8)
FIGURE = Figure(name="a.png", width=3, height=2, sha256="0" * 64, png="QUJD")


def png(picture: np.ndarray, **more: Any) -> bytes:
    held = io.BytesIO()
    Image.fromarray(picture).save(held, "PNG", **more)
    return held.getvalue()


def painted(argv: Sequence[str], folder: Path) -> str:
    (folder / "a.png").write_bytes(png(RED))
    noise = np.random.default_rng(1).integers(0, 256, (700, 700, 3), dtype=np.uint8)
    (folder / "b.png").write_bytes(png(noise))
    (folder / "c.png").write_bytes(png(RED)[:90])
    return "done"


def test_figures_are_shown_small_once_and_again_in_a_replay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    backend = Scripted({"worker/0/s": [python("paint"), call("finish", summary="seen")]})
    crew = make_crew(tmp_path, backend, FakeSandbox(tmp_path / "workspace", painted))
    first = Worker(crew, 0, STEP).work({})
    result = next(message for message in backend.asked[-1][1].messages if message.role == "tool")
    told = json.loads(result.content)["figures"]
    assert told["a.png"] == "768 x 23 pixels"
    assert "truncated" in told["c.png"]
    wide, noise = result.figures
    with Image.open(io.BytesIO(base64.b64decode(wide.png))) as shown:
        assert (shown.size, shown.getpixel((400, 10))) == ((768, 23), (255, 0, 0))
    assert len(base64.b64decode(noise.png)) <= eyes.LARGEST
    (seen,) = [event for event in crew.store.events() if isinstance(event, Seen)]
    assert not any(figure.png for figure in seen.figures)  # the data are kept once, by their hash
    assert crew.store.get(wide.sha256) == base64.b64decode(wide.png)

    def other(*_: Any) -> np.ndarray:
        raise AssertionError("a replay draws nothing")

    monkeypatch.setattr(eyes, "pixels", other)
    record = Record(crew.store.events())
    again = replace(
        crew,
        record=record,
        backend=RecordedBackend(Scripted({}), crew.store, record),
        bench=RecordedWorkbench(Nowhere(tmp_path / "other"), crew.store, record),
    )
    assert Worker(again, 0, STEP).work({}) == first
    assert record.unplayed() == []


def test_messages_without_figures_are_recorded_as_before() -> None:
    assert "figures" not in Request(role="worker", messages=(Message(role="user"),)).model_dump()["messages"][0]


def asked() -> Request:
    calls = tuple(ToolCall(id=name, name="run_python", arguments="{}") for name in "xy")
    messages = (
        Message(role="user", content="Look."),
        Message(role="assistant", tool_calls=calls),
        Message(role="tool", tool_call_id="x", content="1", figures=(FIGURE,)),
        Message(role="tool", tool_call_id="y", content="2"),
    )
    return Request(role="worker", messages=messages)


def test_figures_follow_the_last_result_on_both_wires() -> None:
    chat = chat_format.to_body(asked(), "m", Dialect(), "s")["messages"]
    assert [turn["role"] for turn in chat] == ["user", "assistant", "tool", "tool", "user"]
    assert chat[-1]["content"][1]["image_url"]["url"] == "data:image/png;base64,QUJD"
    assert "a.png" in chat[-1]["content"][0]["text"]
    items = responses_format.to_body(asked(), "m", Dialect(wire="responses"), "s")["input"]
    assert items[-1]["content"][1] == {"type": "input_image", "image_url": "data:image/png;base64,QUJD"}
    assert items[-2]["type"] == "function_call_output"
    blind = chat_format.to_body(asked(), "m", Dialect(pictures=False), "s")["messages"]
    assert [turn["role"] for turn in blind] == ["user", "assistant", "tool", "tool"]


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (404, "No endpoints found that support image input"),
        (400, "messages[4].content: Input should be a valid string"),
        (400, "Expected last role to be assistant: unexpected role 'user' after role 'tool'"),
        (400, "bad request"),
    ],
)
def test_a_service_that_refuses_a_picture_is_told_in_words_once_and_for_all(status: int, words: str) -> None:
    with running() as service:
        service.answers = [refusal(status, words), completion()]
        backend = OpenAIService("m", service.url, timeout=5, sleep=lambda _: None)
        reply = backend.complete(asked())
        assert ["pictures" in note for note in reply.notes] == [True]
        assert not backend.dialect.pictures
        assert backend.complete(asked()).notes == ()
        assert [len(body["messages"]) for body in service.bodies] == [5, 4, 4]
        never = OpenAIService("m", service.url, timeout=5, pictures=False)
        never.complete(asked())
        assert len(service.bodies[-1]["messages"]) == 4
