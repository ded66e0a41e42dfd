"""`cell.jsonl` in a cell's folder: its study and every start and end; locked while a process works on the cell.

The lock is the kernel's (flock): it is released with the process that holds it, however that ends. On a cluster the
folder must be on a file system whose locks work across machines, such as NFS version 4 or Lustre with `-o flock`.
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
    """Another process is working on this cell."""


class Ledger:
    """The locked record of a cell. Raises Busy if another process holds it."""

    def __init__(self, run_dir: Path) -> None:
        run_dir.mkdir(parents=True, exist_ok=True)
        self._run_dir, self._path = run_dir, run_dir / LEDGER
        self._fd = os.open(self._path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._fd)
            raise Busy(f"{run_dir}: another process is working on this cell") from None

    def lines(self) -> list[dict[str, Any]]:
        """Return the entries; an incomplete last line, cut short by a crash, is left out."""
        return [json.loads(line) for line in self._path.read_bytes().split(b"\n")[:-1] if _whole(line)]

    def begin(self, study: str, cell: str, seed: int) -> None:
        """Record that work on the cell starts here and now."""
        where = {"host": socket.gethostname(), "pid": os.getpid(), "headway": headway(self._run_dir)}
        self._append({"started": time.time(), "study": study, "cell": cell, "seed": seed} | where)

    def end(self, status: str) -> None:
        """Record how the start ended."""
        self._append({"ended": time.time(), "status": status})

    def forgive(self) -> None:
        """Stop counting earlier losses."""
        self._append({"forgiven": time.time()})

    def starts(self) -> int:
        """Return the number of starts of the cell."""
        return sum("started" in line for line in self.lines())

    def losses(self) -> int:
        """Count fruitless starts: the service or sandbox was lost, or the process was killed without any headway.

        Losing the machine while the run makes progress does not count, or a preempting cluster would use up the
        attempts. If every start is killed at the same point, the cell is to blame (memory, say), and it counts.
        """
        lost, begun = 0, None
        for line in [*self.lines(), {"headway": headway(self._run_dir)}]:
            if begun is not None and "headway" in line:  # a new start, or now: the previous one has no recorded end
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
    """Return the progress of the run in a folder: its number of events, without those of sessions; 0 without one."""
    try:
        return sum(not of_session(event) for event in read_trace(run_dir))
    except TraceError:
        return 0


def _whole(line: bytes) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except ValueError:
        return False
