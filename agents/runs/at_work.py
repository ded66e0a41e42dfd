"""Which process carries out a run: `process.json` in its folder, so that another one can find and stop it.

A process is known by its number, its start and its kernel: on another machine, or after a reboot, it is nobody's.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from pydantic import Field, ValidationError

from sandbox import owner
from tools.contract import Frozen
from tools.files import write_whole

FILE = "process.json"


class Worker(Frozen):
    """The process that carries out a run."""

    pid: int
    began: str = Field(description="clock ticks from boot to its start")
    here: str = Field(description="boot and PID namespace in which the number means something")
    alone: bool = Field(description="it carries out this run and nothing else: it may be killed, and ends with the run")

    @property
    def lives(self) -> bool:
        """True if it works on this machine now."""
        return self.here == owner.here() and owner.lives(self.pid, self.began)


def mark(run_dir: Path, pid: int, alone: bool) -> None:
    """Write into a run's folder which process works on it, unless that process has been named already."""
    new = Worker(pid=pid, began=owner.began(pid), here=owner.here(), alone=alone)
    old = worker_of(run_dir)
    if old is None or old.model_copy(update={"alone": alone}) != new:
        write_whole(run_dir / FILE, (new.model_dump_json() + "\n").encode())


def unmark(run_dir: Path) -> None:
    """Take this process's name back, if it goes on without the run."""
    mine = worker_of(run_dir)
    if mine and mine.pid == os.getpid() and not mine.alone:
        (run_dir / FILE).unlink(missing_ok=True)


def worker_of(run_dir: Path) -> Worker | None:
    """Return the process that works on a run, or did when it was killed; None if nobody knows it."""
    with contextlib.suppress(OSError, ValidationError):
        return Worker.model_validate_json((run_dir / FILE).read_bytes())
    return None
