"""Recorded results, played back instead of being computed again: resume, replay and fork all use this mechanism.

A recorded result is found by what was asked (kind, key, and who asked) and by how often that was asked before, never
by its position in the trace: workers run in parallel.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections import deque
from collections.abc import Sequence
from typing import Any, TypeVar

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
    Event,
    Executed,
    GatesChecked,
    Graded,
    ModelCalled,
    OutsideCalled,
    Planned,
    RunFinished,
    RunResumed,
    RunStarted,
    SandboxRenewed,
    Sealed,
    Seen,
    ServiceAdapted,
    StepFinished,
    StepStarted,
    Told,
    Trouble,
)
from agents.trace.store import Store
from agents.trace.where import Where

E = TypeVar("E", bound=Event)


def canonical_key(value: Any) -> str:
    """Return the SHA-256 of a value's canonical JSON."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def identity(event: Event) -> tuple[str, str]:
    """Return an event's kind and lookup key: from the request for results, from all content but times for notes."""
    if isinstance(
        event, ModelCalled | Executed | OutsideCalled | Graded | Seen | Told | GatesChecked | Asked | Answered
    ):
        return event.kind, f"{event.key} {where_of(event)}"
    document = said(event)
    return document["kind"], canonical_key(document)


def where_of(event: Event) -> Where:
    """Return the place of an event in the run, from its `where` field or from its kind, iteration and step."""
    match event:
        case StepStarted():
            return Where("worker", event.iteration, event.step)
        case StepFinished():
            return Where("worker", event.observation.iteration, event.observation.step)
        case Planned():
            return Where("planner", event.iteration)
        case Graded() | Decided():
            return Where("grader", event.iteration)
        case Confirmed():
            return Where("audit" if isinstance(event, Audited) else "claim", event.iteration)
        case Claimed():
            return Where("reporter")
        case Sealed():
            return Where("sealed")
    found = getattr(event, "where", None)
    return found if isinstance(found, Where) else Where("run")


def said(event: Event) -> dict[str, Any]:
    """Return the content of an event without time, index and duration."""
    return event.model_dump(mode="json", exclude={"time", "index", "seconds"})


def of_session(event: AnyEvent) -> bool:
    """Return True for events of one session or one sandbox: nothing in the run determines them; they are not played."""
    if isinstance(event, Trouble):
        return event.who != "model"
    if isinstance(event, Asked | Answered):
        return event.gate == "spend"  # when so much is spent depends on which step is ahead; it changes no result
    sessions = RunStarted | RunResumed | RunFinished | CanaryChecked | SandboxRenewed | ServiceAdapted | BudgetNear
    return isinstance(event, sessions)


def _inherited(events: Sequence[AnyEvent]) -> int:
    """Return the index of the last event copied from a parent run."""
    begun = events[0] if events else None
    return begun.parent.past if isinstance(begun, RunStarted) and begun.parent else 0


def _reopens(event: AnyEvent) -> bool:
    return isinstance(event, RunResumed | Answered) or (isinstance(event, Trouble) and event.where.role == "trace")


def wall_seconds(events: Sequence[AnyEvent]) -> list[float]:
    """Return the working time of the run up to each event [s]; time between sessions and until an answer is none."""
    spent, seconds = 0.0, []
    for before, event in zip([None, *events], events, strict=False):
        spent += 0.0 if before is None or _reopens(event) else max(0.0, event.time - before.time)
        seconds.append(spent)
    return seconds


class Record:
    """The events present when the run was opened, each to be played once. Thread-safe."""

    def __init__(self, events: Sequence[AnyEvent] = ()) -> None:
        self._lock = threading.Condition()
        self._waiting: dict[tuple[str, str], deque[AnyEvent]] = {}
        self._clock = {event.index: spent for event, spent in zip(events, wall_seconds(events), strict=True)}
        self._played_usage = Usage()
        self._played_calls = 0
        self._played_seconds = 0.0
        inherited = _inherited(events)
        for event in events:
            if not of_session(event):
                by_place = isinstance(event, ModelCalled) and event.index <= inherited
                name = (event.kind, where_of(event)) if by_place else identity(event)
                self._waiting.setdefault(name, deque()).append(event)

    def take(self, kind: type[E], key: str, where: Where, asked: dict[str, Any]) -> E | None:
        """Return the next recorded result for what is asked, or None if it has to be computed live.

        `key`: hash of what is `asked`; `where`: who asks. Model calls copied from the parent of a forked run are found
        by place alone: the parent's prompts may have been worded differently.
        """
        name = kind.model_fields["kind"].default
        event = self._play((name, where)) or self._play((name, f"{key} {where}")) or self._missed(kind, where, asked)
        assert event is None or isinstance(event, kind)
        return event

    def seen(self, event: Event) -> bool:
        """Play a note (a plan, a finished step, a decision...); return True if the trace already has it."""
        return (self._play(identity(event)) or self._missed(type(event), where_of(event), said(event))) is not None

    def _missed(self, kind: type[Event], where: Where | None, asked: dict[str, Any]) -> AnyEvent | None:
        """Hook for requests without a recorded result: return an event to play instead, or None."""
        return None

    def _play(self, name: tuple[str, str]) -> AnyEvent | None:
        with self._lock:
            if not self._waiting.get(name):
                return None
            event = self._waiting[name].popleft()
            self._lock.notify_all()
            self._played_seconds = max(self._played_seconds, self._clock[event.index])
            if isinstance(event, ModelCalled):
                self._played_usage += event.usage
                self._played_calls += 1
            return event

    def unplayed(self) -> list[AnyEvent]:
        """Return recorded events that were not asked for, in the order of the trace. A faithful replay leaves none."""
        with self._lock:
            return sorted((e for queue in self._waiting.values() for e in queue), key=lambda e: e.index)

    def wait_for_others(self, patience: float) -> None:
        """Wait until everything is played, or nothing was for `patience` seconds: parallel workers finish together."""
        with self._lock:
            while any(self._waiting.values()) and self._lock.wait(patience):
                pass
            self._lock.notify_all()

    @property
    def played_seconds(self) -> float:
        """Working time of the run up to the latest event played [s]."""
        return self._played_seconds

    @property
    def played_usage(self) -> Usage:
        """Tokens and cost of the played model calls."""
        return self._played_usage

    @property
    def played_calls(self) -> int:
        return self._played_calls


def note(store: Store, record: Record, event: Event) -> None:
    """Append an event that follows from others, unless the trace had it before the run was resumed."""
    if not record.seen(event):
        store.append(event)


def limits_of(events: Sequence[AnyEvent]) -> dict[str, float]:
    """Return the limits that hold now: those of the beginning, or of the last resume that brought others."""
    found: dict[str, float] = {}
    for event in events:
        if isinstance(event, RunStarted | RunResumed) and event.budget is not None:
            found = event.budget
    return found
