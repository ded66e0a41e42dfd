"""The container sandbox: one warm container per run, in which each command is a fork of the first process.

The container has no network, a read-only root, no capabilities, no new privileges, the engine's default seccomp
profile, and limits of memory, CPUs and processes that the kernel enforces for the run as a whole. Its first process
(`sandbox.warm`) takes commands, enforces their time limits and ends what they leave behind; nothing inside can end it,
and it ends when the operator's process does. The host also keeps the time and watches the workspace: if the first
process does not obey, the container is removed, and the next command finds the sandbox lost.
With a GPU passed in, this is containment, not a hard boundary: the device's driver is part of the host's kernel.
"""

from __future__ import annotations

import contextlib
import threading
import time
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import docker
import docker.errors
import requests

from sandbox import disk, inside, watch
from sandbox.channel import Channel, Question
from sandbox.container import create, first_process, isolation
from sandbox.driver import WORKSPACE, ExecResult, Gpu, Limits, SandboxInfo, SandboxLost
from sandbox.gpu import hand_in, remark

IMAGE = "beamcrew-sandbox:latest"
GRACE = 3.0  # seconds that the first process has to end a command before the host steps in
ATTACHED = {"stdin": 1, "stdout": 1, "stderr": 1, "stream": 1}
ENGINE_ERRORS = (docker.errors.DockerException, requests.exceptions.RequestException, OSError)


@contextlib.contextmanager
def engine(doing: str) -> Iterator[None]:
    """Turn any error of the engine, or on the way to it, into a SandboxLost that says what the operator can do."""
    try:
        yield
    except docker.errors.ImageNotFound as error:
        raise SandboxLost(f"{doing}: there is no such image. `beamcrew doctor --build` builds it") from error
    except ENGINE_ERRORS as error:
        raise SandboxLost(
            f"{doing}: {error}. Is the engine running, and are you allowed to use it? See `beamcrew doctor`"
        ) from error


def seen_here(container: Any) -> int:
    """Return the host's PID of a container's first process; 0 if the engine is on another machine."""
    pid = int(container.attrs["State"]["Pid"])
    with contextlib.suppress(OSError):
        return pid if container.id in Path(f"/proc/{pid}/cgroup").read_text() else 0
    return 0


class Docker:
    """A `Sandbox` in a container. Several threads may call `exec` at once and share the limits."""

    def __init__(
        self,
        inputs: Path,
        workspace: Path,
        tools: Path,
        limits: Limits,
        image: str = IMAGE,
        reason: str = "Docker was asked for",
        gpu: Gpu = "auto",
    ) -> None:
        self._workspace = workspace.resolve()
        self._limits = limits
        self._lock = threading.RLock()
        self._closed = self._removed = False  # removal is tried again if the engine was unavailable
        with engine("looking for the Docker engine"):
            self._client = docker.from_env()
            facts = self._client.info()
        with engine(f"looking for the image {image}"):
            image_id = str(self._client.images.get(image).id)
        handed_in = hand_in(gpu, facts)
        self.info = SandboxInfo(
            driver="docker",
            version=facts["ServerVersion"],
            image=image_id,
            reason="; ".join(filter(None, (reason, remark(gpu, facts)))),
            limits=limits,
            gpu=watch.gpu_model() if handed_in else None,
        )
        with engine("starting the container"):
            process = first_process(self._workspace, limits, facts, handed_in)
            host = isolation(inputs, self._workspace, tools, limits, facts, handed_in)
            name = f"beamcrew-{uuid.uuid4().hex[:12]}"
            self._container = create(self._client, image_id, name, process, host)
            try:
                self._channel = Channel(self._container.attach_socket(params=ATTACHED))
                self._container.start()
                self._container.reload()
                self._first = seen_here(self._container)
            except BaseException:
                self._container.remove(force=True)
                raise
        if not (probe := self.exec(["true"])).ok:
            self.close()
            raise SandboxLost(f"the image {image} cannot run a command: {probe.stderr.strip() or probe.stdout.strip()}")

    @property
    def workspace(self) -> Path:
        return self._workspace

    def exec(self, argv: Sequence[str], *, cwd: str = WORKSPACE, seconds: float | None = None) -> ExecResult:
        """Run one command in the warm container and wait for its end; see `Sandbox.exec`."""
        inside.check(argv, cwd)
        disk.check_disk(self._workspace)
        start = time.monotonic()
        wall = self._limits.seconds if seconds is None else min(seconds, self._limits.seconds)
        question = self._channel.ask(argv, cwd, inside.kernel_limits(self._limits), wall, self._limits.output_kib << 10)
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
        full = answer.ended == "exit" and disk.full(self._workspace, self._limits.workspace_mib << 20)
        ended = "workspace" if full else answer.ended
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
        """Wait for the answer while watching the workspace; return True if none came and the container was removed."""
        told = False
        fullness = disk.Fullness(self._workspace, self._limits.workspace_mib << 20, self._processes)
        while not question.over.wait(watch.TICK):
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

    def _why_lost(self) -> str:
        if self._closed:
            return "this sandbox has been closed"
        if words := self._channel.last_words():
            return f"the container failed: {words}"
        return "the container was ended from outside, or the engine is gone. See `beamcrew doctor`"

    def close(self) -> None:
        """Remove the container with everything in it; commands that still run raise SandboxLost."""
        with self._lock, engine("removing the container"):
            self._closed = True
            self._channel.close()
            if self._removed:
                return
            with contextlib.suppress(docker.errors.APIError):  # it removes itself once it has ended
                self._container.remove(force=True)
            self._removed = True
            self._client.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()
