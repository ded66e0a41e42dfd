"""What is sealed is what was graded, whatever becomes of the workspace; and the claim keeps to the budget."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from scripted import STARTED

from agents.crew.budget import Budget, BudgetSpent, Meter
from agents.runs.workbench import Workbench
from agents.trace import files
from agents.trace.graded import kept, laid_out
from agents.trace.record import Record
from agents.trace.recorders import RecordedGrader
from agents.trace.store import Store
from agents.trace.verify import verified
from sandbox.driver import ExecResult, Limits
from tasks.lhco.claims import SearchSubmission
from tasks.score import Score

SUBMISSION = SearchSubmission(scores="i0/fit/scores.parquet", reference_scores="i0/fit/reference.parquet")


def swap_parent(folder: Path) -> None:
    folder.rename(folder.with_name("away"))
    folder.symlink_to("/")


HARM: dict[str, Callable[[Path], Any]] = {
    "written over": lambda folder: (folder / "scores.parquet").write_bytes(b"later"),
    "removed": lambda folder: (folder / "scores.parquet").unlink(),
    "linked": lambda folder: (folder / "second").hardlink_to(folder / "scores.parquet"),
    "a pipe": lambda folder: ((folder / "scores.parquet").unlink(), __import__("os").mkfifo(folder / "scores.parquet")),
    "parent swapped": swap_parent,
}


@pytest.mark.parametrize("harm", HARM.values(), ids=HARM.keys())
def test_graded_files_are_sealed_whatever_becomes_of_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, harm: Callable[[Path], Any]
) -> None:
    monkeypatch.setattr(files, "FILE_MAX", 3)  # too big for the record of the command that made them
    folder = tmp_path / "workspace" / "i0/fit"
    folder.mkdir(parents=True)
    (folder / "scores.parquet").write_bytes(b"graded")
    (folder / "reference.parquet").write_bytes(b"beside")

    def grade(iteration: int, submission: SearchSubmission | None, shown: Path) -> Score:
        assert submission is not None
        found = sorted(path.name for path in shown.rglob("*") if path.is_file())
        assert found == ["reference.parquet", "scores.parquet"]  # and nothing that code has put beside them
        return Score(metric="m", value=1.0, reason=(shown / submission.scores).read_text())

    (folder / "other").write_bytes(b"")
    with Store.create(tmp_path / "run") as store:
        store.append(STARTED)
        RecordedGrader(grade, store, Record(), tmp_path / "workspace").grade(0, SUBMISSION)
        harm(folder)
        with laid_out(store, kept(store.events(), 0)) as sealed:
            assert (sealed / SUBMISSION.scores).read_bytes() == b"graded"
            assert (sealed / str(SUBMISSION.reference_scores)).read_bytes() == b"beside"
        assert not list((tmp_path / "run").glob(".graded*"))
    verified(tmp_path / "run")


class Slow:
    """A sandbox whose commands take all the time that they are given."""

    def __init__(self, workspace: Path) -> None:
        self.workspace, self.info = workspace, SimpleNamespace(limits=Limits(seconds=100))
        self.given: list[float] = []

    def exec(self, argv: Any, *, cwd: str, seconds: float) -> ExecResult:
        self.given.append(seconds)
        return ExecResult(exit_code=137, stdout="", stderr="", seconds=seconds, ended="timeout")

    def close(self) -> None: ...


def test_no_command_runs_longer_than_the_run_has_time_left(tmp_path: Path) -> None:
    clock = [0.0]
    meter = Meter(Budget(seconds=150), priced=True, clock=lambda: clock[0])
    bench = Workbench(slow := Slow(tmp_path))  # type: ignore[arg-type]
    assert bench.run("w", ["x"]).ended == "timeout"  # its own limit: a result like others
    bench.keep_to(meter.seconds_left)
    assert bench.run("w", ["x"]).ended == "timeout"
    clock[0] = 120.0
    with pytest.raises(BudgetSpent, match="cut off after 30 seconds"):
        bench.run("claim/w", ["x"])
    clock[0] = 151.0
    with pytest.raises(BudgetSpent, match="no wall time is left"):
        bench.run("claim/w", ["x"])
    assert slow.given == [100, 100, 30]
    assert Meter(Budget(), priced=True).seconds_left() == math.inf
