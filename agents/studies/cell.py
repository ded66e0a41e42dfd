"""Carry out one cell of a study in a process of its own: `python -m agents.studies.cell FOLDER CELL`.

Whatever happened before, the same command continues: a finished cell is left alone, a started one is resumed from its
trace, so that nothing is paid for twice. A lock prevents two processes from working on one cell. The process ends when
its standard input closes, so that it does not outlive its parent.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import sys
import threading
import time
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

from agents.backends.base import Backend, Quota
from agents.backends.select import choose_backend
from agents.runs import run as runs
from agents.studies.cells import Cell, find_cell, options_of, salt_of
from agents.studies.ledger import LEDGER, Busy, Ledger
from agents.studies.outcome import OUTCOME, write_outcome
from agents.studies.read import outcome_of
from agents.studies.rests import rest, resting
from agents.studies.study import STUDY, Arm, Study
from agents.trace.report import write_report
from agents.trace.result import ENDED, RunResult, build_result
from agents.trace.store import TRACE, read_trace
from sandbox.driver import Kind, Limits
from tasks import salt

LOG = "cell.log"
DONE, WRONG, LOST, SPENT, BUSY, INTERRUPTED = 0, 2, 5, 7, 75, 130  # exit statuses, like those of the commands
PAUSE = 3.0  # seconds before a cell that is locked, or lost its service, may be retried


def backend_of(arm: Arm) -> Backend:
    """Return the backend of an arm. Raises ValueError if it cannot work here: no key, no model, no library."""
    spec = f"local:{arm.model}" if arm.kind == "local" else arm.kind
    return choose_backend(
        spec,
        model=arm.model,
        base_url=arm.base_url,
        api_key_env=arm.api_key_env,
        price=arm.price,
        timeout=arm.timeout,
        pictures=arm.pictures,
    )


def carry_out(folder: Path, name: str, data: str | None = None, sandbox: Kind = "auto") -> int:
    """Work on a cell until it has an outcome, is stopped or lost, or its service has no quota left.

    Return the exit status. A spent quota is no loss: it counts for no attempt, and the service rests for all cells.
    Raises Busy, and ValueError for what only the operator can fix (such as a missing file or key).
    """
    study = Study.model_validate_json((folder / STUDY).read_bytes())
    cell, run_dir = find_cell(study, name), folder / name
    with Ledger(run_dir) as ledger:
        if (run_dir / OUTCOME).exists():
            return DONE
        if ledger.losses() < study.attempts:
            if resting(folder, cell.arm):
                return SPENT
            ledger.begin(study.sha256(), name, cell.seed)
            status, quota = "refused", None
            try:
                status, quota = _ending(study, cell, run_dir, salt_of(salt.kept(folder), cell), data, sandbox)
            finally:
                ledger.end("spent" if quota else status)
            if quota:
                rest(folder, cell.arm, quota)
                return SPENT
            if status == "interrupted":
                return INTERRUPTED
            if status == "lost" and ledger.losses() < study.attempts:
                return LOST
        write_outcome(run_dir, outcome_of(run_dir, cell, study, ledger.starts()))
    return DONE


def _ending(
    study: Study, cell: Cell, run_dir: Path, secret: str, data: str | None, sandbox: Kind
) -> tuple[str, Quota | None]:
    """Run a cell; return its status, and the quota if it was lost for lack of one.

    A run that cannot even start or finish is lost, not a result of the crew.
    """
    try:
        status = _run(study, cell, run_dir, secret, data, sandbox).status
        _, ended = runs.beginning(run_dir)
        return status, ended.quota if ended else None
    except ValueError:
        raise
    except Exception:
        traceback.print_exc()
        return "lost", None


def _run(study: Study, cell: Cell, run_dir: Path, secret: str, data: str | None, sandbox: Kind) -> RunResult:
    """Start or resume the run, or read its result if it has ended."""
    backend = backend_of(cell.arm)
    if not _begun(run_dir):
        settings = runs.Settings(
            request=study.wordings[cell.wording],
            task=study.task,
            options=options_of(study, cell, data),
            sandbox=sandbox,
            gpu=study.gpu,
            limits=Limits(cpus=study.cpus),
            budget=study.budget_of(cell.arm),
            seed=cell.seed,
            temperature=study.temperature,
            effort=cell.arm.effort,
            reviewer=cell.arm.reviewer,
            workers=1,
            salt=secret,
        )
        return runs.start(settings, backend, run_dir, keys_in=[cell.arm.api_key_env])
    _, ended = runs.beginning(run_dir)
    if ended and ended.status in (*ENDED, "budget"):
        if not (run_dir / "result.json").exists():
            write_report(run_dir)
        return build_result(run_dir)
    return runs.resume(run_dir, backend, workers=1, keys_in=[cell.arm.api_key_env])


def _begun(run_dir: Path) -> bool:
    """Return True if there is a trace; else remove the remains of a process killed before it wrote one."""
    path = run_dir / TRACE
    if path.exists() and b"\n" in path.read_bytes():
        return bool(read_trace(run_dir))
    for entry in run_dir.iterdir():
        if entry.name not in (LEDGER, LOG):
            shutil.rmtree(entry) if entry.is_dir() and not entry.is_symlink() else entry.unlink()
    return False


def _end_with_input() -> None:
    """Stop, as on Ctrl-C, when the parent process is gone or closes the pipe."""

    def wait() -> None:
        while os.read(0, 1):  # not sys.stdin: its lock would block the interpreter's exit
            pass
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=wait, daemon=True).start()


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m agents.studies.cell", description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("cell")
    parser.add_argument("--data")
    parser.add_argument("--sandbox", default="auto", choices=get_args(Kind))
    given = parser.parse_args(argv)
    _end_with_input()
    try:
        code = carry_out(given.folder, given.cell, given.data, given.sandbox)
    except Busy:
        code = BUSY
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return WRONG
    if code in (BUSY, LOST):
        time.sleep(PAUSE)
    return code


if __name__ == "__main__":
    sys.exit(main())
