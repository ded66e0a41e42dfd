"""Replay of a run from its record alone: the same graph with recorded replies and results, nothing live or paid for.

Model replies, output and files of commands, tool results, grades, the verdict on unseen inputs and the sealed metrics
are played from the record. Everything else that the crew does is recomputed: plans, requests, submissions, decisions,
the claims table, the ending and the report. Each must come out as recorded, and nothing recorded may be left over.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from pydantic import Field

from agents.backends.base import Reply, Request
from agents.crew import graph
from agents.crew.approval import Declined
from agents.crew.budget import Budget, Meter
from agents.runs.parts import crew_of
from agents.runs.run import beginning
from agents.runs.session import RECURSION, ending
from agents.runs.workbench import Nowhere
from agents.trace.events import Audited, Confirmed, Executed, RunFinished, RunStarted, Sealed
from agents.trace.moved import Moved
from agents.trace.outside import Nobody
from agents.trace.record import where_of
from agents.trace.recorders import RecordedGrader, RecordedWorkbench
from agents.trace.report import write_report
from agents.trace.result import ENDED
from agents.trace.store import Store
from agents.trace.strict import PATIENCE, Differs, RecordEnds, Strict
from agents.trace.verify import verified
from agents.trace.where import Where
from tasks import salt
from tasks.catalogue import make_task
from tasks.score import Score
from tasks.submission import Submission
from tasks.task import Task
from tools.contract import Frozen

FILES = ("report.md", "report.html", "result.json")
WORKERS = 64  # parallel steps: if a run was cut off, a waiting step must not keep others from playing


class Outcome(Frozen):
    """The outcome of a replay that reached the end of the record; differences are in `report` and `compared`."""

    run: str
    events: int = Field(description="number of lines of the trace")
    status: str = Field(description="how the run ended; without a regular end it is played as far as recorded")
    seconds: float = Field(description="wall time of the replay [s]")
    recorded_seconds: float = Field(description="wall time of the run [s]")
    report: dict[str, str] = Field(description="report file -> identical, differs, or missing in the run")
    compared: list[Moved] | None = Field(None, description="recomputed results compared with recorded ones; of a rerun")

    @property
    def whole(self) -> bool:
        return self.status in ENDED

    @property
    def agrees(self) -> bool:
        moved = any(row.verdict == "moved" for row in self.compared or ())
        return not moved and "differs" not in self.report.values()


class Silent:
    """The backend of a replay: has the name of the run's backend, and is never called."""

    def __init__(self, begun: RunStarted) -> None:
        self.name, self.is_llm = begun.backend, begun.is_llm

    def complete(self, request: Request) -> Reply:
        raise AssertionError("a strict record has the reply, or raises")


class Played:
    """The parts of a replay: take the harness's own work from the record."""

    def __init__(self, store: Store, record: Strict, task: Task, out: Path) -> None:
        self.store, self.record, self.task, self.out = store, record, task, out

    def bench(self) -> RecordedWorkbench:
        return RecordedWorkbench(Nowhere(self.out / "workspace"), self.store, self.record)

    def grader(self) -> RecordedGrader:
        return RecordedGrader(_never, self.store, self.record, self.out / "workspace")

    def outside(self) -> Nobody:
        return Nobody()

    def before(self, where: Where) -> None:
        """Check nothing: recorded work has been paid for."""

    @contextmanager
    def claim_bench(self) -> Iterator[RecordedWorkbench]:
        yield RecordedWorkbench(Nowhere(self.out / "claim"), self.store, self.record)

    def judge(self, submission: Submission, chosen: Score, workspace: Path) -> Score:
        return self.record.recorded(Confirmed).score

    @contextmanager
    def audit_bench(self) -> Iterator[RecordedWorkbench]:
        yield RecordedWorkbench(Nowhere(self.out / "audit"), self.store, self.record)

    def decoy(self, submission: Submission, chosen: Score, confirmed: Score) -> bool:
        """Return True if an audit took place or was begun."""
        return any(
            isinstance(event, Audited) or (isinstance(event, Executed) and event.where.role == "audit")
            for event in self.record.unplayed()
        )

    def audited(self, submission: Submission, chosen: Score, confirmed: Score, workspace: Path, trouble: str) -> Score:
        return self.record.recorded(Audited).score

    def sealed(self, state: graph.State) -> Sealed:
        return self.record.recorded(Sealed)


def replay(run_dir: Path, out: Path, parts: Callable[..., Played] = Played, patience: float = PATIENCE) -> Outcome:
    """Replay a run with its files in the folder `out`; nothing is written into the run's folder.

    `parts` makes the source of the harness's own work; `patience`: see Strict. Raises TraceError when the trace is
    damaged, and Differs for the first difference from the record.
    """
    start = time.monotonic()
    run_dir = run_dir.resolve()
    verified(run_dir)
    with Store.reading(run_dir) as store:
        begun, finished = beginning(run_dir)
        record = Strict(store, finished is not None and finished.status in ENDED, patience)
        play(begun, finished, parts(store, record, _task(begun, run_dir), out))
        recorded_seconds = finished.seconds if finished else 0.0
    write_report(run_dir, out)
    return Outcome(
        run=begun.run,
        events=len(store.events()),
        status=finished.status if finished else "unfinished",
        seconds=time.monotonic() - start,
        recorded_seconds=recorded_seconds,
        report={name: _compared(run_dir / name, out / name) for name in FILES},
    )


def play(begun: RunStarted, finished: RunFinished | None, parts: Played) -> None:
    """Run the graph from its start to the end of the record. Raises Differs."""
    record = parts.record
    # Recorded calls cost nothing; of the budget, only the length of replies is part of the requests.
    meter = Meter(Budget(reply_tokens=int(begun.budget["reply_tokens"])), priced=True)
    crew = crew_of(begun, parts, Silent(begun), meter, WORKERS)
    end: tuple[str, str] | None
    try:
        state = graph.build(crew).invoke({}, {"recursion_limit": RECURSION, "max_concurrency": WORKERS})
        crew.note(parts.sealed(state))
        end = ending(state)
    except Declined as error:
        end = "declined", str(error)
    except RecordEnds:
        end = None
    if end and finished and finished.status in ENDED and end != (finished.status, finished.reason):
        raise Differs(f"run_finished: was {(finished.status, finished.reason)}, the replay has {end}")
    if left := record.unplayed():
        first = left[0]
        raise Differs(
            f"{first.kind} {where_of(first)}, line {first.index + 1}: was recorded, but the replay never reached it"
            + (f"; nor {len(left) - 1} more" if len(left) > 1 else "")
        )


def _task(begun: RunStarted, run_dir: Path) -> Task:
    return make_task(begun.task, begun.options).salted(salt.kept(run_dir / "sealed"))


def _never(iteration: int, submission: Submission | None, folder: Path) -> Score:
    raise AssertionError("a strict record has the score, or raises")


def _compared(recorded: Path, rebuilt: Path) -> str:
    if not recorded.exists():
        return "not there to compare with"
    return "identical" if recorded.read_bytes() == rebuilt.read_bytes() else "differs"
