"""The sandbox interface of workers and recorders: files go in before a command and come out after it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Protocol

from agents.trace.where import Where
from sandbox.driver import WORKSPACE, ExecResult, SandboxInfo


def place(inside: str) -> str:
    """Return a sandbox path (/workspace/i0/scan) relative to the workspace (i0/scan). Raises ValueError outside it."""
    path = PurePosixPath(inside)
    if ".." in path.parts or not path.is_relative_to(WORKSPACE):
        raise ValueError(f"{inside!r} must lie in {WORKSPACE}")
    return str(path.relative_to(WORKSPACE))


def step_folder(iteration: int, step: str) -> str:
    """Return the folder of a step, relative to the workspace."""
    return f"i{iteration}/{step}"


class Bench(Protocol):
    """The sandbox as a worker sees it. Recorders have the same methods."""

    @property
    def workspace(self) -> Path:
        """Path of the workspace on the host."""
        ...

    def run(
        self,
        where: Where,
        argv: Sequence[str],
        *,
        cwd: str = WORKSPACE,
        files: Mapping[str, bytes] | None = None,
        seconds: float | None = None,
    ) -> ExecResult:
        """Write `files` (paths relative to `cwd`), run the command and wait for it to finish. `where` says who asks.

        Raises UnsafeFile when a file cannot be written safely, SandboxLost when the sandbox itself failed, and
        BudgetSpent when the run's wall time is used up.
        """
        ...

    def read(self, relative: str, max_bytes: int) -> bytes:
        """Read a regular file of the workspace. Raises UnsafeFile."""
        ...

    def renew(self) -> SandboxInfo | None:
        """Ensure that there is a sandbox. Return a fresh one's info; None if the old one works or another worker
        has renewed it.

        Raises SandboxLost when no sandbox can be started.
        """
        ...

    def wait(self, seconds: float) -> bool:
        """Give the host this time to recover; return False at once when there is no point in trying again."""
        ...
