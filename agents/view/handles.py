"""Runs as handles: a process for each, which can be started, looked at and stopped. A handle is the name of a run."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import NamedTuple

from agents.runs.at_work import mark, worker_of
from agents.runs.process import Order
from agents.trace.store import at_work
from agents.view.library import Library, UnknownRun
from tools.contract import ToolError

LOG = "process.log"  # in the folder of a run: what its process printed
AT_ONCE = 4  # runs of one server
GRACE = 20.0  # seconds in which a stopped run can write its report


class Handle(NamedTuple):
    """A run that a client may name."""

    name: str
    run_dir: Path
    begun: bool  # it has a trace
    alive: bool  # its process works on it, on this machine


class Handles:
    """The runs below a folder, and the processes of those that were started here. Thread-safe.

    `outlive`: processes go on when the server ends.
    """

    def __init__(self, library: Library, outlive: bool = False) -> None:
        self.library, self.outlive = library, outlive
        self._started: dict[str, subprocess.Popen[bytes]] = {}
        self._lock = threading.Lock()

    def start(self, order: Order) -> Handle:
        """Start a process for a run. Raises ToolError if too many are going on."""
        with self._lock:
            if len(going := [name for name, each in self._started.items() if each.poll() is None]) >= AT_ONCE:
                raise ToolError("runs", ", ".join(going), f"at most {AT_ONCE} at once: wait, or stop one")
            order.run_dir.mkdir(parents=True, exist_ok=order.settings is None)
            with (order.run_dir / LOG).open("wb") as log:
                # -P: a file in the operator's folder must not shadow a module.
                process = subprocess.Popen(
                    [sys.executable, "-P", "-m", Order.__module__],
                    stdin=subprocess.PIPE,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,  # what ends the server's group must not cut off the end of the run
                )
            self._started[order.run_dir.name] = process
        assert process.stdin
        with contextlib.suppress(OSError):  # it has died already: its log says why
            mark(order.run_dir, process.pid, alone=True)
            process.stdin.write(order.model_dump_json().encode() + b"\n")
            process.stdin.flush()
            if self.outlive:
                process.stdin.close()
        return self.find(order.run_dir.name)

    def find(self, name: str) -> Handle:
        """Return the run of that name. Raises ToolError."""
        with self._lock:
            known = self._started.get(name)
            gone = known is not None and known.poll() is not None  # and reaped
        run_dir = self.library.folder / name
        try:
            self.library.stamp(name)
        except UnknownRun:
            if known is None:
                raise ToolError("handle", name, "a run that run_list names") from None
            return Handle(name, run_dir, False, not gone)
        return Handle(name, run_dir, True, self._lives(run_dir))

    def ours(self, name: str) -> bool:
        """Return whether the run was begun as a process here or by another such server. Raises ToolError."""
        return (self.find(name).run_dir / LOG).is_file()

    def starting(self) -> list[Handle]:
        """Return the runs of this server that have no trace yet, or never had one."""
        with self._lock:
            names = list(self._started)
        return [handle for handle in map(self.find, names) if not handle.begun]

    def cancel(self, name: str) -> None:
        """Stop a run as by Ctrl-C and wait for its end, whoever started it. Raises ToolError for one at which a process
        works that cannot be reached from here, or that does not stop."""
        handle = self.find(name)
        worker = worker_of(handle.run_dir)
        if not handle.alive or worker is None:
            if handle.begun and at_work(handle.run_dir):
                raise ToolError("handle", name, "a run whose process is on this machine")
            return
        # The second one is for a run that does not end, if nothing else is in its process.
        for number in (signal.SIGTERM, *([signal.SIGKILL] if worker.alone else [])):
            with contextlib.suppress(ProcessLookupError):
                os.kill(worker.pid, number)
            deadline = time.monotonic() + GRACE
            while time.monotonic() < deadline:
                if not self.find(name).alive:
                    return
                time.sleep(0.05)
        raise ToolError("handle", name, f"a run that stops within {GRACE:.0f} s; this one is still at it")

    def said(self, handle: Handle) -> str:
        """Return the last line that the process of a run printed."""
        with contextlib.suppress(OSError):
            lines = (handle.run_dir / LOG).read_text(errors="replace").strip().splitlines()
            return lines[-1] if lines else ""
        return ""

    def close(self) -> None:
        """Stop all runs of this server, unless they are to outlive it."""
        if self.outlive:
            return
        with self._lock:
            processes = list(self._started.values())
        for process in processes:
            process.terminate()
        deadline = time.monotonic() + GRACE
        for process in processes:
            try:
                process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            if process.stdin:
                process.stdin.close()

    def _lives(self, run_dir: Path) -> bool:
        worker = worker_of(run_dir)
        return worker is not None and worker.lives
