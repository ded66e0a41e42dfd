"""Where workers work, as they and the recorders see it: files go in before a command and come out after it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Protocol

from agents.trace.where import Where
from sandbox.driver import WORKSPACE, ExecResult, SandboxInfo


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
        where: Where,
        argv: Sequence[str],
        *,
        cwd: str = WORKSPACE,
        files: Mapping[str, bytes] | None = None,
        seconds: float | None = None,
    ) -> ExecResult:
        """Write `files` (paths relative to `cwd`), run the command, wait for its end. `where` says who asks.

        Raises UnsafeFile when a file cannot be put there safely, SandboxLost when the sandbox itself failed, and
        BudgetSpent when the run's wall time is over.
        """
        ...

    def read(self, relative: str, max_bytes: int) -> bytes:
        """A regular file of the workspace. Raises UnsafeFile."""
        ...

    def renew(self) -> SandboxInfo | None:
        """Have a sandbox to work in: None when it is the one from before, or another worker has renewed it.

        Raises SandboxLost when there is none to be had.
        """
        ...

    def wait(self, seconds: float) -> bool:
        """Give the operator's machine this time to recover; False, at once, when there is no use in trying again."""
        ...
