"""Starts and resumes of runs: task + backend + sandbox + trace, put together for a session, then the report."""

from __future__ import annotations

import contextlib
import secrets as random
import shutil
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import Field

from agents.backends.base import Backend, Effort
from agents.backends.built_in import CONTROLS
from agents.backends.select import secrets
from agents.crew.budget import Budget
from agents.crew.context import advised, read_prompts
from agents.crew.outside import with_outside
from agents.crew.worker import NAMES
from agents.outside.live import LiveOutside
from agents.outside.servers import Servers
from agents.runs import sandboxes
from agents.runs.answers import Ask, waiting
from agents.runs.provenance import input_hashes, keep_prompts, versions
from agents.runs.session import Session, meter_of
from agents.runs.workbench import Workbench
from agents.trace.approval import Approval, pending
from agents.trace.events import RunFinished, RunResumed, RunStarted
from agents.trace.record import limits_of
from agents.trace.report import write_report
from agents.trace.result import ENDED, RunResult, build_result
from agents.trace.store import TRACE, Store, read_trace
from sandbox.docker import IMAGE
from sandbox.driver import Gpu, Kind, Limits, Sandbox
from tasks import salt
from tasks.catalogue import DEFAULT, make_task
from tasks.task import Task
from tools.contract import Frozen

FOLDERS = ("inputs", "held_out", "sealed", "workspace", "claim", "decoy", "audit", TRACE)


class Settings(Frozen):
    """The operator's choices for a new run."""

    request: str
    task: str = DEFAULT
    options: dict[str, Any] = Field(default_factory=dict, description="options of the task")
    sandbox: Kind = "auto"
    image: str = Field(IMAGE, description="image of the sandbox: a tag, a digest, or FILE.sif")
    gpu: Gpu = "auto"
    limits: Limits = Limits()
    budget: Budget = Budget()
    seed: int = Field(1, description="seed sent with every request to a model")
    temperature: float = Field(0.0, ge=0, le=2, description="sampling temperature of every request to a model")
    effort: Effort | None = Field(None, description="reasoning effort of every request; None: the service's default")
    reviewer: bool = Field(False, description="a reviewer reads plans and results, and may send each back once")
    card: dict[str, Any] | None = Field(None, description="how the request was understood, where it was to be read")
    approve: Approval = Field(Approval(), description="where the run stops and asks a person")
    workers: int = Field(2, ge=1, le=64, description="maximum number of steps run in parallel")
    salt: str | None = Field(
        None,
        pattern=r"^([0-9a-f]{32})?$",
        description="salt of a run to be repeated, as named in its trace; '': secrets follow from the public seed, "
        "for benchmarks whose crews are ours; default: drawn now",
    )


def start(
    settings: Settings,
    backend: Backend,
    run_dir: Path,
    listeners: Sequence[Callable[[Any], None]] = (),
    keys_in: Sequence[str] = (),
    ask: Ask | None = None,
    servers: Servers | None = None,
) -> RunResult:
    """Carry out a new run in `run_dir`, which must not contain one. Raises TaskError when the task cannot be prepared.

    `keys_in`: environment variables that hold a key although their names do not suggest it. `ask` asks a person where
    `settings.approve` says so; without an answer the run ends as `waiting`, and is resumed once there is one.
    `servers`: outside servers whose tools the crew may use; ValueError for one that cannot be reached.
    """
    secret = salt.fresh() if settings.salt is None else settings.salt
    task = make_task(settings.task, settings.options).salted(secret)
    run_dir = run_dir.resolve()
    meter_of(settings.budget, backend, settings.approve)  # refuse, before anything is written, what cannot be enforced
    if settings.reviewer and backend.name in CONTROLS:
        raise ValueError(f"reviewer=true: not for the control {backend.name}, whose plans follow from no verdict")
    if any((run_dir / name).exists() for name in FOLDERS):
        raise ValueError(f"{run_dir}: contains a run already; resume it, or choose another folder")
    with LiveOutside(servers, [*task.tools, *NAMES]) as outside:
        offers = outside.offers()
        facts = _prepare(settings, task, run_dir, secret)
        with (
            Store.create(run_dir, secrets(*keys_in, *(servers.secrets() if servers else ()))) as store,
            _bench(
                store,
                sandboxes.first(
                    sandboxes.searching(run_dir), settings.sandbox, settings.limits, settings.image, settings.gpu
                ),
                settings.gpu,
            ) as bench,
        ):
            for listener in listeners:
                store.listen(listener)
            prompts = advised(read_prompts(reviewer=settings.reviewer), task)
            begun = RunStarted(
                run=run_dir.name,
                request=settings.request,
                task=task.name,
                options=task.options(),
                facts=facts,
                inputs=input_hashes(run_dir),
                backend=backend.name,
                is_llm=backend.is_llm,
                sandbox=bench.sandbox.info,
                gpu=settings.gpu,
                budget=settings.budget.written(),
                seed=settings.seed,
                temperature=settings.temperature,
                effort=settings.effort,
                reviewer=settings.reviewer,
                versions=versions(),
                prompts=keep_prompts(store, with_outside(prompts) if offers else prompts),
                card=settings.card,
                approve=settings.approve.model_dump(exclude_defaults=True),
                outside=offers,
            )
            begun = store.append(begun)  # as recorded, without secrets: a resumed run must send the same requests
            Session(begun, task, backend, bench, store, settings.budget, settings.workers, ask, outside).carry_out()
    return _finish(run_dir)


def _prepare(settings: Settings, task: Task, run_dir: Path, secret: str) -> dict[str, Any]:
    """Write the inputs of a run, and return the facts about them that agents are told."""
    facts = {"task": task.name} | task.prepare(run_dir / "inputs", run_dir / "held_out", run_dir / "sealed")
    if settings.approve.unblind and not (run_dir / "held_out").is_dir():
        _remove_prepared(run_dir)
        raise ValueError(
            f"approve=unblind: the task {task.name} holds nothing out with these options, so nothing opens"
        )
    salt.keep(run_dir / "sealed", secret)  # only now: a task that is refused leaves nothing behind
    for place in (sandboxes.searching(run_dir), sandboxes.claiming(run_dir)):
        if place.inputs.is_dir():
            place.workspace.mkdir()
    return facts


def resume(
    run_dir: Path,
    backend: Backend,
    budget: Budget | None = None,
    workers: int = 2,
    listeners: Sequence[Callable[[Any], None]] = (),
    keys_in: Sequence[str] = (),
    ask: Ask | None = None,
    servers: Servers | None = None,
) -> RunResult:
    """Continue a run that waited for an answer, was interrupted, lost its sandbox or service, or spent its budget.

    Recorded results are played, not paid for again. Without a `budget` the limits stay as they were. Raises
    ValueError when the run has ended, was made with another backend or other `servers`, or waits for an answer that
    neither `give` nor `ask` brings.
    """
    if workers < 1:
        raise ValueError(f"workers={workers}: at least 1")
    run_dir = run_dir.resolve()
    begun, ended = beginning(run_dir)
    if ended and ended.status in ENDED:
        if not (run_dir / "result.json").exists():
            return _finish(run_dir)  # killed before its report was written
        raise ValueError(f"run {begun.run} has ended ({ended.status}): there is nothing to resume")
    check_backend(begun, backend)
    check_servers(begun, servers)
    events = read_trace(run_dir)
    asked = pending(events)
    if asked and ask is None and waiting(run_dir, asked) is None:
        raise ValueError(f"run {begun.run} waits for an answer: {asked.text}; give it by `beamcrew approve {run_dir}`")
    task = make_task(begun.task, begun.options).salted(salt.kept(run_dir / "sealed"))
    with (
        LiveOutside(servers) as outside,  # reached when a tool is called
        Store.open(run_dir, secrets(*keys_in, *(servers.secrets() if servers else ()))) as store,
        _bench(store, sandboxes.again(sandboxes.searching(run_dir), begun.sandbox, begun.gpu), begun.gpu) as bench,
    ):
        for listener in listeners:
            store.listen(listener)
        so_far = Budget.model_validate(limits_of(events))
        # Requests must stay the same, or nothing of the record could be played.
        chosen = budget.model_copy(update={"reply_tokens": so_far.reply_tokens}) if budget else so_far
        store.append(RunResumed(sandbox=bench.sandbox.info, budget=chosen.written() if budget else None))
        Session(begun, task, backend, bench, store, chosen, workers, ask, outside).carry_out()
    return _finish(run_dir)


def check_backend(begun: RunStarted, backend: Backend) -> None:
    """Raise ValueError if a run was made with another backend."""
    if begun.backend != backend.name:
        raise ValueError(f"backend={backend.name}: run {begun.run} was made with {begun.backend}; resume with the same")


def check_servers(begun: RunStarted, servers: Servers | None) -> None:
    """Raise ValueError if a run was made with other outside servers."""
    if servers is None and begun.outside:
        names = ", ".join(server.name for server in begun.outside)
        raise ValueError(f"servers: run {begun.run} began with {names}: give the file that names them, --servers FILE")
    if servers is not None:
        servers.check_run(begun.outside)


def new_run_dir(runs: Path, task: str) -> Path:
    """Return a new folder name that sorts by time: runs/20261121-153012-<task>-1f3a."""
    return runs / f"{time.strftime('%Y%m%d-%H%M%S')}-{task}-{random.token_hex(2)}"


def _bench(store: Store, sandbox: Sandbox, gpu: Gpu) -> Workbench:
    place = sandboxes.searching(store.run_dir)
    return Workbench(sandbox, partial(sandboxes.fresh, store, place, sandbox.info, gpu))


def _remove_prepared(run_dir: Path) -> None:
    """Remove what a task has prepared for a run that does not begin."""
    for name in ("inputs", "held_out", "sealed"):
        shutil.rmtree(run_dir / name, ignore_errors=True)
    with contextlib.suppress(OSError):  # it was there before, and has something else in it
        run_dir.rmdir()


def beginning(run_dir: Path) -> tuple[RunStarted, RunFinished | None]:
    events = read_trace(run_dir)
    if not events or not isinstance(events[0], RunStarted):
        raise ValueError(f"{run_dir}: the trace does not begin with run_started")
    last = events[-1]
    return events[0], last if isinstance(last, RunFinished) else None


def _finish(run_dir: Path) -> RunResult:
    write_report(run_dir)
    return build_result(run_dir)
