"""The setting of the checks: sandboxes to attack, and a folder of the host that none of them may reach.

Every sandbox has its own inputs and workspace in one temporary folder, which is removed afterwards. Checks that do not
exceed limits share one sandbox with ordinary limits, `box`.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import secrets
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from sandbox.driver import ExecResult, Limits, Sandbox, SandboxLost

Opener = Callable[[Path, Path, Limits], Sandbox]  # from inputs, workspace and limits
ORDINARY = Limits(
    memory_mib=2048, processes=128, open_files=256, file_mib=256, workspace_mib=512, tmp_mib=64, seconds=60
)
EVENTS = "the events of the task\n"


class Arena:
    """The sandboxes of one driver. A context manager; leaving it closes all of them."""

    def __init__(self, open_sandbox: Opener) -> None:
        self._open = open_sandbox
        self._stack = contextlib.ExitStack()
        self._check = contextlib.ExitStack()
        folder = self._stack.enter_context(
            tempfile.TemporaryDirectory(prefix="beamcrew-conformance-", ignore_cleanup_errors=True)
        )
        self._folder = Path(folder)
        self._numbers = itertools.count()
        self._shared: Sandbox | None = None
        self.inputs = Path()
        self.scratch = self._folder / "host"
        self.scratch.mkdir()
        self.secret = secrets.token_hex(16)
        self.labels = self.scratch / "labels.csv"
        self.labels.write_text(f"event,label\n0,{self.secret}\n")

    @property
    def box(self) -> Sandbox:
        """The shared sandbox with ordinary limits; a new one if the last one was lost."""
        if self._shared is None:
            self._shared = self._start(ORDINARY)
        return self._shared

    def make(self, **limits: float) -> Sandbox:
        """Return a sandbox for this check alone, with ordinary limits except for these."""
        box = self._start(Limits(**{**ORDINARY.model_dump(), **limits}))
        self._check.callback(box.close)
        return box

    def folders(self) -> tuple[Path, Path]:
        """Return new folders for inputs and workspace on the host."""
        run = self._folder / f"run-{next(self._numbers)}"
        self.inputs, workspace = run / "inputs", run / "workspace"
        for folder in (self.inputs, workspace):
            folder.mkdir(parents=True)
        (self.inputs / "events.txt").write_text(EVENTS)
        return self.inputs, workspace

    def open(self, inputs: Path, workspace: Path, limits: Limits = ORDINARY) -> Sandbox:
        """Open a sandbox that the check closes itself."""
        return self._open(inputs, workspace, limits)

    def _start(self, limits: Limits) -> Sandbox:
        return self.open(*self.folders(), limits)

    def end_check(self, lost: bool = False) -> None:
        """Close what the check has opened, and the shared sandbox too if the check has lost it."""
        with contextlib.suppress(SandboxLost):
            self._check.close()
        self._check = contextlib.ExitStack()
        if lost and self._shared:
            with contextlib.suppress(SandboxLost):
                self._shared.close()
            self._shared = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.end_check(lost=True)
        self._stack.close()

    def python(self, code: str, *words: object, box: Sandbox | None = None, seconds: float = 40) -> ExecResult:
        """Run a Python program inside, by default in the shared sandbox."""
        return (box or self.box).exec(["python", "-c", code, *map(str, words)], seconds=seconds)

    def ask(self, code: str, *words: object, box: Sandbox | None = None) -> Any:
        """Return the line of JSON that a program prints; raises RuntimeError if it does not get that far."""
        result = self.python(code, *words, box=box)
        if not result.ok:
            what = f"{result.ended}, exit code {result.exit_code}: {result.stderr.strip()[-500:]}"
            raise RuntimeError(f"the program of this check did not finish ({what})")
        return json.loads(result.stdout.splitlines()[-1])


def identity(path: Path) -> tuple[str, int, int]:
    """Return a host file's path with what identifies it under any other name: device and inode."""
    status = path.stat()
    return str(path), status.st_dev, status.st_ino
