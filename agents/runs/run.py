"""The composition root: task + backend + sandbox + recorders -> graph, with an ending that is always recorded."""

from __future__ import annotations

import secrets as random
import signal
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any, Literal

from pydantic import Field

from agents.backends.base import Backend, BackendLost, Effort, Quota, QuotaSpent
from agents.backends.built_in import CONTROLS
from agents.backends.select import secrets
from agents.crew import graph
from agents.crew.budget import Budget, BudgetSpent, Meter
from agents.crew.context import advised, read_prompts
from agents.runs import sandboxes
from agents.runs.parts import Live, crew_of
from agents.runs.provenance import input_hashes, keep_prompts, peak_memory, versions
from agents.runs.workbench import Workbench
from agents.trace.events import RunFinished, RunResumed, RunStarted, Trouble
from agents.trace.record import Record, wall_seconds
from agents.trace.report import write_report
from agents.trace.result import ENDED, RunResult, build_result
from agents.trace.store import TRACE, Store, read_trace
from agents.trace.where import Where
from sandbox.docker import IMAGE
from sandbox.driver import Gpu, Kind, Limits, Sandbox, SandboxLost
from tasks import salt
from tasks.catalogue import DEFAULT, make_task
from tasks.task import Task
from tools.contract import Frozen

Status = Literal["converged", "exhausted", "failed", "budget", "interrupted", "lost"]
STOPPED = "stopped by the operator; `beamcrew resume` continues"
FOLDERS = ("inputs", "held_out", "sealed", "workspace", "claim", "decoy", "audit", TRACE)
RECURSION = 10_000  # nodes a graph may visit; the convergence rule and the budget end a run long before that


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
) -> RunResult:
    """Carry out a new run in `run_dir`, which must not contain one. Raises TaskError when the task cannot be prepared.

    `keys_in`: environment variables that hold a key although their names do not suggest it.
    """
    secret = salt.fresh() if settings.salt is None else settings.salt
    task = make_task(settings.task, settings.options).salted(secret)
    run_dir = run_dir.resolve()
    meter_of(settings.budget, backend)  # refuse a budget that cannot be enforced before anything is written
    if settings.reviewer and backend.name in CONTROLS:
        raise ValueError(f"reviewer=true: not for the control {backend.name}, whose plans follow from no verdict")
    if any((run_dir / name).exists() for name in FOLDERS):
        raise ValueError(f"{run_dir}: contains a run already; resume it, or choose another folder")
    facts = {"task": task.name} | task.prepare(run_dir / "inputs", run_dir / "held_out", run_dir / "sealed")
    salt.keep(run_dir / "sealed", secret)  # only now: a task that is refused leaves nothing behind
    for place in (sandboxes.searching(run_dir), sandboxes.claiming(run_dir)):
        if place.inputs.is_dir():
            place.workspace.mkdir()
    with (
        Store.create(run_dir, secrets(*keys_in)) as store,
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
            budget={k: float(v) for k, v in settings.budget.model_dump(exclude_none=True).items()},
            seed=settings.seed,
            temperature=settings.temperature,
            effort=settings.effort,
            reviewer=settings.reviewer,
            versions=versions(),
            prompts=keep_prompts(store, advised(read_prompts(reviewer=settings.reviewer), task)),
            card=settings.card,
        )
        begun = store.append(begun)  # as recorded, without secrets: a resumed run must send the same requests
        _carry_out(begun, task, backend, bench, store, Record(), settings.budget, settings.workers)
    return _finish(run_dir)


def resume(
    run_dir: Path,
    backend: Backend,
    budget: Budget | None = None,
    workers: int = 2,
    listeners: Sequence[Callable[[Any], None]] = (),
    keys_in: Sequence[str] = (),
) -> RunResult:
    """Continue a run that was interrupted, lost its sandbox or service, or spent its budget.

    Recorded results are played, not paid for again. Raises ValueError when the run has ended, or was made with another
    backend.
    """
    if workers < 1:
        raise ValueError(f"workers={workers}: at least 1")
    run_dir = run_dir.resolve()
    begun, ended = beginning(run_dir)
    if ended and ended.status in ENDED:
        if not (run_dir / "result.json").exists():
            return _finish(run_dir)  # killed before its report was written
        raise ValueError(f"run {begun.run} has ended ({ended.status}): there is nothing to resume")
    if begun.backend != backend.name:
        raise ValueError(f"backend={backend.name}: run {begun.run} was made with {begun.backend}; resume with the same")
    task = make_task(begun.task, begun.options).salted(salt.kept(run_dir / "sealed"))
    with (
        Store.open(run_dir, secrets(*keys_in)) as store,
        _bench(store, sandboxes.again(sandboxes.searching(run_dir), begun.sandbox, begun.gpu), begun.gpu) as bench,
    ):
        record = Record(store.events())
        for listener in listeners:
            store.listen(listener)
        store.append(RunResumed(sandbox=bench.sandbox.info))
        first = Budget.model_validate(begun.budget)
        # Requests must stay the same, or nothing of the record could be played.
        chosen = budget.model_copy(update={"reply_tokens": first.reply_tokens}) if budget else first
        _carry_out(begun, task, backend, bench, store, record, chosen, workers)
    return _finish(run_dir)


def new_run_dir(runs: Path, task: str) -> Path:
    """Return a new folder name that sorts by time: runs/20261121-153012-<task>-1f3a."""
    return runs / f"{time.strftime('%Y%m%d-%H%M%S')}-{task}-{random.token_hex(2)}"


def _carry_out(
    begun: RunStarted,
    task: Task,
    backend: Backend,
    bench: Workbench,
    store: Store,
    record: Record,
    budget: Budget,
    workers: int,
) -> None:
    """Run the graph until it ends in any way, and record the ending."""
    meter = meter_of(budget, backend, wall_seconds(store.events())[-1])
    calls, usage = begun.spent_on_card()
    meter.add(usage, calls)
    parts = Live(begun, task, store, record, bench, meter)
    crew = crew_of(begun, parts, backend, meter, workers)
    status: Status
    quota: Quota | None = None
    stopped: list[int] = []
    try:
        _same_inputs(begun, store.run_dir)
        with _interruptible(parts.benches, stopped):
            sandboxes.probe(bench.sandbox, store)
            config = {"recursion_limit": RECURSION, "max_concurrency": workers}
            state = graph.build(crew).invoke({}, config)
        status, reason = ending(state)
        _same_inputs(begun, store.run_dir)
        crew.note(parts.sealed(state))
    except KeyboardInterrupt:
        status, reason = "interrupted", STOPPED
    except BudgetSpent as error:
        status, reason = "budget", str(error)
    except (BackendLost, SandboxLost) as error:
        status, reason = "lost", str(error)
        quota = error.quota if isinstance(error, QuotaSpent) else None
    except Exception as error:
        # A defect of ours is not a result of the crew: keep the evidence, so that the run can be resumed once fixed.
        store.append(Trouble(who="programmer", where=Where("run"), text=traceback.format_exc()))
        status, reason = "lost", f"defect: {error!r}"
    if stopped:  # whichever error came first: a sandbox closed by the stop is not lost
        status, reason, quota = "interrupted", STOPPED, None
    store.append(
        RunFinished(
            status=status,
            reason=reason,
            seconds=meter.seconds,
            usage=meter.spent,
            model_calls=meter.model_calls,
            quota=quota,
            peak_memory_mib=peak_memory(store),
        )
    )


def _same_inputs(begun: RunStarted, run_dir: Path) -> None:
    if input_hashes(run_dir) != begun.inputs:
        raise SandboxLost("the inputs changed since the run began: its results cannot be trusted")


def ending(state: graph.State) -> tuple[Status, str]:
    """Return status and reason of a run that passed through the whole graph."""
    decision = state["decision"]
    if decision.best is None and not decision.null_result:
        return "failed", f"nothing valid was submitted: {state['scores'][-1].reason}"
    if state["claim"] is None:
        return "failed", "the reporter gave no valid claim"
    return ("converged" if decision.action == "converged" else "exhausted"), decision.reason


@contextmanager
def _interruptible(benches: list[Workbench], stopped: list[int]) -> Iterator[None]:
    """End sandbox commands at once on Ctrl-C or SIGTERM, so that waiting for them cannot delay the stop."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(signum: int, frame: FrameType | None) -> None:
        for number in before:  # a second Ctrl-C during this one would deadlock
            signal.signal(number, lambda *_: None)
        stopped.append(signum)  # no lock: the handler may have interrupted its holder
        for bench in benches:
            bench.close()
        raise KeyboardInterrupt

    before = {s: signal.signal(s, stop) for s in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _bench(store: Store, sandbox: Sandbox, gpu: Gpu) -> Workbench:
    place = sandboxes.searching(store.run_dir)
    return Workbench(sandbox, partial(sandboxes.fresh, store, place, sandbox.info, gpu))


def meter_of(budget: Budget, backend: Backend, seconds: float = 0.0) -> Meter:
    """Return the meter of a run. Raises ValueError for a budget that cannot be enforced with this backend."""
    # Played calls are counted again when the graph requests them; only the wall time is carried over.
    return Meter(budget, priced=not backend.is_llm or getattr(backend, "price", None) is not None, seconds=seconds)


def beginning(run_dir: Path) -> tuple[RunStarted, RunFinished | None]:
    events = read_trace(run_dir)
    if not events or not isinstance(events[0], RunStarted):
        raise ValueError(f"{run_dir}: the trace does not begin with run_started")
    last = events[-1]
    return events[0], last if isinstance(last, RunFinished) else None


def _finish(run_dir: Path) -> RunResult:
    write_report(run_dir)
    return build_result(run_dir)
