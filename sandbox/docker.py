"""The container sandbox: one warm container for a run, one engine exec for each command.

The container has no network, a read-only root, no capabilities, no new privileges, the engine's default seccomp
profile, and limits of memory, CPUs and processes that the kernel holds for the run as a whole. Its first process only
reaps; nothing inside can end it, and it ends when the operator's process does. Each command runs under
`sandbox.entry`, which keeps the time and ends what the command leaves behind. Should a command have got rid of that
watchman, everything in the container is killed from a second exec, and if that fails a new container takes over.
Where a GPU is handed in, this is containment, not a hard boundary: the device's driver is part of the host's kernel.
"""

from __future__ import annotations

import contextlib
import threading
import time
import uuid
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import docker
import docker.errors
import requests

from sandbox import inside, watch
from sandbox.container import PYTHON, isolation
from sandbox.driver import WORKSPACE, ExecResult, Gpu, Limits, SandboxInfo, SandboxLost
from sandbox.gpu import hand_in

IMAGE = "beamcrew-sandbox:latest"
GRACE = 3.0  # seconds that the watchman inside has before the host steps in
KILL_ALL = "import os; os.kill(-1, 9)"  # the sender and the first process are spared
OOM_KILLS = """
from pathlib import Path
for name in ("memory.events", "memory/memory.oom_control"):
    if (file := Path("/sys/fs/cgroup", name)).exists():
        print(dict(line.split() for line in file.read_text().splitlines()).get("oom_kill", 0))
"""
ENGINE_ERRORS = (docker.errors.DockerException, requests.exceptions.RequestException, OSError)


@contextlib.contextmanager
def engine(doing: str) -> Iterator[None]:
    """Turn whatever the engine or the way to it answers into a SandboxLost that says what the operator can do."""
    try:
        yield
    except docker.errors.ImageNotFound as error:
        raise SandboxLost(f"{doing}: there is no such image. `beamcrew doctor --build` builds it") from error
    except ENGINE_ERRORS as error:
        if isinstance(error, docker.errors.APIError) and error.status_code in (404, 409):
            raise SandboxLost(f"{doing}: the container is gone, it was ended from outside") from error
        raise SandboxLost(f"{doing}: {error}. Is the engine there and yours to use? See `beamcrew doctor`") from error


@dataclass(eq=False)
class Command:
    """A command that runs now, and why the host ended it, if it did."""

    deadline: float
    ended: str = "exit"


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
        self._live: set[Command] = set()
        with engine("looking for the Docker engine"):
            self._client = docker.from_env()
            facts = self._client.info()
        with engine(f"looking for the image {image}"):
            image_id = str(self._client.images.get(image).id)
        handed_in = hand_in(gpu, facts)
        self._isolation = isolation(inputs, self._workspace, tools, limits, facts, handed_in) | {"image": image_id}
        self.info = SandboxInfo(
            driver="docker",
            version=facts["ServerVersion"],
            image=image_id,
            reason=reason,
            limits=limits,
            gpu=watch.gpu_model() if handed_in else None,
        )
        self._start()
        if not (probe := self.exec(["true"])).ok:
            self.close()
            raise SandboxLost(f"the image {image} runs no command: {probe.stderr.strip() or probe.stdout.strip()}")

    def _start(self) -> None:
        """A fresh container, held alive by the open standard input of its first process."""
        with engine("starting the container"):
            name = f"beamcrew-{uuid.uuid4().hex[:12]}"
            self._container = self._client.containers.create(name=name, **self._isolation)
            self._lifeline = self._container.attach_socket(params={"stdin": 1, "stream": 1})
            self._container.start()
            self._oom_kills = self._count_oom_kills()

    @property
    def workspace(self) -> Path:
        return self._workspace

    def exec(self, argv: Sequence[str], *, cwd: str = WORKSPACE, seconds: float | None = None) -> ExecResult:
        """Run one command in the warm container and wait for its end; see `Sandbox.exec`."""
        start = time.monotonic()
        wall = self._limits.seconds if seconds is None else min(seconds, self._limits.seconds)
        words = ["python3", *inside.first_process(argv, cwd, inside.kernel_limits(self._limits), seconds=wall)]
        out, err = watch.Capture(self._limits.output_kib << 10), watch.Capture(self._limits.output_kib << 10)
        command = Command(deadline=start + wall + GRACE)
        with engine("running a command"), self._counted(command):
            exec_id = self._client.api.exec_create(self._container.id, words)["Id"]
            stream = self._client.api.exec_start(exec_id, stream=True, demux=True)
            self._follow(command, threading.Thread(target=drain, args=(stream, out, err), daemon=True))
            code = 137 if command.ended != "exit" else int(self._client.api.exec_inspect(exec_id)["ExitCode"])
            if command.ended == "exit" and code:
                command.ended = self._why(code, late=time.monotonic() - start >= wall)
        if command.ended == "exit" and self._full():
            command.ended = "workspace"
        return ExecResult(
            exit_code=code,
            stdout=out.text(),
            stderr=err.text(),
            dropped_bytes=out.dropped + err.dropped,
            seconds=time.monotonic() - start,
            ended=command.ended,
        )

    def _follow(self, command: Command, reader: threading.Thread) -> None:
        """Wait until the output ends; meanwhile keep an eye on the workspace, and on the time should nobody inside."""
        reader.start()
        while reader.is_alive():
            reader.join(watch.TICK * watch.TICKS_PER_WALK)
            if command.ended == "exit" and reader.is_alive():
                if self._full():
                    self._end_all("workspace")
                elif time.monotonic() > command.deadline:
                    self._end_all("timeout")

    def _full(self) -> bool:
        return watch.workspace_full(self._workspace, self._limits.workspace_mib << 20)

    def _why(self, code: int, late: bool) -> str:
        """Why a command failed that the host did not end. Raises SandboxLost when there is no container any more."""
        with self._lock:
            self._container.reload()
            before, self._oom_kills = self._oom_kills, self._count_oom_kills()
            if self._oom_kills > before:
                return "memory"
        return "timeout" if late and code == 137 else "exit"

    def _count_oom_kills(self) -> int:
        counts = self._container.exec_run([*PYTHON, OOM_KILLS]).output.split()
        return int(counts[0]) if counts and counts[0].isdigit() else 0

    @contextlib.contextmanager
    def _counted(self, command: Command) -> Iterator[None]:
        """The command is live meanwhile; when the last one leaves, nothing that runs may be left in the container."""
        with self._lock:
            self._live.add(command)
        try:
            yield
        finally:
            with self._lock:
                self._live.discard(command)
                if not self._live and self._processes() > 1:
                    self._sweep()

    def _processes(self) -> int:
        return len(self._container.top(ps_args="-o pid")["Processes"])

    def _end_all(self, why: str) -> None:
        """End every command: who fills the workspace, or killed its watchman, cannot be told from outside."""
        with self._lock:
            for command in self._live:
                command.ended = why
            self._sweep()

    def _sweep(self) -> None:
        """Kill everything but the first process, or take a new container where not even that can be started."""
        for _ in range(3):
            with contextlib.suppress(docker.errors.APIError):
                self._container.exec_run([*PYTHON, KILL_ALL])
            if self._processes() == 1:
                return
        self._remove()
        self._start()

    def _remove(self) -> None:
        self._lifeline.close()
        with contextlib.suppress(docker.errors.APIError):
            self._container.remove(force=True)

    def close(self) -> None:
        """Remove the container with everything in it; commands that still run come back as SandboxLost."""
        with engine("removing the container"):
            self._remove()
            self._client.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()


def drain(stream: Iterable[tuple[bytes | None, bytes | None]], out: watch.Capture, err: watch.Capture) -> None:
    """Read a command's output to its end; a connection that breaks is an end too, and the exit code tells the rest."""
    with contextlib.suppress(OSError):
        for out_data, err_data in stream:
            out.feed(out_data or b"")
            err.feed(err_data or b"")
