"""Rerun of a run with recorded replies and a live sandbox: commands and grades are repeated and compared.

The comparison does not steer: the graph continues with the recorded results, so that exactly the same commands are
requested, while later commands find the files that earlier live commands left.
"""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from agents.crew import graph
from agents.runs import sandboxes
from agents.runs.provenance import input_hashes
from agents.runs.replay import Outcome, Played, replay
from agents.runs.workbench import Workbench
from agents.trace.bench import place
from agents.trace.events import Executed, RunStarted, Sealed
from agents.trace.moved import Moved, compare_files, compare_json
from agents.trace.recorders import REFUSED, RecordedGrader, RecordedWorkbench
from agents.trace.store import Store
from agents.trace.strict import Strict
from agents.trace.words import duration
from sandbox.canaries import plant_and_probe
from sandbox.docker import IMAGE
from sandbox.driver import ExecResult, Kind, Sandbox, SandboxLost
from sandbox.reader import UnsafeFile, list_files, read_bytes
from sandbox.select import DRIVERS
from sandbox.writer import write_bytes
from tasks.score import Metric, Score
from tasks.submission import MAX_BYTES, Submission
from tasks.task import Task

KINDS = tuple(DRIVERS)
PATIENCE = 3600.0  # seconds without an event: commands are live here, and this machine may be slower
TOLERANCE = 1e-6  # relative; the same code on the same machine gives the same bytes, on other processors it does not


class Table:
    """The comparisons from all threads; `say` is called with a line for every command, since they may take long."""

    def __init__(self, tolerance: float, say: Callable[[str], None]) -> None:
        self.tolerance, self.say = tolerance, say
        self.rows: list[Moved] = []

    def add(self, row: Moved) -> None:
        self.rows.append(row)

    def numbers(self, where: str, what: str, recorded: Any, live: Any, said: str = "") -> None:
        verdict, how = compare_json(recorded, live, self.tolerance)
        self.add(Moved(where=where, what=what, verdict=verdict, how="; ".join(filter(None, (said, how)))))


class RerunWorkbench(RecordedWorkbench):
    """Runs a recorded command again instead of restoring its files."""

    def __init__(self, bench: Workbench, store: Store, record: Strict, table: Table, turn: threading.Semaphore) -> None:
        super().__init__(bench, store, record)
        self._table, self._turn = table, turn
        self._recorded = bench.workspace.with_name(f"recorded-{bench.workspace.name}")
        self._recorded.mkdir()
        self._expected: set[str] = set()

    def play(self, event: Executed, given: Mapping[str, bytes], seconds: float | None) -> None:
        if event.ended == REFUSED:
            return
        with self._turn:
            live = self._bench.run(event.where, event.argv, cwd=event.cwd, files=given, seconds=seconds)
        took = f"{duration(live.seconds)}, {duration(event.seconds)} when recorded"
        self._table.say(f"{event.where}: {_short(event)} took {took}")
        self._compare_end(event, live)
        self._compare_files(event, given)

    def empty(self) -> None:
        super().empty()
        self._expected.clear()

    def _compare_end(self, event: Executed, live: ExecResult) -> None:
        what = _short(event)
        old, new = ({"exit_code": end.exit_code, "ended": end.ended} for end in (event, live))
        self._table.numbers(event.where, f"{what}: end", old, new)
        said = self._store.get(event.stdout).decode()
        try:
            old, new = (json.loads(text.strip().splitlines()[-1]) for text in (said, live.stdout))
        except (ValueError, IndexError, RecursionError):
            if said != live.stdout:
                self._table.add(Moved(where=event.where, what=f"{what}: output", verdict="flagged", how="other text"))
        else:
            self._table.numbers(event.where, f"{what}: output", old, new)

    def _compare_files(self, event: Executed, given: Mapping[str, bytes]) -> None:
        folder = place(event.cwd)
        for path, sha in event.files.items():
            write_bytes(self._recorded, path, self._store.get(sha))
            self._table.add(compare_files(event.where, path, self._recorded, self.workspace, self._table.tolerance))
        for reason in event.unsaved:
            self._table.add(Moved(where=event.where, what=reason, verdict="flagged", how="too big to be recorded"))
        self._expected |= {*event.files, *(f"{folder}/{name}" for name in given)}
        self._expected -= set(event.gone)
        unsaved = {reason.split(":")[0].strip("'") for reason in event.unsaved}
        try:
            there = list_files(self.workspace, folder).files
        except UnsafeFile as error:
            self._table.add(Moved(where=event.where, what=folder, verdict="moved", how=str(error)))
            return
        for path in sorted(there.keys() - self._expected - unsaved):
            self._table.add(Moved(where=event.where, what=path, verdict="moved", how="was not there when recorded"))
            self._expected.add(path)


class RerunGrader(RecordedGrader):
    """Computes each grade again, and keeps the graded files: a later step may overwrite them."""

    def __init__(self, table: Table, task: Task, inputs: Path, workspace: Path, store: Store, record: Strict) -> None:
        def grade(iteration: int, submission: Submission | None, folder: Path) -> Score:
            assert submission is not None
            return task.grade(submission, inputs, folder, iteration + 1)

        super().__init__(grade, store, record, workspace)
        self._table = table
        self.files: dict[int, dict[str, bytes]] = {}

    def grade(self, iteration: int, submission: Submission | None, null_result: str = "") -> Score:
        recorded = super().grade(iteration, submission, null_result)
        if submission is not None:
            with contextlib.suppress(UnsafeFile):  # the grader's verdict on that is compared
                paths = submission.files().values()
                self.files[iteration] = {path: read_bytes(self._workspace, path, MAX_BYTES) for path in paths}
            compare_scores(
                self._table, f"grade {iteration}", recorded, self._grade(iteration, submission, self._workspace)
            )
        return recorded


def compare_scores(table: Table, where: str, recorded: Score, live: Score) -> None:
    """Compare two verdicts of the harness, without the hash of the graded file, which is compared itself."""
    words = {"reason"} if recorded.ok and live.ok else set()  # reasons repeat the numbers compared here
    old, new = (score.model_dump(mode="json", exclude={"artefact"} | words) for score in (recorded, live))
    table.numbers(where, recorded.metric, old, new, _became(recorded, live))


class Rerun(Played):
    """The parts of a replay that repeat all of the harness's own work and compare it with the record."""

    def __init__(
        self,
        store: Store,
        record: Strict,
        task: Task,
        out: Path,
        *,
        table: Table,
        stack: ExitStack,
        sandbox: Kind | None = None,
        image: str | None = None,
        workers: int = 2,
    ) -> None:
        super().__init__(store, record, task, out)
        begun = store.events()[0]
        assert isinstance(begun, RunStarted)
        if input_hashes(store.run_dir) != begun.inputs:
            raise SandboxLost(f"{store.run_dir}: the inputs changed since the run began, so it cannot be rerun")
        self.table, self._begun, self._kind, self._image = table, begun, sandbox, image
        self._turn = threading.Semaphore(workers)
        self._live = stack.enter_context(self._opened(store.run_dir / "inputs", "workspace"))
        self._grader = RerunGrader(table, task, store.run_dir / "inputs", out / "workspace", store, record)

    def bench(self) -> RecordedWorkbench:
        return RerunWorkbench(self._live, self.store, self.record, self.table, self._turn)

    def grader(self) -> RecordedGrader:
        return self._grader

    @contextmanager
    def claim_bench(self) -> Iterator[RecordedWorkbench]:
        with self._opened(self.store.run_dir / "held_out", "claim") as bench:
            yield RerunWorkbench(bench, self.store, self.record, self.table, self._turn)

    def judge(self, submission: Submission, chosen: Score, workspace: Path) -> Score:
        recorded, run_dir = super().judge(submission, chosen, workspace), self.store.run_dir
        live = self.task.confirm(submission, chosen, run_dir / "held_out", workspace, run_dir / "sealed")
        compare_scores(self.table, "claim", recorded, live)
        return recorded

    @contextmanager
    def audit_bench(self) -> Iterator[RecordedWorkbench]:
        with self._opened(self.out / "decoy", "audit") as bench:
            yield RerunWorkbench(bench, self.store, self.record, self.table, self._turn)

    def decoy(self, submission: Submission, chosen: Score, confirmed: Score) -> bool:
        there_was, sealed = super().decoy(submission, chosen, confirmed), self.store.run_dir / "sealed"
        if there_was and self.task.audit:
            self.task.audit.decoy(
                submission, chosen, confirmed, self.store.run_dir / "held_out", sealed, self.out / "decoy"
            )
        return there_was

    def audited(self, submission: Submission, chosen: Score, confirmed: Score, workspace: Path, trouble: str) -> Score:
        recorded = super().audited(submission, chosen, confirmed, workspace, trouble)
        held_out, sealed = self.store.run_dir / "held_out", self.store.run_dir / "sealed"
        if self.task.audit:
            live = self.task.audit.judge(
                submission, chosen, confirmed, held_out, self.out / "decoy", workspace, sealed, trouble
            )
            compare_scores(self.table, "audit", recorded, live)
        return recorded

    def sealed(self, state: graph.State) -> Sealed:
        recorded, best = super().sealed(state), state["decision"].best
        submission = None if best is None else state["submissions"][best]
        for path, data in self._grader.files.get(-1 if best is None else best, {}).items():
            write_bytes(self.out / "workspace", path, data)
        claim = self.out / "claim" if state["confirmed"] and state["confirmed"].ok else None
        workspace, sealed = self.out / "workspace", self.store.run_dir / "sealed"
        live = self.task.seal(state["checks"], submission, workspace, sealed, claim)
        made = {metric.name: metric for metric in live.metrics}
        for old in recorded.metrics:
            new = made.get(old.name)
            again = new and new.model_dump(mode="json", exclude={"note"})
            self.table.numbers(
                "sealed", old.name, old.model_dump(mode="json", exclude={"note"}), again, _became(old, new)
            )
        self.table.numbers("sealed", "curves", recorded.curves, live.curves)
        return recorded

    @contextmanager
    def _opened(self, inputs: Path, workspace: str) -> Iterator[Workbench]:
        """Open a sandbox with the run's driver and exact image, unless others are chosen, and probe it first."""
        at = sandboxes.Place(inputs, self.out / workspace)
        at.workspace.mkdir(parents=True)
        with Workbench(self._sandbox(at)) as bench:
            verdict = plant_and_probe(bench.sandbox, self.store.run_dir / "sealed" / "labels.parquet")
            if not verdict.held:
                raise SandboxLost("a canary was reached from inside: " + "; ".join(verdict.lines))
            yield bench

    def _sandbox(self, at: sandboxes.Place) -> Sandbox:
        info, gpu = self._begun.sandbox, self._begun.gpu
        if self._kind is None and self._image is None:
            return sandboxes.again(at, info, gpu)
        kind = self._kind or TypeAdapter(Kind).validate_python(info.driver if info.image else "docker")
        recorded = info.image if kind == info.driver else None
        return sandboxes.first(at, kind, info.limits, self._image or recorded or IMAGE, gpu)


def _short(event: Executed) -> str:
    return " ".join(event.argv)[:60]


def _became(recorded: Score | Metric, live: Score | Metric | None) -> str:
    """Return a number with its error, or the old and new one with the shift in units of the error."""
    old, new = _measured(recorded), _measured(live)
    if old == new:
        return old
    far = ""
    if live and recorded.error and live.value is not None and recorded.value is not None:
        far = f", by {abs(live.value - recorded.value) / recorded.error:.2g} of its error"
    return f"{old} became {new}{far}"


def _measured(what: Score | Metric | None) -> str:
    if what is None or what.value is None:
        return "nothing"
    return f"{what.value:.6g}" + (f" ± {what.error:.3g}" if what.error else "")


def rerun(
    run_dir: Path,
    out: Path,
    sandbox: str | None = None,
    image: str | None = None,
    tolerance: float = TOLERANCE,
    workers: int = 2,
    say: Callable[[str], None] = lambda line: None,
) -> Outcome:
    """Replay a run with everything but the model live. Raises what `replay` does, SandboxLost and ValueError."""
    if sandbox not in (None, *KINDS):
        raise ValueError(f"sandbox={sandbox}: select from {', '.join(KINDS)}")
    table = Table(tolerance, say)
    with ExitStack() as stack:
        outcome = replay(
            run_dir,
            out,
            partial(Rerun, table=table, stack=stack, sandbox=sandbox, image=image, workers=workers),
            PATIENCE,
        )
    return outcome.model_copy(update={"compared": table.rows})
