"""Where workers work: a sandbox into which files are put before a command and from which files are read after it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Protocol

from sandbox.driver import WORKSPACE, ExecResult, Sandbox
from sandbox.reader import read_bytes
from sandbox.writer import write_bytes


def place(cwd: str) -> str:
    """A folder as the sandbox names it (/workspace/i0/scan), relative to the workspace (i0/scan)."""
    try:
        return str(PurePosixPath(cwd).relative_to(WORKSPACE))
    except ValueError:
        raise ValueError(f"cwd must lie in {WORKSPACE}, not {cwd!r}") from None


class Bench(Protocol):
    """What a worker sees of the sandbox. Recorders have the same verbs."""

    @property
    def workspace(self) -> Path:
        """The workspace as the host sees it."""
        ...

    def run(
        self,
        where: str,
        argv: Sequence[str],
        *,
        cwd: str = WORKSPACE,
        files: Mapping[str, bytes] | None = None,
        seconds: float | None = None,
    ) -> ExecResult:
        """Write `files` (paths relative to `cwd`), run the command, wait for its end. `where` says who asks.

        Raises UnsafeFile when a file cannot be put there safely, SandboxLost when the sandbox itself failed.
        """
        ...

    def read(self, relative: str, max_bytes: int) -> bytes:
        """A regular file of the workspace. Raises UnsafeFile."""
        ...


class Workbench:
    """The live `Bench`: a sandbox driver with the strict reader and writer of its workspace."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox

    @property
    def workspace(self) -> Path:
        return self._sandbox.workspace

    def run(
        self,
        where: str,
        argv: Sequence[str],
        *,
        cwd: str = WORKSPACE,
        files: Mapping[str, bytes] | None = None,
        seconds: float | None = None,
    ) -> ExecResult:
        folder = place(cwd)
        for name, data in (files or {}).items():
            write_bytes(self.workspace, str(PurePosixPath(folder, name)), data)
        return self._sandbox.exec(argv, cwd=cwd, seconds=seconds)

    def read(self, relative: str, max_bytes: int) -> bytes:
        return read_bytes(self.workspace, relative, max_bytes)
