"""Fork of a run: played up to a step, and continued from there with another model, request or budget.

Everything that does not follow from the step is kept, including parallel steps, and not paid for again; it still counts
in the child's cost and budget, since its results depend on it. A fork is a folder with that past, which is resumed.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from agents.backends.base import Backend
from agents.backends.select import secrets
from agents.crew.budget import Budget
from agents.crew.context import advised
from agents.crew.outside import with_outside
from agents.outside.servers import Servers
from agents.runs.answers import Ask
from agents.runs.provenance import input_hashes, keep_prompts, kept_prompts
from agents.runs.run import FOLDERS, beginning, check_servers, resume
from agents.runs.sandboxes import claiming, searching
from agents.runs.session import meter_of
from agents.trace.approval import Approval
from agents.trace.events import AnyEvent, Parent, Planned, RunStarted
from agents.trace.record import of_session, where_of
from agents.trace.result import RunResult
from agents.trace.store import TRACE, Store, TraceError, trace_sha256
from agents.trace.verify import blob_names, verified
from agents.trace.where import Where
from tasks.catalogue import make_task
from tasks.plan import Plan

END = math.inf  # iteration number of everything after the last iteration
PLAN, WORK, GRADE, OPEN = range(4)
CLAIM, REPORT = range(2)
PLAN_REVIEWED = "plan"  # the step of a reviewer that reads a plan
Moment = tuple[float, int, str]  # iteration, stage, and the step where several run in parallel


def fork(
    run_dir: Path,
    step: str,
    child: Path,
    backend: Backend,
    *,
    request: str | None = None,
    prompts: Mapping[str, str] | None = None,
    budget: Mapping[str, float] | None = None,
    workers: int = 2,
    listeners: Sequence[Callable[[Any], None]] = (),
    ask: Ask | None = None,
    servers: Servers | None = None,
) -> RunResult:
    """Carry out a run in the new folder `child` with the past of another. Raises what `branch` and `resume` raise."""
    check_servers(beginning(run_dir)[0], servers)
    branch(run_dir, step, child, backend, request=request, prompts=prompts, budget=budget)
    return resume(child.resolve(), backend, workers=workers, listeners=listeners, ask=ask, servers=servers)


def branch(
    run_dir: Path,
    step: str,
    child: Path,
    backend: Backend,
    *,
    request: str | None = None,
    prompts: Mapping[str, str] | None = None,
    budget: Mapping[str, float] | None = None,
) -> None:
    """Write the new folder `child` with the past of another run, up to `step` as named in the trace, to be resumed.

    Arguments that are not given are as in the parent. Raises ValueError for a step that the parent does not have,
    TraceError when its trace is damaged.
    """
    run_dir, child = run_dir.resolve(), child.resolve()
    begun, _ = beginning(run_dir)
    kept = past(verified(run_dir), step)
    limits = Budget.model_validate(begun.budget | dict(budget or {}))
    meter_of(
        limits, backend, Approval.model_validate(begun.approve)
    )  # refuse a budget that cannot be enforced before anything is written
    if input_hashes(run_dir) != begun.inputs:
        raise ValueError(f"{run_dir}: the inputs changed since the run began, so it cannot be forked")
    if child.exists():
        raise ValueError(f"{child}: exists already; choose another folder")
    started = begun.model_copy(
        update={
            "run": child.name,
            "request": request or begun.request,
            "backend": backend.name,
            "is_llm": backend.is_llm,
            "budget": limits.written(),
            "parent": Parent(
                run=begun.run,
                trace=trace_sha256(run_dir),
                step=Where(step),
                past=len(kept),
            ),
        }
    )
    unfinished = child.with_name(f".{child.name}.part")  # a child without all of its past would pay for it again
    try:
        _write(run_dir, unfinished, started, kept, prompts)
        unfinished.rename(child)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _write(
    run_dir: Path, folder: Path, started: RunStarted, kept: Sequence[AnyEvent], prompts: Mapping[str, str] | None
) -> None:
    """Write a trace that begins with the past, and copies of everything that a run needs to continue."""
    for name in set(FOLDERS) - {"workspace", "claim", "decoy", "audit", TRACE}:
        if (run_dir / name).is_dir():
            shutil.copytree(run_dir / name, folder / name)
    for place in (searching(folder), claiming(folder)):
        if place.inputs.is_dir():
            place.workspace.mkdir()
    with Store.reading(run_dir) as parent, Store.create(folder, secrets()) as store:
        task = make_task(started.task, started.options)
        told = advised(prompts, task) if prompts else kept_prompts(started, parent)
        told = with_outside(told) if prompts and started.outside else told
        store.append(started.model_copy(update={"prompts": keep_prompts(store, told)}))
        for event in kept:
            for what, sha in blob_names(event):
                if store.put(parent.get(sha)) != sha:
                    raise TraceError(f"{run_dir}, line {event.index + 1}, {what}: contains what is now a secret")
            store.append(event)


def past(events: Sequence[AnyEvent], step: str) -> list[AnyEvent]:
    """Return the events that do not follow from a step: planner/<iteration>, worker/<iteration>/<step> or reporter.

    Raises ValueError, which lists the possible ones, for a step that the run never reached.
    """
    steps = {str(where_of(event)): moment(event) for event in events if event.kind == "model_called"}
    if step not in steps:
        raise ValueError(f"step={step!r}: select from {', '.join(steps)}")
    at = steps[step]
    plans = {event.iteration: event.plan for event in events if isinstance(event, Planned)}
    after = _followers(plans[int(at[0])], at[2]) if at[1] == WORK and at[0] != END else set()

    def is_past(event: AnyEvent) -> bool:
        when = moment(event)
        beside = when[:2] == at[:2] and bool(when[2]) and when[2] not in after
        return when[:2] < at[:2] or beside

    return [event for event in events if not of_session(event) and is_past(event)]


def moment(event: AnyEvent) -> Moment:
    """Return an event's place in the order of the run, independent of what ran in parallel."""
    where = where_of(event)
    iteration = END if where.iteration is None else where.iteration
    match where.role:
        case "planner":
            return iteration, PLAN, ""
        case "operator":
            return iteration, {"card": -1, "plan": PLAN, "unblind": OPEN}[where.step or ""], ""
        case "reviewer":
            return iteration, PLAN if where.step == PLAN_REVIEWED else GRADE, ""
        case "worker":
            return iteration, WORK, where.step or ""
        case "grader":
            return iteration, GRADE, ""
        case "claim" | "audit":
            return END, CLAIM, ""
    return END, REPORT, ""


def _followers(plan: Plan, step: str) -> set[str]:
    """Return a step and all steps that depend on it."""
    found = {step}
    for other in plan.steps:  # in a plan, dependencies come before the steps that need them
        if found & set(other.depends_on):
            found.add(other.id)
    return found
