"""What a run's own task shows of it. A task that is not installed here shows nothing, and the report says so."""

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
    """The task of a run, where it is installed and takes these options."""
    try:
        return make_task(started.task, started.options)
    except TaskError:
        return None


def page_of(events: Sequence[AnyEvent], task: Task | None) -> Page:
    """The task's page of the run that these events tell."""
    return task.page(run_of(events, task)) if task else Page()


def numbers_of(task: Task | None, event: Graded | Confirmed) -> list[Number]:
    """The numbers that matter of one verdict."""
    return task.numbers(_graded(task, event)) if task and event.score.ok else []


def run_of(events: Sequence[AnyEvent], task: Task) -> page.Run:
    """What is known of a run, as its task takes it."""
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
            page.Result(event.where.iteration or 0, event.tool, event.result)
            for event in events
            if isinstance(event, ToolCalled) and event.where.role == "worker" and event.result is not None
        ],
    )


def _graded(task: Task, event: Graded | Confirmed) -> page.Graded:
    submission = None if event.submission is None else _typed(task.submission, event.submission)
    return page.Graded(event.iteration, submission, event.score)


def _typed(model: type[M], recorded: object) -> M | None:
    """Of the task's form; None where another version of the task wrote it."""
    try:
        return model.model_validate(recorded)
    except ValidationError:
        return None


def last(events: Sequence[AnyEvent], kind: type[E]) -> E | None:
    """The latest event of a kind."""
    return next((event for event in reversed(events) if isinstance(event, kind)), None)


def graded_of(events: Sequence[AnyEvent]) -> dict[int, Graded]:
    """The verdict on each iteration."""
    graded = {event.iteration: event for event in events if isinstance(event, Graded)}
    return dict(sorted(graded.items()))


def best_of(events: Sequence[AnyEvent]) -> int | None:
    """The iteration that the convergence rule calls the best, or, before it was asked, the one with the best score."""
    graded = graded_of(events)
    decided = last(events, Decided)
    if decided and decided.decision.best in graded:
        return decided.decision.best
    values = {k: event.score.value for k, event in graded.items() if event.score.value is not None}
    return max(values, key=values.__getitem__) if values else None
