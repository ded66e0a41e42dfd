"""One session of a run: from its start or resumption until it ends, in whatever way; the ending is always recorded."""

from __future__ import annotations

import os
import signal
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Literal, NamedTuple

from agents.backends.base import Backend, BackendLost, QuotaSpent
from agents.crew import graph
from agents.crew.approval import Declined, Waiting, limit_spending
from agents.crew.budget import NEAR, Budget, BudgetSpent, Meter
from agents.crew.shared import Crew
from agents.outside.live import LiveOutside
from agents.runs import sandboxes
from agents.runs.answers import Ask, answered, taken
from agents.runs.at_work import mark, unmark
from agents.runs.in_time import InTime
from agents.runs.parts import Closes, Live, crew_of
from agents.runs.provenance import input_hashes, peak_memory
from agents.runs.workbench import Workbench
from agents.trace.approval import Approval, pending
from agents.trace.events import BudgetNear, RunFinished, RunStarted, Trouble
from agents.trace.record import Record, wall_seconds
from agents.trace.store import Store
from agents.trace.where import Where
from sandbox.driver import SandboxLost
from tasks.task import Task

Status = Literal["converged", "exhausted", "failed", "declined", "budget", "waiting", "interrupted", "lost"]
STOPPED = "stopped by the operator; `beamcrew resume` continues"
RECURSION = 10_000  # nodes a graph may visit; the convergence rule and the budget end a run long before that


class Attempt(NamedTuple):
    """A crew at the beginning of a run, which plays what is recorded so far."""

    crew: Crew
    parts: Live
    meter: Meter


@dataclass
class Session:
    """What carries out a run. `ask` asks a person; without it, a question ends the session."""

    begun: RunStarted
    task: Task
    backend: Backend
    bench: Workbench
    store: Store
    budget: Budget
    workers: int
    ask: Ask | None = None
    outside: LiveOutside = field(default_factory=lambda: LiveOutside(None))
    _closers: list[Closes] = field(default_factory=list)
    _stopped: list[int] = field(default_factory=list)
    _timer: threading.Timer | None = None

    def carry_out(self) -> None:
        """Run the graph until it ends in any way, and record the ending."""
        self._closers += [self.bench, self.outside]
        self._now = self._attempt()
        quota = None
        try:
            status, reason = self._through()
        except (BackendLost, SandboxLost) as error:
            status, reason = "lost", str(error)
            quota = error.quota if isinstance(error, QuotaSpent) else None
        except BaseException as error:
            status, reason = self._ended_by(error)
        if self._stopped:  # whichever error came first: a sandbox closed by the stop is not lost
            asked = pending(self.store.events())
            status, reason = ("waiting", str(Waiting(asked))) if asked else ("interrupted", STOPPED)
            quota = None
        self._end_timer()
        meter, events = self._now.meter, self.store.events()
        self.store.append(
            RunFinished(
                status=status,
                reason=reason,
                seconds=wall_seconds(events)[-1] if status == "waiting" else meter.seconds,
                usage=meter.spent,
                model_calls=meter.model_calls,
                quota=quota,
                peak_memory_mib=peak_memory(self.store),
            )
        )

    def _through(self) -> tuple[Status, str]:
        """Run the graph to its end, anew after each answer, and compute the sealed metrics."""
        self._check_inputs()
        with _interruptible(self._closers, self._stopped, self.store.run_dir):
            sandboxes.probe(self.bench.sandbox, self.store)
            while True:
                try:
                    state = graph.build(self._now.crew).invoke(
                        {}, {"recursion_limit": RECURSION, "max_concurrency": self.workers}
                    )
                    break
                except Waiting as error:  # nothing of the run is at work until there is an answer
                    self._end_timer()  # nor does its time run
                    try:
                        said = answered(self.store.run_dir, self.store.events(), error.asked, self.ask)
                    except ValueError as wrong:
                        raise Waiting(error.asked, str(wrong)) from None
                    if said is None:
                        raise
                    self.store.append(said)
                    taken(self.store.run_dir)
                    self._now = self._attempt()
        end = ending(state)
        self._check_inputs()
        self._now.crew.note(self._now.parts.sealed(state))
        return end

    def _ended_by(self, error: BaseException) -> tuple[Status, str]:
        """Return status and reason of a run that an error has ended."""
        if isinstance(error, Waiting):
            return "waiting", str(error)
        if isinstance(error, Declined):
            return "declined", str(error)
        if isinstance(error, BudgetSpent):
            return "budget", str(error)
        if isinstance(error, KeyboardInterrupt):
            return "interrupted", STOPPED
        if not isinstance(error, Exception):
            raise error
        # A defect of ours is not a result of the crew: keep the evidence, so that the run can be resumed once fixed.
        text = "".join(traceback.format_exception(error))
        self.store.append(Trouble(who="programmer", where=Where("run"), text=text))
        return "lost", f"defect: {error!r}"

    def _attempt(self) -> Attempt:
        events, approve = self.store.events(), Approval.model_validate(self.begun.approve)
        meter = meter_of(self.budget, self.backend, approve, wall_seconds(events)[-1])
        meter.announce_with(partial(_announce, self.store))
        calls, usage = self.begun.spent_on_card()
        meter.add(usage, calls)
        for event in events:
            if isinstance(event, Trouble):
                meter.add(event.usage, 0)
        if approve.spend:
            limit_spending(meter, approve.spend, self.store)
        self._announce_in_time(meter)
        parts = Live(self.begun, self.task, self.store, Record(events), self.bench, meter, self._closers, self.outside)
        backend = InTime(self.backend, meter)
        return Attempt(crew_of(self.begun, parts, backend, meter, self.workers), parts, meter)

    def _announce_in_time(self, meter: Meter) -> None:
        """Announce that most of the time is used when it is, not only at the end of a long command."""
        self._end_timer()
        if self.budget.seconds is not None and (wait := NEAR * self.budget.seconds - meter.seconds) > 0:
            self._timer = threading.Timer(min(wait, threading.TIMEOUT_MAX), meter.announce)
            self._timer.daemon = True
            self._timer.start()

    def _end_timer(self) -> None:
        if self._timer:
            self._timer.cancel()
            self._timer.join()

    def _check_inputs(self) -> None:
        if input_hashes(self.store.run_dir) != self.begun.inputs:
            raise SandboxLost("the inputs changed since the run began: its results cannot be trusted")


def _announce(store: Store, name: str, used: float, limit: float) -> None:
    """Record that most of a limit is spent, unless that is in the trace."""
    said = [event for event in store.events() if isinstance(event, BudgetNear)]
    if not any((event.name, event.limit) == (name, limit) for event in said):
        store.append(BudgetNear(name=name, used=used, limit=limit))


def ending(state: graph.State) -> tuple[Status, str]:
    """Return status and reason of a run that passed through the whole graph."""
    decision = state["decision"]
    if decision.best is None and not decision.null_result:
        return "failed", f"nothing valid was submitted: {state['scores'][-1].reason}"
    if state["claim"] is None:
        return "failed", "the reporter gave no valid claim"
    return ("converged" if decision.action == "converged" else "exhausted"), decision.reason


def meter_of(budget: Budget, backend: Backend, approve: Approval | None = None, seconds: float = 0.0) -> Meter:
    """Return the meter of a run. Raises ValueError for limits in dollars that cannot be enforced with this backend."""
    priced = not backend.is_llm or getattr(backend, "price", None) is not None
    if approve and approve.spend and not priced:
        raise ValueError(f"approve: spend={approve.spend:g} dollars: the price is unknown: give --price IN,OUT")
    # Played calls are counted again when the graph requests them; only the wall time is carried over.
    return Meter(budget, priced=priced, seconds=seconds)


@contextmanager
def _interruptible(closers: list[Closes], stopped: list[int], run_dir: Path) -> Iterator[None]:
    """End sandbox commands at once on Ctrl-C or SIGTERM, so that waiting for them cannot delay the stop.

    Meanwhile the run's folder names this process, which others may stop by that signal.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(signum: int, frame: FrameType | None) -> None:
        for number in before:  # a second Ctrl-C during this one would deadlock
            signal.signal(number, lambda *_: None)
        stopped.append(signum)  # no lock: the handler may have interrupted its holder
        for each in closers:
            each.close()
        raise KeyboardInterrupt

    before = {s: signal.signal(s, stop) for s in (signal.SIGINT, signal.SIGTERM)}
    try:
        mark(run_dir, os.getpid(), alone=False)
        yield
    finally:
        unmark(run_dir)
        for number, handler in before.items():
            signal.signal(number, handler)
