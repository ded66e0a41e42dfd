"""The workbench of the workers: a sandbox with files written to it before a command and read from it afterwards."""

from __future__ import annotations

import contextlib
import math
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import Self

from agents.crew.budget import GO_ON, BudgetSpent
from agents.trace.bench import place
from agents.trace.where import Where
from sandbox.driver import WORKSPACE, ExecResult, Sandbox, SandboxInfo, SandboxLost
from sandbox.reader import read_bytes
from sandbox.writer import write_bytes

RENEWALS = 10  # per session of a run; code that can break sandboxes must not do so for ever


class Nowhere:
    """The `Bench` of a replay: a workspace for recorded files, without a sandbox."""

    def __init__(self, workspace: Path) -> None:
        workspace.mkdir(parents=True)
        self._workspace = workspace

    @property
    def workspace(self) -> Path:
        return self._workspace

    def run(
        self,
        where: Where,
        argv: Sequence[str],
        *,
        cwd: str = WORKSPACE,
        files: Mapping[str, bytes] | None = None,
        seconds: float | None = None,
    ) -> ExecResult:
        raise SandboxLost("a replay has no sandbox")

    def read(self, relative: str, max_bytes: int) -> bytes:
        return read_bytes(self.workspace, relative, max_bytes)

    def renew(self) -> SandboxInfo | None:
        return None

    def wait(self, seconds: float) -> bool:
        return False


class Workbench:
    """The live `Bench`: a sandbox driver with the strict reader and writer of its workspace.

    When the sandbox is lost, `fresh` makes its replacement; without `fresh` it is not replaced. Workers share the
    bench, and the sandbox is renewed once for all of them.
    """

    def __init__(self, sandbox: Sandbox, fresh: Callable[[], Sandbox] | None = None) -> None:
        self._sandbox, self._fresh = sandbox, fresh
        self._lost = False
        self._renewals = 0
        self._lock = threading.RLock()  # held while a sandbox is renewed, so that nobody works meanwhile
        self._closed = threading.Event()
        self._seconds_left: Callable[[], float] = lambda: math.inf

    def keep_to(self, seconds_left: Callable[[], float]) -> None:
        """Limit commands to the run's remaining time [s]: one cut off by that limit raises BudgetSpent."""
        self._seconds_left = seconds_left

    @property
    def sandbox(self) -> Sandbox:
        """The sandbox in which commands run now."""
        return self._sandbox

    @property
    def workspace(self) -> Path:
        return self._sandbox.workspace

    def run(
        self,
        where: Where,
        argv: Sequence[str],
        *,
        cwd: str = WORKSPACE,
        files: Mapping[str, bytes] | None = None,
        seconds: float | None = None,
    ) -> ExecResult:
        folder = place(cwd)
        with self._lock:
            sandbox = self._sandbox
        try:
            for name, data in (files or {}).items():
                write_bytes(self.workspace, str(PurePosixPath(folder, name)), data)
        except OSError as error:  # hostile files raise UnsafeFile; this is a fault of the operator's disk
            raise SandboxLost(f"the workspace cannot be written: {error}") from error
        wall = sandbox.info.limits.seconds if seconds is None else seconds
        left = self._seconds_left()
        if left <= 0:
            raise BudgetSpent(f"budget spent before {where}: no wall time is left; {GO_ON}")
        try:
            result = sandbox.exec(argv, cwd=cwd, seconds=min(wall, left))
        except SandboxLost:
            with self._lock:
                self._lost |= sandbox is self._sandbox
            raise
        if result.ended == "timeout" and left < wall:
            raise BudgetSpent(f"budget spent in {where}: it was cut off after {left:.3g} seconds; {GO_ON}")
        return result

    def renew(self) -> SandboxInfo | None:
        with self._lock:
            if not self._lost:
                return None
            if self._fresh is None or self._closed.is_set() or self._renewals >= RENEWALS:
                raise SandboxLost(f"the sandbox is lost, after {self._renewals} renewals in this session")
            self._sandbox.close()  # processes still in it must not write into the workspace while it is restored
            try:
                self._sandbox = self._fresh()
            except OSError as error:
                raise SandboxLost(f"no fresh sandbox can be started: {error}") from error
            self._lost = False
            self._renewals += 1
            if self._closed.is_set():  # while it was being made
                self.close()
            return self._sandbox.info

    def wait(self, seconds: float) -> bool:
        return self._fresh is not None and not self._closed.wait(seconds)

    def close(self) -> None:
        """Stop everything for good: running commands raise SandboxLost and the sandbox is not renewed.

        Takes no lock, since a signal handler cannot wait for others to release it.
        """
        self._closed.set()
        with contextlib.suppress(SandboxLost):  # it ends with this process anyway
            self._sandbox.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def read(self, relative: str, max_bytes: int) -> bytes:
        return read_bytes(self.workspace, relative, max_bytes)
