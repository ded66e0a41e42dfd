"""Rows of the timeline: one short line for each event, and its place in the run. A click loads the rest."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from agents.trace.events import (
    AnyEvent,
    Decided,
    ModelCalled,
    Planned,
    RunFinished,
    StepFinished,
)
from agents.trace.record import wall_seconds, where_of
from agents.trace.titles import titled

Row = dict[str, Any]
LONGEST = 240  # characters of a row's text
START, END = "start", "end"


def rows_of(events: Sequence[AnyEvent]) -> list[Row]:
    """Return one row per event, in order. `section` is start, an iteration or end; `step` a step of the iteration."""
    return list(_rows(events))


def _rows(events: Sequence[AnyEvent]) -> Iterator[Row]:
    section = START
    for event, at in zip(events, wall_seconds(events), strict=True):
        own, step = _place(event)
        if own is not None:
            section = own
        title, note, ok = titled(event)
        row: Row = {"n": event.index, "kind": event.kind, "at": round(at, 3), "section": section, "step": step}
        row |= {"title": _short(title), "note": _short(note), "ok": ok, "seconds": getattr(event, "seconds", None)}
        if isinstance(event, ModelCalled):
            usage = event.usage
            row |= {"tokens": usage.prompt_tokens + usage.completion_tokens, "dollars": usage.dollars}
        elif isinstance(event, Planned):
            row["steps"] = [s.model_dump(include={"id", "goal", "depends_on", "submits"}) for s in event.plan.steps]
            row["note"] = event.plan.reasoning[:4000]
        elif isinstance(event, StepFinished):
            row["note"] = event.observation.summary[:4000]
        yield row
        if isinstance(event, Decided) and event.decision.action != "continue":
            section = END


def _place(event: AnyEvent) -> tuple[str | None, str | None]:
    """Return section and step of an event; None: it names none and belongs to the current section."""
    if isinstance(event, RunFinished):
        return END, None
    where = where_of(event)
    if where.role in ("reviewer", "operator"):
        return START if where.step == "card" else str(where.iteration), None
    if where.role in ("reporter", "claim", "audit", "sealed"):
        return END, None
    return (None, None) if where.iteration is None else (str(where.iteration), where.step)


def _short(text: str) -> str:
    text = " ".join(text[: 4 * LONGEST].split())
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"
