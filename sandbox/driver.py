"""What every sandbox driver offers: one verb `exec` over a read-only input folder and a writable workspace.

Inside, paths are the same for every driver, so that a recorded command means the same everywhere:

    /inputs      read-only, what the task hands out
    /workspace   writable, bounded; the only place from which files come back
    /opt/beamcrew/tools   the tools package, on PYTHONPATH
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Literal, Protocol, Self

from pydantic import BaseModel, ConfigDict, Field

INPUTS = "/inputs"
WORKSPACE = "/workspace"
TOOLS_ROOT = "/opt/beamcrew"
TEMPORARY = "/run/beamcrew"  # in a container, which several commands share: a folder for each of them
Kind = Literal["auto", "docker", "bubblewrap"]
Gpu = Literal["auto", "none", "insist"]  # insist: even where the way it is handed in has known holes


class SandboxLost(RuntimeError):  # noqa: N818 - it is the sandbox that is lost, not the command that failed
    """The sandbox itself failed (engine gone, container killed, disk full): for the operator, never a result."""


class Limits(BaseModel):
    """What a run may use. Exceeding one ends the command, never the host."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    memory_mib: int = Field(6144, ge=64)
    cpus: float = Field(2.0, gt=0)
    processes: int = Field(256, ge=1)
    open_files: int = Field(1024, ge=16)
    file_mib: int = Field(1024, ge=1, description="largest single file")
    workspace_mib: int = Field(4096, ge=1, description="all files of the workspace together")
    tmp_mib: int = Field(512, ge=1, description="size of the tmpfs on /tmp")
    seconds: float = Field(900.0, gt=0, description="wall time of one command")
    output_kib: int = Field(256, ge=1, description="kept of each of stdout and stderr")


class ExecResult(BaseModel):
    """How a command ended. `ended` is 'exit' unless a limit ended it."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    exit_code: int
    stdout: str
    stderr: str
    dropped_bytes: int = Field(0, description="output beyond the cap, counted and thrown away")
    seconds: float
    peak_mib: float | None = Field(
        None,
        description="most memory that its processes were seen to use together (bubblewrap) or one used (Docker)",
    )
    ended: str = Field("exit", description="exit | timeout | memory | processes | workspace")

    @property
    def ok(self) -> bool:
        return self.exit_code == 0 and self.ended == "exit"


class SandboxInfo(BaseModel):
    """Which driver runs, and why: goes into the trace and the report."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    driver: str
    version: str
    image: str | None = Field(None, description="image digest, Docker only")
    gpu: str | None = None
    reason: str = Field(description="why this driver was taken")
    limits: Limits


class Sandbox(Protocol):
    """One run's sandbox. Drivers are context managers; leaving one ends everything that runs in it."""

    @property
    def info(self) -> SandboxInfo: ...

    @property
    def workspace(self) -> Path:
        """The workspace as the host sees it. Read it only through `sandbox.reader`."""
        ...

    def exec(self, argv: Sequence[str], *, cwd: str = WORKSPACE, seconds: float | None = None) -> ExecResult:
        """Run a command to its end (no shell, no standard input); `seconds` tightens the wall limit.

        `cwd` lies in /workspace and is made when it is not there. Raises SandboxLost when the
        sandbox failed, ValueError for a cwd outside the workspace. A failing command raises nothing.
        """
        ...

    def close(self) -> None: ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None: ...
