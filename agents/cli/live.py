"""Live view of a run: a display on a terminal, a line for each event elsewhere."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from agents.backends.base import Usage
from agents.trace.events import (
    Answered,
    AnyEvent,
    Asked,
    Audited,
    BudgetNear,
    CanaryChecked,
    Claimed,
    Confirmed,
    Decided,
    Executed,
    Graded,
    ModelCalled,
    OutsideCalled,
    Planned,
    Repeated,
    Reviewed,
    RunFinished,
    RunResumed,
    RunStarted,
    SandboxRenewed,
    ServiceAdapted,
    StepFinished,
    StepStarted,
    ToolCalled,
    Trouble,
)
from agents.trace.shown import numbers_of, task_of
from agents.trace.words import answer, duration, near, outside, review
from tasks.plan import Step
from tasks.task import Task
from tasks.writing import label, measured

WRITTEN = 100  # characters shown of a reply in progress


@dataclass
class StepState:
    """A step of the current plan: waiting, then started, then finished."""

    step: Step
    started: float | None = None
    seconds: float | None = None
    ok: bool = False


@dataclass
class Progress:
    """The progress of a run, from its events."""

    title: str = ""
    task: Task | None = None
    backend: str = ""
    doing: str = "starting"
    iteration: int = 0
    steps: dict[str, StepState] = field(default_factory=dict)
    scores: dict[int, Graded] = field(default_factory=dict)
    best: int | None = None
    repeats: Repeated | None = None  # what the claim or the audit repeats now
    repeated: int = 0
    calls: int = 0
    usage: Usage = field(default_factory=Usage)
    trouble: str = ""
    written: str = ""  # the end of what models are writing now

    def take(self, event: AnyEvent) -> None:
        """Update the progress with one event."""
        if isinstance(event, RunStarted):
            self.title, self.task, self.backend = event.request, task_of(event), crew(event)
            self.doing = "planning"
        elif isinstance(event, RunResumed):
            for state in self.steps.values():  # interrupted steps start again now
                state.started = state.started and event.time
        elif isinstance(event, Planned):
            self.iteration, self.doing = event.iteration, "working"
            self.steps = {step.id: StepState(step) for step in event.plan.steps}
        elif isinstance(event, StepStarted) and event.step in self.steps:
            self.steps[event.step].started = event.time
        elif isinstance(event, StepFinished) and event.observation.step in self.steps:
            state = self.steps[event.observation.step]
            state.seconds, state.ok = event.seconds, event.observation.ok
        elif isinstance(event, Graded):
            self.scores[event.iteration] = event
        elif isinstance(event, Decided):
            self.best = event.decision.best
            self.doing = "planning" if event.decision.action == "continue" else "confirming the result"
        elif isinstance(event, Repeated):
            self.repeats, self.repeated, self.doing = event, 0, repeating(event, 0)
        elif isinstance(event, Executed) and self.repeats and event.where.role == self.repeats.where.role:
            self.repeated += 1
            self.doing = repeating(self.repeats, self.repeated)
        elif isinstance(event, Confirmed):  # an audit may follow
            self.doing = (
                "writing the answer" if isinstance(event, Audited) else "auditing the result, writing the answer"
            )
        elif isinstance(event, ModelCalled):
            self.calls, self.usage, self.written = self.calls + 1, self.usage + event.usage, ""
        elif isinstance(event, Asked):
            self.doing = f"waiting for an answer: {event.text}"
        elif isinstance(event, Answered):
            self.doing = "going on"
        elif isinstance(event, Trouble):
            self.trouble = f"{event.where}: {event.text}"
        elif isinstance(event, RunFinished):
            self.doing = f"{event.status}: {event.reason}"


def repeating(event: Repeated, done: int) -> str:
    """Return how far the claim or the audit has come, and how long all of it took when it was recorded."""
    what = "confirming" if event.where.role == "claim" else "auditing"
    return f"{what} the result: {done} of {len(event.parts)} commands, {duration(event.seconds)} when first run"


def crew(event: RunStarted) -> str:
    """Return the backend and the sandbox driver as text."""
    return f"{event.backend}{'' if event.is_llm else ', no LLM involved'}, in {event.sandbox.driver}"


class LiveView:
    """A listener of the store. Everything goes to stderr, so that stdout stays clean for results."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(stderr=True)
        self._progress, self._lock = Progress(), threading.Lock()
        shown = self._console.is_terminal and (console is not None or sys.stdout.isatty())
        self._spinner = Spinner("dots")
        self._live = Live(get_renderable=self.render, console=self._console, redirect_stdout=False) if shown else None

    def __call__(self, event: AnyEvent) -> None:
        with self._lock:
            self._progress.take(event)
        if self._live is None and (line := describe(event, self._progress.task)):
            self._console.print(Text(printable(line)), soft_wrap=True)

    def writing(self, text: str) -> None:
        """Add a piece of a reply in progress."""
        with self._lock:
            self._progress.written = (self._progress.written + text)[-WRITTEN:]

    def render(self) -> RenderableType:
        """Return the current display."""
        with self._lock:
            p = self._progress
            self._spinner.text = Text(printable(p.doing), "bold")
            tokens = p.usage.prompt_tokens + p.usage.completion_tokens
            cost = f"{p.calls} model calls, {tokens:,} tokens, ${p.usage.dollars:.4f}"
            parts: list[RenderableType] = [
                Text.assemble((one_line(p.title), "bold"), "  ", (p.backend, "dim")),
                *([_steps(p)] if p.steps else []),
                *([_scores(p)] if p.scores else []),
                self._spinner,
                Text(cost, "dim"),
            ]
            if p.written:
                parts.append(Text(one_line(p.written), "dim italic", no_wrap=True, overflow="ellipsis"))
            if p.trouble:
                parts.append(Text(one_line(f"trouble: {p.trouble}"), "yellow", no_wrap=True, overflow="ellipsis"))
            return Group(*parts)

    def __enter__(self) -> Self:
        if self._live:
            self._live.start()
        return self

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Leave the terminal to a question."""
        if self._live:
            self._live.stop()
        try:
            yield
        finally:
            if self._live:
                self._live.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        if self._live:
            self._live.stop()


def describe(event: AnyEvent, task: Task | None = None) -> str | None:
    """Describe an event in one line, with the numbers that the task shows; None for events that would be noise."""
    match event:
        case RunStarted():
            return f"run {event.run}: {event.request} ({crew(event)}; {event.sandbox.reason})"
        case RunResumed():
            return "resumed"
        case SandboxRenewed():
            return f"sandbox: replaced by a fresh one after {duration(event.seconds)}"
        case ServiceAdapted():
            return f"service: {event.text}"
        case CanaryChecked():
            return f"sandbox: canaries {'held' if event.held else 'DID NOT HOLD'}"
        case Planned():
            return f"iteration {event.iteration}: plan with steps {', '.join(s.id for s in event.plan.steps)}"
        case Reviewed():
            return f"iteration {event.where.iteration}: {review(event)} {' '.join(event.reasons)}"
        case Asked():
            return f"asks: {event.text}"
        case Answered():
            return answer(event)
        case BudgetNear():
            return near(event)
        case StepStarted():
            return f"iteration {event.iteration}: {event.step} started"
        case StepFinished():
            o = event.observation
            ending = "done" if o.ok else "failed"
            return f"iteration {o.iteration}: {o.step} {ending} after {duration(event.seconds)}: {o.summary}"
        case Graded():
            return f"iteration {event.iteration}: {score_text(event, task)}"
        case Decided():
            return f"iteration {event.iteration}: {event.decision.action}, {event.decision.reason}"
        case Repeated():
            n, skipped = len(event.parts), ", ".join(part.what for part in event.left_out) or "nothing"
            left = event.why_all or f"leaves out {skipped}"
            took = f"{duration(event.seconds)} when first run, on fewer inputs"
            return f"{event.where.role}: repeats {n} command{'s' if n != 1 else ''} ({took}); {left}"
        case Executed() if event.where.role in ("claim", "audit"):
            what = event.tool if isinstance(event, ToolCalled) else " ".join(event.argv)
            return f"{event.where}: {what} took {duration(event.seconds)}"
        case OutsideCalled():
            return f"{event.where}: outside tool {event.tool}: {outside(event)}, took {duration(event.seconds)}"
        case Confirmed():
            what = "audit" if isinstance(event, Audited) else "confirmation"
            return f"{what}: {measured(event.score.value)}, {event.score.reason}{numbers_text(event, task)}"
        case Claimed():
            return f"answer: {event.headline}. {event.claim.get('text', '')}"
        case Trouble():
            return f"trouble ({event.who}) {event.where}: {event.text}"
        case RunFinished():
            return f"{event.status} after {duration(event.seconds)}, ${event.usage.dollars:.4f}: {event.reason}"
    return None


def score_text(event: Graded, task: Task | None = None) -> str:
    """Return e.g. `expected significance = 4.20 ± 0.40` with the task's numbers, or why it was refused."""
    score = event.score
    if score.value is None:
        return f"refused: {score.reason}"
    return f"{label(score.metric)} = {measured(score.value, score.error)}{numbers_text(event, task)}"


def numbers_text(event: Graded | Confirmed, task: Task | None) -> str:
    """Return the numbers that the task shows, with a comma before each."""
    return "".join(f", {n.title} {n.text}" for n in numbers_of(task, event) if n.value is not None)


def printable(text: str) -> str:
    """Return text on one line, without control sequences by which untrusted text could take over a terminal."""
    return "".join(c if c.isprintable() else " " for c in " ".join(text.split()))


def one_line(text: str, width: int = 160) -> str:
    text = printable(text)
    return text if len(text) <= width else f"{text[: width - 1]}…"


def _steps(p: Progress) -> Table:
    table = Table(title=f"iteration {p.iteration}", title_justify="left", box=None, padding=(0, 1), show_header=False)
    table.add_column(width=1)
    table.add_column(no_wrap=True)
    table.add_column(justify="right", min_width=10)
    table.add_column(no_wrap=True, overflow="ellipsis", ratio=1)
    for state in p.steps.values():
        if state.seconds is not None:
            mark, spent = Text("✓", "green") if state.ok else Text("✗", "red"), duration(state.seconds)
        elif state.started is not None:
            mark, spent = Text("▶", "cyan"), duration(max(0.0, time.time() - state.started))
        else:
            mark, spent = Text("·", "dim"), ""
        table.add_row(mark, Text(state.step.id), spent, Text(one_line(state.step.goal), "dim"))
    return table


def _scores(p: Progress) -> Table:
    table = Table(box=None, padding=(0, 1), show_header=False)
    for iteration, event in p.scores.items():
        best = iteration == p.best
        style = "bold green" if best else "red" if event.score.value is None else ""
        table.add_row(
            f"iteration {iteration}", Text(one_line(score_text(event, p.task)) + (" ★" if best else ""), style)
        )
    return table
