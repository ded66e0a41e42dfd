"""Runs as handles: a process for each, which can be started, looked at and stopped. A handle is the name of a run."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any, NamedTuple

from agents.runs.process import Order
from agents.view.library import Library, UnknownRun
from sandbox import owner
from tools.contract import ToolError

PROCESS, LOG = "process.json", "process.log"  # in the folder of a run: which process it is, and what it printed
AT_ONCE = 4  # runs of one server
GRACE = 20.0  # seconds in which a stopped run can write its report


class Handle(NamedTuple):
    """A run that a client may name."""

    name: str
    run_dir: Path
    begun: bool  # it has a trace
    alive: bool  # its process works on it, if it was started here or by another such server


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
            mine = {"pid": process.pid, "began": owner.began(process.pid)}
            (order.run_dir / PROCESS).write_text(json.dumps(mine))
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
        return Handle(name, run_dir, True, not gone and self._lives(run_dir))

    def starting(self) -> list[Handle]:
        """Return the runs of this server that have no trace yet, or never had one."""
        with self._lock:
            names = list(self._started)
        return [handle for handle in map(self.find, names) if not handle.begun]

    def cancel(self, name: str) -> None:
        """Stop a run and wait for its end. Raises ToolError for a run that was not started by such a server."""
        handle = self.find(name)
        if not handle.alive:
            if not (handle.run_dir / PROCESS).is_file():
                raise ToolError("handle", name, "a run that was started as a process by beamcrew mcp or view")
            return
        pid = _process(handle.run_dir)["pid"]
        for number in (signal.SIGTERM, signal.SIGKILL):  # the second one is for a run that does not end
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
            deadline = time.monotonic() + GRACE
            while time.monotonic() < deadline:
                if not self.find(name).alive:
                    return
                time.sleep(0.05)

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
        mine = _process(run_dir)
        return bool(mine) and owner.lives(mine["pid"], mine["began"])


def _process(run_dir: Path) -> dict[str, Any]:
    with contextlib.suppress(OSError, ValueError):
        found = json.loads((run_dir / PROCESS).read_text())
        if isinstance(found, dict) and isinstance(found.get("pid"), int) and isinstance(found.get("began"), str):
            return found
    return {}
