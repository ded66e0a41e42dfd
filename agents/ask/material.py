"""What an answer may rest on: the events of a run, one line for each, its result, and the files that its steps left.

Nothing sealed and nothing held out is part of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from agents.backends.digest import compact, digest, ends
from agents.trace.bench import place
from agents.trace.blobs import Blobs
from agents.trace.events import (
    AnyEvent,
    Asked,
    CanaryChecked,
    Claimed,
    Confirmed,
    Executed,
    GatesChecked,
    Graded,
    ModelCalled,
    OutsideCalled,
    Planned,
    RunStarted,
    Seen,
    ServiceAdapted,
    StepFinished,
    StepStarted,
    Told,
    ToolCalled,
)
from agents.trace.record import where_of
from agents.trace.result import RunResult, result_of
from agents.trace.store import blobs_of, read_trace
from agents.trace.titles import titled
from agents.trace.words import visible

QUIET = ModelCalled | Told | Seen | GatesChecked | StepStarted | ServiceAdapted | CanaryChecked
DIGEST = 60_000  # characters of all lines
LINE, LEAST = 900, 120  # characters of one line: at most, and where a long run is to fit
MOST = 6  # sentences of one kind in an answer
LONGEST = 500  # characters of a quotation
REPORTS = ("report.md", "result.json", "card.yaml")


@dataclass(frozen=True)
class Material:
    """A run, opened for questions."""

    run_dir: Path
    events: Sequence[AnyEvent]
    result: RunResult
    blobs: Blobs

    @property
    def started(self) -> RunStarted:
        first = self.events[0]
        assert isinstance(first, RunStarted)
        return first

    def lines(self) -> str:
        """Return the digest: a line `#12 who: what` for each event that says something, shortened to fit."""
        told = [event for event in self.events if not isinstance(event, QUIET)]
        room = max(LEAST, min(LINE, DIGEST // max(1, len(told))))
        return "\n".join(f"#{event.index} {where_of(event)}: {ends(content(event), room)}" for event in told)

    def files(self) -> dict[str, str]:
        """Return scripts, arguments and all files that the steps left, as they were last: workspace path -> blob."""
        found: dict[str, str] = {}
        for event in self.events:
            if isinstance(event, Executed) and event.where.role == "worker":
                given = {str(PurePosixPath(place(event.cwd), name)): sha for name, sha in event.given.items()}
                found = {path: sha for path, sha in found.items() if path not in event.gone} | given | event.files
        return dict(sorted(found.items()))

    def planners(self) -> list[str]:
        """Return the places of the planner at which a fork can begin."""
        asked = [event.where for event in self.events if isinstance(event, ModelCalled)]
        return list(dict.fromkeys(str(where) for where in asked if where.role == "planner"))


def open_run(run_dir: Path) -> Material:
    """Open a run, finished or not. Raises TraceError."""
    events = read_trace(run_dir)
    return Material(run_dir, events, result_of(events, ""), blobs_of(run_dir))


def title(event: AnyEvent) -> str:
    """Return what an event is called, with its place."""
    name, note, _ = titled(event)
    return visible(" ".join(f"{where_of(event)}: {name}. {note}".split()))[:160]


def content(event: AnyEvent) -> str:
    """Return what an event says, on one line."""
    name, note, _ = titled(event)
    return visible(" ".join(" ".join([name, note, *_more(event)]).split()))


def _more(event: AnyEvent) -> Iterator[str]:
    if isinstance(event, RunStarted):
        yield compact({"request": event.request, "task": event.task, "options": event.options, "budget": event.budget})
    elif isinstance(event, ToolCalled):
        yield f"{compact(event.arguments)} -> {compact(digest(event.result if event.error is None else event.error))}"
    elif isinstance(event, OutsideCalled):
        yield compact(event.arguments)
    elif isinstance(event, Planned):
        steps = [step.model_dump(exclude_defaults=True) for step in event.plan.steps]
        yield f"{event.plan.reasoning} {compact(steps)}"
    elif isinstance(event, StepFinished):
        yield event.observation.summary
    elif isinstance(event, Graded | Confirmed):
        yield f"submission {compact(event.submission)} details {compact(digest(event.score.details))}"
    elif isinstance(event, Claimed):
        yield compact(event.claim)
    elif isinstance(event, Asked):
        yield compact(event.shown)


def document(event: AnyEvent) -> dict[str, Any]:
    """Return all of an event but arrays that nobody reads."""
    found: dict[str, Any] = digest(event.model_dump(mode="json"))
    return found
