"""What a model may look at for an answer: events, files of the run, Python on copies of them. Nothing is changed."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from pydantic import BaseModel, Field, ValidationError

from agents.ask.material import REPORTS, Material, document
from agents.backends.base import ToolCall, ToolSchema
from agents.backends.digest import ends
from agents.crew.shared import explain
from agents.runs import sandboxes
from agents.trace.blobs import TraceError
from agents.trace.events import OutsideCalled
from agents.trace.tool_calls import tails
from agents.trace.words import visible
from sandbox.driver import WORKSPACE, Sandbox, SandboxLost
from sandbox.writer import write_bytes
from tools.contract import Frozen

PIECE = 8000  # characters of a file in one reply
SECONDS = 120.0  # for one script
COPIES = 256 << 20  # bytes of files copied for scripts
SCRIPT = "question.py"


class ReadEvent(Frozen):
    """Show an event of the trace in full."""

    event: int = Field(ge=0, description="its number")


class ListFiles(Frozen):
    """List the files of the run: those that its steps left, and its report."""


class ReadFile(Frozen):
    """Show a piece of a text file."""

    path: str = Field(description="as list_files gives it")
    start: int = Field(0, ge=0, description="first character")


class RunPython(Frozen):
    """Run Python in a sandbox, on copies of the files that the steps left (in the working directory) and of the inputs
    that the crew saw (/inputs). What it prints comes back."""

    code: str


class Reply(Frozen):
    """Answer the question."""

    text: str = Field(min_length=1, description="the answer, with citations as [#12]")
    new_work: str = Field("", description="the request to a fork of the run, if the question needs new work")
    step: str = Field("", description="where that fork begins, e.g. planner/1; default: the last plan")


TOOLS: dict[str, type[BaseModel]] = {
    "read_event": ReadEvent,
    "list_files": ListFiles,
    "read_file": ReadFile,
    "run_python": RunPython,
    "answer": Reply,
}


def schemas() -> tuple[ToolSchema, ...]:
    """Return the tools as a model gets them."""
    return tuple(
        ToolSchema(name=name, description=" ".join((model.__doc__ or "").split()), parameters=model.model_json_schema())
        for name, model in TOOLS.items()
    )


class Desk:
    """Carries out the calls of a model. The sandbox is opened for the first script."""

    def __init__(self, material: Material) -> None:
        self._material = material
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._sandbox: Sandbox | None = None
        self._files = material.files()

    def call(self, call: ToolCall) -> dict[str, Any] | Reply:
        """Return the result of a call, an error that the model can act on, or its answer."""
        model = TOOLS.get(call.name)
        if model is None:
            return {"error": f"tool={call.name}: select from {', '.join(TOOLS)}"}
        try:
            asked = model.model_validate_json(call.arguments or "{}")
        except ValidationError as error:
            return {"error": explain(error)}
        if isinstance(asked, Reply):
            return asked
        work: dict[type[BaseModel], Callable[[Any], dict[str, Any]]] = {
            ReadEvent: self._event,
            ListFiles: self._list,
            ReadFile: self._read,
            RunPython: self._run,
        }
        try:
            return work[model](asked)
        except (TraceError, SandboxLost, OSError, ValueError) as error:
            return {"error": str(error)}

    def _event(self, asked: ReadEvent) -> dict[str, Any]:
        events = self._material.events
        if asked.event >= len(events):
            return {"error": f"event={asked.event}: the trace has the events 0 to {len(events) - 1}"}
        event = events[asked.event]
        if isinstance(event, OutsideCalled):
            said = self._material.blobs.get(event.text).decode(errors="replace")
            return document(event) | {"untrusted_text": visible(ends(said, PIECE))}
        return document(event)

    def _list(self, asked: ListFiles) -> dict[str, Any]:
        here = [name for name in REPORTS if (self._material.run_dir / name).is_file()]
        return {"files": [*here, *self._files]}

    def _read(self, asked: ReadFile) -> dict[str, Any]:
        if asked.path in self._files:
            data = self._material.blobs.get(self._files[asked.path])
        elif asked.path in REPORTS:
            data = (self._material.run_dir / asked.path).read_bytes()
        else:
            return {"error": f"path={asked.path}: not a file of this run; list_files names them"}
        text = data.decode(errors="replace")
        return {"text": text[asked.start : asked.start + PIECE], "characters": len(text)}

    def _run(self, asked: RunPython) -> dict[str, Any]:
        sandbox = self._sandbox or self._open()
        write_bytes(sandbox.workspace, SCRIPT, asked.code.encode())
        result = sandbox.exec(["python", SCRIPT], cwd=WORKSPACE, seconds=SECONDS)
        return {"exit_code": result.exit_code, "ended": result.ended} | tails(result)

    def _open(self) -> Sandbox:
        """Open a sandbox like the run's, with copies of the files, and keep it."""
        self._folder = tempfile.TemporaryDirectory(prefix="beamcrew-ask-")
        workspace = Path(self._folder.name) / "workspace"
        workspace.mkdir()
        room = COPIES
        for path, sha in self._files.items():
            data = self._material.blobs.get(sha)
            if (room := room - len(data)) < 0:
                break
            write_bytes(workspace, path, data)
        begun = self._material.started
        place = sandboxes.Place(self._material.run_dir.resolve() / "inputs", workspace)
        self._sandbox = sandboxes.again(place, begun.sandbox, begun.gpu)
        return self._sandbox

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        if self._sandbox:
            self._sandbox.close()
        if self._folder:
            self._folder.cleanup()
