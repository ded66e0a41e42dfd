"""What a batch job does: `python -m agents.batch.job FOLDER` carries out a command, and continues it in the next job.

The command is that of a run or of a study. Shortly before the job's time is up it is stopped as by Ctrl-C, so that its
trace is whole; then the batch system is asked for another job, in which a run is resumed, and the same command
continues a study. Killed jobs (a failing node, preemption) continue in the same way: nothing is paid for twice. The
folder holds `job.json` (this module's `Job`), the script of the batch system and the log; no key is in any of them.
"""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from pydantic import Field

from agents.trace.store import TRACE
from tools.contract import Frozen

POINTER = "batch.json"  # in the folder of a run that a job began: where the job's files are
JOB, SCRIPT, LOG = "job.json", "job.sh", "job.log"
MARGIN = 120  # seconds before the end of a job at which its command is stopped
PATIENCE = 60.0  # seconds that a command may take to stop
CONTINUE = 85  # exit status that asks the batch system for another job; HTCondor's usual number for a checkpoint
# Exit statuses of a command that another job may change: service or sandbox lost, quota spent, stopped, killed.
UNFINISHED = (5, 7, 128 + signal.SIGINT, 128 + signal.SIGTERM, 128 + signal.SIGKILL)
WAITING = 8  # exit status of a run that waits for a person's answer
PROGRAM = ("-c", "from agents.cli.main import main; main()")


class Job(Frozen):
    """A command of beamcrew to carry out in at most `jobs` batch jobs of `seconds` each."""

    first: list[str] = Field(description="the command, without `beamcrew`")
    again: list[str] = Field(description="the command that continues")
    run: str | None = Field(None, description="folder of the run; none for a study")
    seconds: float = Field(gt=MARGIN, description="wall time of a job")
    jobs: int = Field(1, ge=1)
    submit: list[str] = Field([], description="the command that submits it, once more too")


def begun(run: str | None) -> bool:
    """Return whether there is a run to resume: a job may have been killed before it wrote the first line of a trace."""
    trace = Path(run, TRACE) if run else None
    return trace is not None and trace.exists() and b"\n" in trace.read_bytes()


def job_of(run: Path) -> Job | None:
    """Return the batch job that a run belongs to; None if it belongs to none, or its files are gone."""
    try:
        folder = Path(json.loads((run / POINTER).read_text())["folder"])
        return Job.model_validate_json((folder / JOB).read_bytes())
    except (OSError, ValueError, KeyError, TypeError):
        return None


def carry_out(job: Job, began: float, execute: Callable[[Sequence[str], float], int]) -> int:
    """Carry out what is left of the command until the job, which began at `began` (Unix time), is nearly over.

    Return the command's exit status, or CONTINUE if another job may finish it. `execute` runs a command of beamcrew
    for at most so many seconds.
    """
    words = job.again if begun(job.run) else job.first
    code = execute(words, began + job.seconds - MARGIN - time.time())
    return CONTINUE if code in UNFINISHED else code


def execute(words: Sequence[str], seconds: float) -> int:
    """Run a command of beamcrew, stop it when its time is up, and return its exit status (128 + n for signal n)."""
    process = subprocess.Popen([sys.executable, *PROGRAM, *words], stdin=subprocess.DEVNULL)
    stopping = {number: signal.signal(number, lambda *_: process.send_signal(signal.SIGINT)) for number in STOPS}
    try:
        code = _wait(process, max(0.0, seconds))
    finally:
        for number, handler in stopping.items():
            signal.signal(number, handler)
    return 128 - code if code < 0 else code


STOPS = (signal.SIGTERM, signal.SIGINT)  # a batch system announces the end of a job so


def _wait(process: subprocess.Popen[bytes], seconds: float) -> int:
    try:
        return process.wait(seconds)
    except subprocess.TimeoutExpired:
        print("the job's time is up: stopping; another job continues", flush=True)
        process.send_signal(signal.SIGINT)
    try:
        return process.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()


def main(argv: Sequence[str]) -> int:
    began = time.time()
    (folder,) = argv
    job = Job.model_validate_json(Path(folder, JOB).read_bytes())
    number = int(os.environ.get("BEAMCREW_JOB", "1"))
    print(f"job {number} of at most {job.jobs}", flush=True)
    code = carry_out(job, began, execute)
    if job.run and Path(job.run).is_dir():
        (Path(job.run) / POINTER).write_text(json.dumps({"folder": str(Path(folder).resolve())}) + "\n")
    if code == WAITING:
        print(f"it waits for a person: beamcrew approve {job.run}; then: {shlex.join(job.submit)}", flush=True)
    if code == CONTINUE and number >= job.jobs:
        print(f"not finished after {number} jobs; to continue: beamcrew {' '.join(job.again)}", flush=True)
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
