"""The content of an exported trace, common to all formats.

Everything that needs or reveals the truth is left out: sealed metrics, the options of the task (they say what was
hidden in the data), the truth beside the claims. Secrets are never in a trace.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from agents.backends.base import Reply, Request
from agents.trace import words
from agents.trace.blobs import Blobs, TraceError
from agents.trace.events import (
    AnyEvent,
    Executed,
    ModelCalled,
    OutsideCalled,
    RunStarted,
    Sealed,
    StepFinished,
    StepStarted,
    ToolCalled,
)
from agents.trace.record import where_of
from agents.trace.result import RunResult, first_event, result_of
from agents.trace.store import blobs_of, read_trace, trace_sha256
from agents.trace.where import Where

M = TypeVar("M", bound=BaseModel)
Called = Executed | OutsideCalled
Work = ModelCalled | Called | StepStarted | StepFinished


@dataclass(frozen=True)
class Exported:
    """A trace without the parts that must not be exported."""

    started: RunStarted
    events: list[AnyEvent]
    result: RunResult
    sha: str
    blobs: Blobs

    def request(self, event: ModelCalled) -> Request | None:
        """Return the request sent to the model; None when the blob is missing or broken."""
        return self._read(event.request, Request)

    def reply(self, event: ModelCalled) -> Reply | None:
        """Return the model's reply; None when the blob is missing or broken."""
        return self._read(event.reply, Reply)

    def text(self, sha: str) -> str:
        """Return a blob as text, or the error in brackets."""
        try:
            return self.blobs.get(sha).decode(errors="replace")
        except TraceError as error:
            return f"[{error}]"

    def identity(self, *parts: object, digits: int) -> str:
        """Return a hexadecimal identifier that depends only on the trace and on `parts`."""
        return hashlib.sha256("/".join(map(str, (self.sha, *parts))).encode()).hexdigest()[:digits]

    def _read(self, sha: str, model: type[M]) -> M | None:
        try:
            return model.model_validate_json(self.blobs.get(sha))
        except (TraceError, ValidationError):
            return None


def exported(run_dir: Path) -> Exported:
    """Return the exportable trace of a run, finished or not. Raises TraceError when it cannot be read."""
    events: list[AnyEvent] = [event for event in read_trace(run_dir) if not isinstance(event, Sealed)]
    sha = trace_sha256(run_dir)
    return Exported(first_event(events), events, result_of(events, sha), sha, blobs_of(run_dir))


def begin(event: AnyEvent) -> float:
    """Return the start time of an event: work is recorded when it ends."""
    return event.time - float(getattr(event, "seconds", None) or 0.0) if isinstance(event, Work) else event.time


def is_work(event: AnyEvent) -> bool:
    """Return True for a model call, a tool call or another command."""
    return isinstance(event, ModelCalled | Called)


def tool_of(trace: Exported, event: Called) -> tuple[str, dict[str, Any]]:
    """Return the tool's name and arguments; a command that does not call a tool counts as run_python."""
    if isinstance(event, ToolCalled | OutsideCalled):
        return event.tool, event.arguments
    given = {path: trace.text(sha) for path, sha in sorted(event.given.items())}
    return "run_python", {"argv": event.argv, "cwd": event.cwd, "files": given}


def outcome(trace: Exported, event: Called) -> tuple[str, str | None]:
    """Return the result as text, and the error if there was one."""
    if isinstance(event, ToolCalled):
        error = None if event.error is None else "; ".join(f"{name}: {text}" for name, text in event.error.items())
        return compact(event.result if event.error is None else event.error), error
    if isinstance(event, OutsideCalled):
        return trace.text(event.text), None if event.ended == "answered" else words.outside(event)
    ok = event.exit_code == 0 and event.ended == "exit"
    error = None if ok else f"{event.ended}, exit status {event.exit_code}"
    return trace.text(event.stdout) + trace.text(event.stderr), error


def compact(value: Any) -> str:
    """Return standard JSON: non-finite numbers become null."""
    return json.dumps(finite(value), separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def finite(value: Any) -> Any:
    """Replace non-finite numbers by None."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {name: finite(item) for name, item in value.items()}
    return [finite(item) for item in value] if isinstance(value, list | tuple) else value


def spans(events: Sequence[AnyEvent]) -> dict[Where, list[Work]]:
    """Group all work by who did it, in the order of the trace."""
    told: dict[Where, list[Work]] = {}
    for event in events:
        if isinstance(event, Work):
            told.setdefault(where_of(event), []).append(event)
    return told
