"""What leaves the house when a trace is exported, whatever the format.

Left out is whatever needs or tells the truth: sealed metrics, the options of the task (they say what was put into the
data), the truth beside the claims. Secrets never got into the trace.
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
from agents.trace.blobs import Blobs, TraceError
from agents.trace.events import (
    AnyEvent,
    Executed,
    ModelCalled,
    RunStarted,
    Sealed,
    StepFinished,
    StepStarted,
    ToolCalled,
)
from agents.trace.record import where_of
from agents.trace.result import RunResult, first_event, result_of
from agents.trace.store import TRACE, blobs_of, read_trace
from agents.trace.where import Where

M = TypeVar("M", bound=BaseModel)
Work = ModelCalled | Executed | StepStarted | StepFinished


@dataclass(frozen=True)
class Exported:
    """A trace without what must not leave."""

    started: RunStarted
    events: list[AnyEvent]
    result: RunResult
    sha: str
    blobs: Blobs

    def request(self, event: ModelCalled) -> Request | None:
        """What the model was sent; None when the blob is missing or broken."""
        return self._read(event.request, Request)

    def reply(self, event: ModelCalled) -> Reply | None:
        """What the model answered; None when the blob is missing or broken."""
        return self._read(event.reply, Reply)

    def text(self, sha: str) -> str:
        """A blob as text; what is wrong with it in brackets."""
        try:
            return self.blobs.get(sha).decode(errors="replace")
        except TraceError as error:
            return f"[{error}]"

    def identity(self, *parts: object, digits: int) -> str:
        """A hexadecimal name that only depends on the trace and on `parts`."""
        return hashlib.sha256("/".join(map(str, (self.sha, *parts))).encode()).hexdigest()[:digits]

    def _read(self, sha: str, model: type[M]) -> M | None:
        try:
            return model.model_validate_json(self.blobs.get(sha))
        except (TraceError, ValidationError):
            return None


def exported(run_dir: Path) -> Exported:
    """The trace of a run, finished or not, as it may be given away. Raises TraceError when it cannot be read."""
    events: list[AnyEvent] = [event for event in read_trace(run_dir) if not isinstance(event, Sealed)]
    sha = hashlib.sha256((run_dir / TRACE).read_bytes()).hexdigest()
    return Exported(first_event(events), events, result_of(events, sha), sha, blobs_of(run_dir))


def begin(event: AnyEvent) -> float:
    """When what an event tells had begun: events are written at the end."""
    return event.time - float(getattr(event, "seconds", None) or 0.0) if isinstance(event, Work) else event.time


def is_work(event: AnyEvent) -> bool:
    """A model call, a tool call, or another command."""
    return isinstance(event, ModelCalled | Executed)


def tool_of(trace: Exported, event: Executed) -> tuple[str, dict[str, Any]]:
    """The tool's name and its arguments; a command that is no tool's is run_python."""
    if isinstance(event, ToolCalled):
        return event.tool, event.arguments
    given = {path: trace.text(sha) for path, sha in sorted(event.given.items())}
    return "run_python", {"argv": event.argv, "cwd": event.cwd, "files": given}


def outcome(trace: Exported, event: Executed) -> tuple[str, str | None]:
    """What came back, as text, and the error if it was one."""
    if isinstance(event, ToolCalled):
        error = None if event.error is None else "; ".join(f"{name}: {text}" for name, text in event.error.items())
        return compact(event.result if event.error is None else event.error), error
    ok = event.exit_code == 0 and event.ended == "exit"
    error = None if ok else f"{event.ended}, exit status {event.exit_code}"
    return trace.text(event.stdout) + trace.text(event.stderr), error


def compact(value: Any) -> str:
    """JSON that every reader takes: numbers that are not finite are null."""
    return json.dumps(finite(value), separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def finite(value: Any) -> Any:
    """The same, as data."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {name: finite(item) for name, item in value.items()}
    return [finite(item) for item in value] if isinstance(value, list | tuple) else value


def spans(events: Sequence[AnyEvent]) -> dict[Where, list[Work]]:
    """All work, by who did it, in the order of the trace."""
    told: dict[Where, list[Work]] = {}
    for event in events:
        if isinstance(event, Work):
            told.setdefault(where_of(event), []).append(event)
    return told
