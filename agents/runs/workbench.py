"""Where workers work: a sandbox into which files are put before a command and from which files are read after it."""

from __future__ import annotations

import contextlib
import math
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import Self

from agents.crew.budget import BudgetSpent
from agents.trace.bench import place
from agents.trace.where import Where
from sandbox.driver import WORKSPACE, ExecResult, Sandbox, SandboxInfo, SandboxLost
from sandbox.reader import read_bytes
from sandbox.writer import write_bytes

GO_ON = "raise the limit and resume the run to go on"
RENEWALS = 10  # in one session of a run; code that can break sandboxes must not do so for ever


class Nowhere:
    """The `Bench` of a replay: a workspace into which recorded files are put, and no sandbox."""

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

    When the sandbox is lost, `fresh` makes the one that takes over; without it, what is lost is lost. Workers share
    the bench, and the sandbox is renewed once for all of them.
    """

    def __init__(self, sandbox: Sandbox, fresh: Callable[[], Sandbox] | None = None) -> None:
        self._sandbox, self._fresh = sandbox, fresh
        self._lost = False
        self._renewals = 0
        self._lock = threading.RLock()  # held while a sandbox is renewed: nobody works meanwhile
        self._closed = threading.Event()
        self._seconds_left: Callable[[], float] = lambda: math.inf

    def keep_to(self, seconds_left: Callable[[], float]) -> None:
        """From now on no command runs longer than the run has time left: BudgetSpent ends it then."""
        self._seconds_left = seconds_left

    @property
    def sandbox(self) -> Sandbox:
        """The one that commands run in now."""
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
        except OSError as error:  # hostile files make it an UnsafeFile: this is the operator's disk
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
                raise SandboxLost(f"the sandbox is lost, after {self._renewals} times that a fresh one took over")
            self._sandbox.close()  # whatever still runs in it must not write into a workspace that is put right
            try:
                self._sandbox = self._fresh()
            except OSError as error:
                raise SandboxLost(f"no fresh sandbox can be made: {error}") from error
            self._lost = False
            self._renewals += 1
            if self._closed.is_set():  # while it was being made
                self.close()
            return self._sandbox.info

    def wait(self, seconds: float) -> bool:
        return self._fresh is not None and not self._closed.wait(seconds)

    def close(self) -> None:
        """End everything that runs, for good: its commands come back as SandboxLost and nothing is renewed.

        Takes no lock, as a signal handler has no time for others to let go of it.
        """
        self._closed.set()
        with contextlib.suppress(SandboxLost):  # it ends by itself when this process does
            self._sandbox.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def read(self, relative: str, max_bytes: int) -> bytes:
        return read_bytes(self.workspace, relative, max_bytes)
