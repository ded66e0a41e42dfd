"""The task's own view of a run. A task that is not installed here shows nothing, and the report says so."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from agents.trace.events import AnyEvent, Audited, Claimed, Confirmed, Decided, Graded, RunStarted, Sealed, ToolCalled
from tasks import page
from tasks.catalogue import make_task
from tasks.page import Page
from tasks.score import Number
from tasks.task import Task, TaskError

E = TypeVar("E")
M = TypeVar("M", bound=BaseModel)


def task_of(started: RunStarted) -> Task | None:
    """Return the task of a run; None if it is not installed or does not accept these options."""
    try:
        return make_task(started.task, started.options)
    except TaskError:
        return None


def page_of(events: Sequence[AnyEvent], task: Task | None) -> Page:
    """Return the task's page for the run with these events."""
    return task.page(run_of(events, task)) if task else Page()


def numbers_of(task: Task | None, event: Graded | Confirmed) -> list[Number]:
    """Return the task's key numbers for one verdict."""
    return task.numbers(_graded(task, event)) if task and event.score.ok else []


def run_of(events: Sequence[AnyEvent], task: Task) -> page.Run:
    """Return what the events say about a run, in the form that its task takes."""
    confirmed, claimed, sealed = last(events, Confirmed), last(events, Claimed), last(events, Sealed)
    return page.Run(
        graded=[_graded(task, event) for event in graded_of(events).values()],
        best=best_of(events),
        confirmed=confirmed.score if confirmed else None,
        audited=isinstance(confirmed, Audited),
        claim=_typed(task.claim, claimed.claim) if claimed else None,
        checks=sealed.checks if sealed and sealed.checks else claimed.checks if claimed else [],
        metrics=sealed.metrics if sealed else [],
        curves=sealed.curves if sealed else {},
        results=[
            page.Result(event.where.iteration or 0, event.tool, event.result, event.where.step or "", event.arguments)
            for event in events
            if isinstance(event, ToolCalled) and event.where.role == "worker" and event.result is not None
        ],
    )


def _graded(task: Task, event: Graded | Confirmed) -> page.Graded:
    submission = None if event.submission is None else _typed(task.submission, event.submission)
    return page.Graded(event.iteration, submission, event.score)


def _typed(model: type[M], recorded: object) -> M | None:
    """Parse a recorded document into the task's model; None if another version of the task wrote it."""
    try:
        return model.model_validate(recorded)
    except ValidationError:
        return None


def last(events: Sequence[AnyEvent], kind: type[E]) -> E | None:
    """Return the latest event of a kind, or None."""
    return next((event for event in reversed(events) if isinstance(event, kind)), None)


def graded_of(events: Sequence[AnyEvent]) -> dict[int, Graded]:
    """Return the verdict on each iteration, in order."""
    graded = {event.iteration: event for event in events if isinstance(event, Graded)}
    return dict(sorted(graded.items()))


def best_of(events: Sequence[AnyEvent]) -> int | None:
    """Return the best iteration by the convergence rule, or by score if the rule has not been applied yet.

    None if nothing was graded, or if the run ended with a null result.
    """
    graded = graded_of(events)
    decided = last(events, Decided)
    if decided and decided.decision.null_result:
        return None
    if decided and decided.decision.best in graded:
        return decided.decision.best
    values = {k: event.score.value for k, event in graded.items() if event.score.value is not None}
    return max(values, key=values.__getitem__) if values else None
