"""`cell.jsonl` in the folder of a cell: which study it belongs to, every start and end; locked while it is worked on.

The lock is the kernel's (flock): it goes with the process that held it, however that ended. On a cluster the folder
must lie on a file system whose locks hold between machines, as NFS of version 4 and Lustre with `-o flock` have it.
"""

from __future__ import annotations

import fcntl
import json
import os
import socket
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from agents.trace.record import of_session
from agents.trace.store import TraceError, read_trace

LEDGER = "cell.jsonl"


class Busy(RuntimeError):  # noqa: N818 - nothing went wrong
    """Another process is at work on this cell."""


class Ledger:
    """The locked record of a cell. Raises Busy where another process holds it."""

    def __init__(self, run_dir: Path) -> None:
        run_dir.mkdir(parents=True, exist_ok=True)
        self._run_dir, self._path = run_dir, run_dir / LEDGER
        self._fd = os.open(self._path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._fd)
            raise Busy(f"{run_dir}: another process is at work on this cell") from None

    def lines(self) -> list[dict[str, Any]]:
        """What is written; a last line that a crash cut short is left out."""
        return [json.loads(line) for line in self._path.read_bytes().split(b"\n")[:-1] if _whole(line)]

    def begin(self, study: str, cell: str, seed: int) -> None:
        """Note that work on the cell starts here and now."""
        where = {"host": socket.gethostname(), "pid": os.getpid(), "headway": headway(self._run_dir)}
        self._append({"started": time.time(), "study": study, "cell": cell, "seed": seed} | where)

    def end(self, status: str) -> None:
        """Note how it ended."""
        self._append({"ended": time.time(), "status": status})

    def forgive(self) -> None:
        """Let what was lost before not count any more."""
        self._append({"forgiven": time.time()})

    def starts(self) -> int:
        """How often the cell was started."""
        return sum("started" in line for line in self.lines())

    def losses(self) -> int:
        """Starts that came to nothing: the service or sandbox was lost, or the process was killed without any headway.

        A machine that is taken away while the run gets on is no loss: else a cluster that preempts would use up the
        attempts. Where each start is killed at the same place the cell is to blame (memory, say), and it counts.
        """
        lost, begun = 0, None
        for line in [*self.lines(), {"headway": headway(self._run_dir)}]:
            if begun is not None and "headway" in line:  # the start after it, or now: it had no end
                lost += line["headway"] <= begun
            begun = line["headway"] if "started" in line else None
            lost = 0 if "forgiven" in line else lost + (line.get("status") == "lost")
        return lost

    def _append(self, line: dict[str, Any]) -> None:
        end = self._path.read_bytes()
        cut = "" if not end or end.endswith(b"\n") else "\n"
        os.write(self._fd, f"{cut}{json.dumps(line)}\n".encode())
        os.fsync(self._fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        os.close(self._fd)


def headway(run_dir: Path) -> int:
    """How far the run in a folder is: its events, formalities left out."""
    try:
        return sum(not of_session(event) for event in read_trace(run_dir))
    except TraceError:
        return 0


def _whole(line: bytes) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except ValueError:
        return False
