"""A driver without walls, to show that the checks can fail: a plain process on the host, and hardly any limits."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from sandbox.driver import INPUTS, TOOLS_ROOT, WORKSPACE, ExecResult, Limits, SandboxInfo, SandboxLost
from sandbox.inside import LONGEST_WORD, environment


class Leaky:
    """A `Sandbox` in name only. It has no paths of its own: in every word, those of the inside become the host's."""

    def __init__(self, inputs: Path, workspace: Path, tools: Path, limits: Limits) -> None:
        self._paths = {INPUTS: str(inputs), WORKSPACE: str(workspace), TOOLS_ROOT: str(tools.parent)}
        self._workspace = workspace
        self._limits = limits
        self._closed = False
        self.info = SandboxInfo(driver="leaky", version="0", reason="to see checks fail", limits=limits)

    @property
    def workspace(self) -> Path:
        return self._workspace

    def _on_the_host(self, word: str) -> str:
        for inside, outside in self._paths.items():
            word = word.replace(inside, outside)
        return word

    def exec(self, argv: Sequence[str], *, cwd: str = WORKSPACE, seconds: float | None = None) -> ExecResult:
        if self._closed:
            raise SandboxLost("closed")
        if ".." in Path(cwd).parts or not Path(cwd).is_relative_to(WORKSPACE):
            raise ValueError(f"cwd {cwd!r} is not in {WORKSPACE}")
        if any(len(word.encode()) > LONGEST_WORD for word in argv):
            raise ValueError("a word of the command is too long")
        folder = Path(self._on_the_host(cwd))
        folder.mkdir(parents=True, exist_ok=True)
        declared = {name: self._on_the_host(value) for name, value in environment(self._limits, gpu=False).items()}
        variables = {**os.environ, **declared, "PATH": f"{sys.prefix}/bin:/usr/bin:/bin"}
        start = time.monotonic()
        try:
            process = subprocess.Popen(
                [self._on_the_host(word) for word in argv],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                cwd=folder,
                env=variables,
                close_fds=False,
                start_new_session=True,
            )
        except OSError as error:
            code = 127 if isinstance(error, FileNotFoundError) else 126
            return ExecResult(exit_code=code, stdout="", stderr=f"{argv[0]}: {error.strerror}\n", seconds=0)
        try:
            out, err = process.communicate(timeout=min(seconds or self._limits.seconds, self._limits.seconds))
            ended, code = "exit", process.returncode
        except subprocess.TimeoutExpired as late:
            process.terminate()
            out, err, ended, code = late.stdout or b"", late.stderr or b"", "timeout", -9
            for stream in (process.stdout, process.stderr):
                if stream:
                    stream.close()
        return ExecResult(
            exit_code=128 - code if code < 0 else code,
            stdout=out.decode(errors="replace"),
            stderr=err.decode(errors="replace"),
            seconds=time.monotonic() - start,
            ended=ended,
        )

    def close(self) -> None:
        self._closed = True

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()
