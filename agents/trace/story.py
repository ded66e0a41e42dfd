"""The course of a run for the report: iterations, their steps, and what each step called, ran and drew."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from agents.trace.blobs import Blobs
from agents.trace.events import (
    AnyEvent,
    Decided,
    Executed,
    Graded,
    OutsideCalled,
    Planned,
    Reviewed,
    StepFinished,
    ToolCalled,
)
from agents.trace.observation import Observation
from agents.trace.shown import graded_of
from agents.trace.store import TraceError
from agents.trace.where import Where
from agents.trace.words import shortened
from sandbox.reader import PNG_START
from tasks.convergence import Decision
from tasks.plan import Step

FIGURE_MAX = 1 << 20  # bytes; a report must be small enough for e-mail
FIGURES_MAX = 8 << 20
PIXELS_MAX = 16 << 20


@dataclass(frozen=True)
class Command:
    """A finished command and its output."""

    event: Executed
    stdout: str
    stderr: str

    @property
    def ok(self) -> bool:
        return self.event.exit_code == 0 and self.event.ended == "exit"


@dataclass(frozen=True)
class Outside:
    """A call of an outside tool, and what its server said."""

    event: OutsideCalled
    text: str


@dataclass
class StepStory:
    """One step of a plan, with everything its worker did."""

    step: Step
    observation: Observation | None = None
    seconds: float | None = None
    calls: list[ToolCalled] = field(default_factory=list)
    outside: list[Outside] = field(default_factory=list)
    commands: list[Command] = field(default_factory=list)
    code: dict[str, str] = field(default_factory=dict)
    figures: dict[str, bytes] = field(default_factory=dict)
    left_out: list[str] = field(default_factory=list)


@dataclass
class Iteration:
    """One iteration of plan, work and verdict. Missing parts did not happen."""

    number: int
    reasoning: str = ""
    steps: list[StepStory] = field(default_factory=list)
    graded: Graded | None = None
    reviews: list[Reviewed] = field(default_factory=list)
    decision: Decision | None = None


class Reader:
    """Reads texts and figures from blobs, checks them, and limits the size of the report."""

    def __init__(self, blobs: Blobs) -> None:
        self._blobs, self._room = blobs, FIGURES_MAX

    def text(self, sha: str) -> str:
        try:
            return shortened(self._blobs.get(sha).decode(errors="replace"))
        except TraceError as error:
            return f"[{error}]"

    def figure(self, sha: str) -> bytes | str:
        """Return the PNG data, or the reason why the figure is not shown."""
        try:
            data = self._blobs.get(sha)
        except TraceError as error:
            return str(error)
        if not data.startswith(PNG_START) or len(data) < 24:
            return "not a PNG picture"
        width, height = struct.unpack(">II", data[16:24])
        if len(data) > min(FIGURE_MAX, self._room) or not 0 < width * height <= PIXELS_MAX:
            return f"{len(data)} bytes, {width} x {height} pixels: too big for the report"
        self._room -= len(data)
        return data


def tell(events: Sequence[AnyEvent], blobs: Blobs) -> list[Iteration]:
    """Return the iterations of a trace, in order."""
    reader = Reader(blobs)
    told: dict[int, Iteration] = {}
    for event in events:
        if isinstance(event, Planned):
            iteration = told.setdefault(event.iteration, Iteration(event.iteration))
            iteration.reasoning = event.plan.reasoning
            iteration.steps = [StepStory(step) for step in event.plan.steps]
    steps = {(i.number, s.step.id): s for i in told.values() for s in i.steps}
    for event in events:
        if isinstance(event, StepFinished):
            if step := steps.get((event.observation.iteration, event.observation.step)):
                step.observation, step.seconds = event.observation, event.seconds
        elif isinstance(event, Executed):
            if step := _step_of(event.where, steps):
                _add_command(step, event, reader)
        elif isinstance(event, OutsideCalled):
            if step := _step_of(event.where, steps):
                step.outside.append(Outside(event, reader.text(event.text)))
        elif isinstance(event, Reviewed):
            number = event.where.iteration or 0
            told.setdefault(number, Iteration(number)).reviews.append(event)
        elif isinstance(event, Decided):
            told.setdefault(event.iteration, Iteration(event.iteration)).decision = event.decision
    for number, graded in graded_of(events).items():
        told.setdefault(number, Iteration(number)).graded = graded
    return [told[number] for number in sorted(told)]


def _step_of(where: Where, steps: Mapping[tuple[int, str], StepStory]) -> StepStory | None:
    """Return the step whose worker `where` is; None for other roles."""
    return steps.get((where.iteration or 0, where.step or "")) if where.role == "worker" else None


def _add_command(step: StepStory, event: Executed, reader: Reader) -> None:
    command = Command(event, reader.text(event.stdout), reader.text(event.stderr))
    if isinstance(event, ToolCalled):
        step.calls.append(event)
    if not (command.ok and isinstance(event, ToolCalled)):  # a successful tool call shows its result instead
        step.commands.append(command)
    for path in _ending(event.given, ".py"):
        step.code[path] = reader.text(event.given[path])
    for path in _ending(event.files, ".png"):
        figure = reader.figure(event.files[path])
        if isinstance(figure, bytes):
            step.figures[path] = figure
        else:
            step.left_out.append(f"{path}: {figure}")
    step.left_out += event.unsaved


def _ending(paths: Iterable[str], suffix: str) -> list[str]:
    return sorted(path for path in paths if path.endswith(suffix))
