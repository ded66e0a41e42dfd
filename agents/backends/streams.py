"""Streamed answers: server-sent events with a limit on silence, assembled into an unstreamed answer."""

from __future__ import annotations

import json
import queue
import re
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from agents.backends.base import Wire

Watch = Callable[[str], None]
END = "[DONE]"
SPEAKS = re.compile(r'"content":\s*"[^"]|"arguments":\s*"[^"]|output_text\.delta|function_call_arguments\.delta')
WHOLE = (
    "index",
    "type",
    "id",
    "role",
    "name",
    "finish_reason",
    "object",
    "model",
    "created",
    "format",
)  # never in pieces


class Stalled(TimeoutError):  # noqa: N818 - the service fell silent
    """Nothing new arrived for too long."""


class Cut(ValueError):  # noqa: N818 - the connection ended, nothing is wrong with this program
    """The stream ended before the answer did."""


def with_limit(lines: Iterable[str], first: float, between: float) -> Iterator[str]:
    """Yield the lines, without blank ones and comments, which services send to keep a connection open.

    Raises Stalled if a line takes longer than `first` seconds, or, once one has brought content, longer than `between`.
    A thread reads; one that waits for a dead service is abandoned and ends with its connection.
    """
    found: queue.Queue[str | Cut | None] = queue.Queue()

    def read() -> None:
        try:
            for line in lines:
                if line.strip() and not line.startswith(":"):
                    found.put(line)
            found.put(None)
        except Exception as error:  # from any transport
            found.put(Cut(f"{type(error).__name__}: {error}"))

    threading.Thread(target=read, daemon=True).start()
    limit = first
    while True:
        try:
            line = found.get(timeout=limit)
        except queue.Empty:
            raise Stalled(f"nothing new for {limit:g} seconds") from None
        if line is None:
            return
        if isinstance(line, Cut):
            raise line
        if _speaks(line):
            limit = between
        yield line


def _speaks(line: str) -> bool:
    """Return True if a line brings text or arguments: before them a model may think for minutes in silence."""
    return bool(SPEAKS.search(line))


def events_of(lines: Iterable[str]) -> Iterator[dict[str, Any]]:
    """Yield the JSON objects of a stream's `data:` lines; an end mark becomes `{"done": True}` and ends them."""
    for line in lines:
        if line.startswith("data:"):
            text = line.removeprefix("data:").strip()
            if text == END:
                yield {"done": True}
                return
            document = json.loads(text)
            if isinstance(document, dict):
                yield document


def whole_answer(events: Iterable[dict[str, Any]], wire: Wire, watch: Watch | None = None) -> dict[str, Any]:
    """Assemble the answer that the service would have given without streaming. Raises Cut."""
    return _chat(events, watch) if wire == "chat" else _responses(events, watch)


def _chat(events: Iterable[dict[str, Any]], watch: Watch | None) -> dict[str, Any]:
    answer: dict[str, Any] = {}
    message: dict[str, Any] = {}
    finish = None
    for event in events:
        if "error" in event:
            return event
        answer |= {name: value for name, value in event.items() if name != "choices" and value is not None}
        for choice in event.get("choices") or []:
            if choice.get("index") or not isinstance(choice, dict):  # only one choice was requested
                continue
            if choice.get("error"):
                return {"error": choice["error"]}
            delta = choice.get("delta") or choice.get("message") or {}
            _add(message, delta)
            finish = choice.get("finish_reason") or finish
            if watch and isinstance(text := delta.get("content"), str):
                watch(text)
    if not answer.pop("done", False) and finish is None:
        raise Cut("the stream ended before the reply did")
    for call in message.get("tool_calls") or []:
        call.pop("index", None)
    return answer | {"choices": [{"index": 0, "message": message, "finish_reason": finish}]}


def _add(whole: dict[str, Any], piece: dict[str, Any]) -> None:
    """Add a piece: texts are joined, objects merged, list items merged by index if they have one."""
    for name, value in piece.items():
        before = whole.get(name)
        if before is None:
            whole[name] = _fresh(value)
        elif isinstance(before, str) and isinstance(value, str) and name not in WHOLE:
            whole[name] = before + value
        elif isinstance(before, dict) and isinstance(value, dict):
            _add(before, value)
        elif isinstance(before, list) and isinstance(value, list):
            _add_list(before, value)
        elif value not in (None, ""):
            whole[name] = value


def _fresh(value: Any) -> Any:
    if isinstance(value, list):
        made: list[Any] = []
        _add_list(made, value)
        return made
    return json.loads(json.dumps(value))


def _add_list(whole: list[Any], pieces: list[Any]) -> None:
    for piece in pieces:
        same = None
        if isinstance(piece, dict) and "index" in piece:
            # If a service gives every call the index 0, their ids distinguish them.
            same = next((entry for entry in whole if _same(entry, piece)), None)
        if same is None:
            whole.append(_fresh(piece))
        else:
            _add(same, piece)


def _same(entry: Any, piece: dict[str, Any]) -> bool:
    if not isinstance(entry, dict) or entry.get("index") != piece["index"]:
        return False
    return not piece.get("id") or not entry.get("id") or bool(entry["id"] == piece["id"])


def _responses(events: Iterable[dict[str, Any]], watch: Watch | None) -> dict[str, Any]:
    items: list[Any] = []
    for event in events:
        kind = event.get("type", "")
        if kind == "error" or (not kind and "error" in event):
            return {"error": event.get("error") or event}
        if kind == "response.output_item.done":
            items.append(event.get("item"))
        elif kind == "response.output_text.delta" and watch:
            watch(str(event.get("delta", "")))
        elif kind in ("response.completed", "response.incomplete", "response.failed"):
            answer: dict[str, Any] = event["response"]
            return answer if answer.get("output") else answer | {"output": items}  # some omit it at the end
    raise Cut("the stream ended before the response was complete")
