"""The parts of a run, made in one place: the harness's own work, live or replayed, and the crew.

`Live` is the harness at work; a replay has the same methods and plays them from a record. `crew_of` makes the crew for
both, so that a replay is wired like the run.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path
from typing import Protocol

from agents.backends.base import Backend
from agents.crew.budget import Meter
from agents.crew.confirm import Again
from agents.crew.graph import State
from agents.crew.shared import Crew
from agents.outside.live import LiveOutside
from agents.runs import sandboxes
from agents.runs.provenance import kept_prompts
from agents.runs.workbench import Workbench
from agents.trace.approval import Approval
from agents.trace.events import RunStarted, Sealed, Trouble
from agents.trace.graded import kept, laid_out
from agents.trace.outside import Outside, RecordedOutside
from agents.trace.record import Record
from agents.trace.recorders import RecordedBackend, RecordedGrader, RecordedWorkbench
from agents.trace.store import Store
from agents.trace.where import Where
from sandbox.driver import Sandbox
from tasks import salt
from tasks.score import Score
from tasks.submission import Submission
from tasks.task import Task, TaskError, Verdict

# Errors that odd numbers in a submission may cause in a grader: the submission is invalid, but the run is not lost.
ODD = (ValueError, OverflowError, FloatingPointError)


class Closes(Protocol):
    """What a stop of the run closes for good, without a lock: benches and outside servers."""

    def close(self) -> None: ...


class Parts(Again, Protocol):
    """The harness's side of a crew, live or replayed. For confirmation and audit see `Again`."""

    @property
    def task(self) -> Task: ...

    @property
    def record(self) -> Record: ...

    def bench(self) -> RecordedWorkbench:
        """Return the bench of the workers."""
        ...

    def grader(self) -> RecordedGrader: ...

    def outside(self) -> Outside: ...

    def sealed(self, state: State) -> Sealed:
        """Return the best submission's metrics that need the truth; called after all agents have finished."""
        ...


def crew_of(begun: RunStarted, parts: Parts, backend: Backend, meter: Meter, workers: int) -> Crew:
    """Return the crew of a run that started as `begun`, with so many steps at once."""
    return Crew(
        task=parts.task,
        request=begun.request,
        facts=begun.facts,
        prompts=kept_prompts(begun, parts.store),
        backend=RecordedBackend(backend, parts.store, parts.record),
        bench=parts.bench(),
        grader=parts.grader(),
        outside=RecordedOutside(begun.outside, parts.outside(), parts.store, parts.record),
        again=parts,
        confirms=any(name.startswith("held_out/") for name in begun.inputs),
        store=parts.store,
        record=parts.record,
        meter=meter,
        seed=begun.seed,
        workers=workers,
        temperature=begun.temperature,
        effort=begun.effort,
        reviews=begun.reviewer,
        approve=Approval.model_validate(begun.approve),
    )


class Live:
    """The harness's own work in a live run."""

    def __init__(
        self,
        begun: RunStarted,
        task: Task,
        store: Store,
        record: Record,
        bench: Workbench,
        meter: Meter,
        closers: list[Closes] | None = None,
        outside: LiveOutside | None = None,
    ) -> None:
        """`closers`: to which all benches are added that are opened, so that a stop can close them."""
        self.task, self.store, self.record = task, store, record
        self._begun, self._bench, self._meter = begun, bench, meter
        self._claim, self._audit = sandboxes.claiming(store.run_dir), sandboxes.auditing(store.run_dir)
        self._sealed = store.run_dir / "sealed"
        self._closers = [] if closers is None else closers
        self._outside = outside or LiveOutside(None)
        bench.keep_to(meter.seconds_left)
        self._outside.keep_to(meter.seconds_left)

    def bench(self) -> RecordedWorkbench:
        return RecordedWorkbench(self._bench, self.store, self.record)

    def grader(self) -> RecordedGrader:
        return RecordedGrader(self._grade, self.store, self.record, self._bench.workspace)

    def outside(self) -> LiveOutside:
        return self._outside

    def _grade(self, iteration: int, submission: Submission | None, folder: Path) -> Score:
        if submission is None:
            return Score(metric="none", value=None, reason="no step submitted anything")
        try:
            inputs = self.store.run_dir / "inputs"
            return self._typed(self.task.grade(submission, inputs, folder, iteration + 1))
        except ODD as error:
            text = f"the grader cannot process the file: {self._told(Where('grader', iteration), error)}"
            return Score(metric="none", value=None, reason=text)

    def before(self, where: Where) -> None:
        self._meter.check(where, model_call=False)

    def claim_bench(self) -> AbstractContextManager[RecordedWorkbench]:
        return self._opened(self._claim)

    def judge(self, submission: Submission, chosen: Score, workspace: Path) -> Score:
        try:
            made = self.task.confirm(submission, chosen, self._claim.inputs, workspace, self._sealed)
            return self._typed(made)
        except ODD as error:
            text = f"the file cannot be processed: {self._told(Where('claim'), error)}"
            return Score(metric=chosen.metric, value=None, reason=text)

    def decoy(self, submission: Submission, chosen: Score, confirmed: Score) -> bool:
        assert self.task.audit
        if not self.task.audit.decoy(
            submission, chosen, confirmed, self._claim.inputs, self._sealed, self._audit.inputs
        ):
            return False
        self.before(Where("audit"))
        self._audit.workspace.mkdir(exist_ok=True)
        return True

    def audit_bench(self) -> AbstractContextManager[RecordedWorkbench]:
        return self._opened(self._audit)

    def audited(self, submission: Submission, chosen: Score, confirmed: Score, workspace: Path, trouble: str) -> Score:
        assert self.task.audit
        where = self._claim.inputs, self._audit.inputs, workspace, self._sealed
        try:
            return self._typed(self.task.audit.judge(submission, chosen, confirmed, *where, trouble))
        except ODD as error:
            text = f"the files of the audit cannot be processed: {self._told(Where('audit'), error)}"
            return Score(metric=confirmed.metric, value=None, reason=text)

    def sealed(self, state: State) -> Sealed:
        best, store = state["decision"].best, self.store
        submission = None if best is None else state["submissions"][best]
        files = {} if best is None else kept(store.events(), best)
        claim = self._claim.workspace if state["confirmed"] and state["confirmed"].ok else None
        with laid_out(store, files) as folder:
            try:
                verdict = self.task.seal(state["checks"], submission, folder, self._sealed, claim)
            except ODD as error:
                self._told(Where("sealed"), error)
                verdict = Verdict(metrics=[], checks=state["checks"])
        return Sealed(**verdict.model_dump(), salt=salt.kept(self._sealed))

    def _typed(self, score: Score) -> Score:
        """Return the score after validating its details against the task's model."""
        self.task.details.model_validate(score.details)
        return score

    @contextmanager
    def _opened(self, place: sandboxes.Place) -> Iterator[RecordedWorkbench]:
        info, gpu = self._bench.sandbox.info, self._begun.gpu
        make: Callable[[], Sandbox] = partial(sandboxes.fresh, self.store, place, info, gpu)
        with Workbench(make(), make) as bench:
            bench.keep_to(self._meter.seconds_left)
            self._closers.append(bench)
            yield RecordedWorkbench(bench, self.store, self.record)

    def _told(self, where: Where, error: Exception) -> str:
        """Record the traceback of an error caused by a submission, since it may still be our defect, and describe it.

        Re-raises a TaskError, which the operator has to fix.
        """
        if isinstance(error, TaskError):
            raise error
        self.store.append(Trouble(who="programmer", where=where, text=traceback.format_exc()))
        return f"{type(error).__name__}: {error}"
