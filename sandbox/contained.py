"""The host's side of a sandbox whose commands are forks of one warm first process, whichever engine started it.

The first process (`sandbox.warm`) takes commands, enforces their time limits and ends what they leave behind; nothing
inside can end it, and it ends when the operator's process does. The host also keeps the time and watches the workspace,
and, where the kernel does not limit them, memory and processes (`sandbox.guard`). If the first process does not obey,
the container is removed, and the next command finds the sandbox lost.
With a GPU passed in, this is containment, not a hard boundary: the device's driver is part of the host's kernel.
"""

from __future__ import annotations

import contextlib
import math
import os
import threading
import time
from collections.abc import Collection, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from sandbox import disk, inside, watch
from sandbox.channel import Channel, Question
from sandbox.cpus import Cpus
from sandbox.driver import WORKSPACE, ExecResult, Gpu, Limits, SandboxInfo, SandboxLost
from sandbox.gpu import ARRIVED
from sandbox.guard import Guard

GRACE = 3.0  # seconds that the first process has to end a command before the host steps in


class Contained:
    """A `Sandbox` with a warm first process. Several threads may call `exec` at once and share the limits.

    A driver makes the container, calls `_take_over`, and says in `_remove` how to end it.
    """

    info: SandboxInfo

    def __init__(self, workspace: Path, limits: Limits) -> None:
        self._workspace = workspace.resolve()
        self._limits = limits
        self._lock = threading.RLock()
        self._closed = False
        self._first = 0
        self._guard: Guard | None = None
        self._cpus: Cpus | None = None
        self._kernel = inside.kernel_limits(limits)

    def _take_over(self, channel: Channel, first: int, held: Collection[str], gpu: Gpu, what: str) -> None:
        """Take over a container that has started, and run a command in it. Raises SandboxLost.

        `first` is the host's number of its first process (0: on another machine), `held` what the kernel limits for all
        its processes together, `what` the image's name for messages.
        """
        self._channel, self._first = channel, first
        if first and not {"memory", "pids"} <= set(held):
            self._guard = Guard(first, held, self._limits)
            self._kernel |= self._guard.per_process(gpu=self.info.gpu is not None)
        if first and "cpu" not in held:
            self._cpus = Cpus(math.ceil(self._limits.cpus))
            with contextlib.suppress(OSError):  # it has ended: the next command says why
                os.sched_setaffinity(first, self._cpus.chosen)
        try:
            if not (probe := self.exec(["true"])).ok:
                raise SandboxLost(f"{what} cannot run a command: {probe.stderr.strip() or probe.stdout.strip()}")
            if self.info.gpu:
                self._look_for_gpu(gpu)
        except BaseException:
            self.close()
            raise

    def _look_for_gpu(self, gpu: Gpu) -> None:
        """Ask inside whether the GPU has arrived: an engine may start a container without it and say nothing."""
        seen = self.exec(["python3", "-c", ARRIVED], seconds=60)
        if seen.ok:
            return
        why = f"the GPU was passed in but does not work inside: {(seen.stderr or seen.stdout).strip()[-300:]}"
        if gpu == "insist":
            raise SandboxLost(f"--gpu insist: {why}")
        self.info = self.info.model_copy(update={"gpu": None, "reason": f"{self.info.reason}; {why}"})

    @property
    def workspace(self) -> Path:
        return self._workspace

    def exec(self, argv: Sequence[str], *, cwd: str = WORKSPACE, seconds: float | None = None) -> ExecResult:
        """Run one command in the warm container and wait for its end; see `Sandbox.exec`."""
        inside.check(argv, cwd)
        disk.check_disk(self._workspace)
        start, killed = time.monotonic(), self._oom_kills()
        wall = self._limits.seconds if seconds is None else min(seconds, self._limits.seconds)
        question = self._channel.ask(argv, cwd, self._kernel, wall, self._limits.output_kib << 10)
        silent = self._follow(question, start + wall + GRACE)
        took = time.monotonic() - start
        if silent:
            return ExecResult(exit_code=137, stdout="", stderr="", seconds=took, ended="timeout")
        answer = question.answer
        if answer is None:
            raise SandboxLost(f"the command's end is unknown: {self._why_lost()}")
        if answer.ended == "lost":
            raise SandboxLost("what another command left running could only be ended together with this command")
        self._workspace.chmod(0o700)  # the command may have opened it to other users and left a set-uid program
        ended: str = answer.ended
        if ended == "exit" and answer.code and self._oom_kills() > killed:
            ended = "memory"
        if ended == "exit" and disk.full(self._workspace, self._limits.workspace_mib << 20):
            ended = "workspace"
        if ended == "workspace":
            disk.check_disk(self._workspace)
        return ExecResult(
            exit_code=answer.code,
            stdout=answer.stdout,
            stderr=answer.stderr,
            dropped_bytes=answer.dropped,
            peak_mib=answer.peak_mib,
            seconds=took,
            ended=ended,
        )

    def _follow(self, question: Question, deadline: float) -> bool:
        """Wait for the answer while watching the run; return True if none came and the container was removed."""
        told = False
        fullness = disk.Fullness(self._workspace, self._limits.workspace_mib << 20, self._processes)
        while not question.over.wait(watch.TICK):
            if self._guard and (excess := self._guard.look()):
                self._channel.end(*excess)
            if not told and fullness.look():
                told, deadline = True, time.monotonic() + GRACE
                self._channel.end("workspace")
            if time.monotonic() > deadline:
                self.close()
                return True
        return False

    def _processes(self) -> list[int]:
        """Return the container's processes by their host PIDs, without asking the engine, which may be slow."""
        return watch.tree(self._first) if self._first else []

    def _oom_kills(self) -> int:
        """Return how often the kernel has killed a process of the run for its memory, if the host can tell."""
        return 0

    def _why_lost(self) -> str:
        if self._closed:
            return "this sandbox has been closed"
        if words := self._channel.last_words():
            return f"the container failed: {words}"
        return "the container was ended from outside, or the engine is gone. See `beamcrew doctor`"

    def _remove(self) -> None:
        """End the container with everything in it. May be called again."""
        raise NotImplementedError

    def close(self) -> None:
        """Remove the container with everything in it; commands that still run raise SandboxLost."""
        with self._lock:
            self._closed = True
            self._channel.close()
            if self._cpus:
                self._cpus.release()
            self._remove()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()
