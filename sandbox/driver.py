"""The interface of sandbox drivers: one method `exec`, a read-only input folder and a writable workspace.

Paths inside are the same for every driver, so that a recorded command means the same everywhere:

    /inputs      read-only, the task's input files
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
TEMPORARY = "/run/beamcrew"  # one folder per command, in a container that several share
Kind = Literal["auto", "docker", "podman", "apptainer", "bubblewrap"]
Gpu = Literal["auto", "none", "insist"]  # insist: even if passing it in has known security holes


class SandboxLost(RuntimeError):  # noqa: N818 - it is the sandbox that is lost, not the command that failed
    """The sandbox itself failed (engine gone, container killed, disk full): for the operator, never a result."""


class Frozen(BaseModel):
    """A model whose values cannot be changed; unknown fields are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Limits(Frozen):
    """Limits of a run. Exceeding one ends the command, without harm to the host."""

    memory_mib: int = Field(6144, ge=64)
    cpus: float = Field(2.0, gt=0)
    processes: int = Field(256, ge=1)
    open_files: int = Field(1024, ge=16)
    file_mib: int = Field(1024, ge=1, description="maximum size of a file")
    workspace_mib: int = Field(4096, ge=1, description="maximum total size of the workspace")
    tmp_mib: int = Field(512, ge=1, description="size of the tmpfs on /tmp")
    seconds: float = Field(900.0, gt=0, description="maximum wall time of a command")
    output_kib: int = Field(256, ge=1, description="maximum output kept, for each of stdout and stderr")


class ExecResult(Frozen):
    """The result of a command. `ended` is 'exit' unless a limit ended it."""

    exit_code: int
    stdout: str
    stderr: str
    dropped_bytes: int = Field(0, description="bytes of output beyond the cap, discarded")
    seconds: float
    peak_mib: float | None = Field(
        None,
        description="peak memory: of all its processes together (bubblewrap), or of the largest (containers)",
    )
    ended: str = Field("exit", description="exit | timeout | memory | processes | workspace")

    @property
    def ok(self) -> bool:
        return self.exit_code == 0 and self.ended == "exit"


class SandboxInfo(Frozen):
    """The driver in use and the reason for it, for the trace and the report."""

    driver: str
    version: str
    image: str | None = Field(None, description="exactly this image; none for bubblewrap")
    gpu: str | None = None
    reason: str = Field(description="why this driver was chosen")
    limits: Limits


class Sandbox(Protocol):
    """The sandbox of one run. Drivers are context managers; leaving one ends everything that runs in it."""

    @property
    def info(self) -> SandboxInfo: ...

    @property
    def workspace(self) -> Path:
        """The workspace as the host sees it. Read it only through `sandbox.reader`."""
        ...

    def exec(self, argv: Sequence[str], *, cwd: str = WORKSPACE, seconds: float | None = None) -> ExecResult:
        """Run a command to its end, without shell or standard input; `seconds` can tighten the time limit.

        `cwd` lies in /workspace and is created if missing. Raises SandboxLost if the sandbox failed, ValueError for a
        cwd outside the workspace. A failing command raises nothing.
        """
        ...

    def close(self) -> None: ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None: ...
