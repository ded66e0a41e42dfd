"""The sandbox of a Docker engine: one container per run, with a read-only root, no network, no capabilities.

The engine's default seccomp profile applies, and limits of memory, CPUs and processes that the kernel enforces for the
run as a whole. Commands are forks of the container's first process (`sandbox.contained`).
"""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import docker
import docker.errors
import requests

from sandbox import cgroup, watch
from sandbox.channel import Attached, Channel
from sandbox.contained import Contained
from sandbox.container import create, first_process, isolation
from sandbox.driver import Gpu, Limits, SandboxInfo, SandboxLost
from sandbox.gpu import hand_in, remark

IMAGE = "beamcrew-sandbox:latest"
ATTACHED = {"stdin": 1, "stdout": 1, "stderr": 1, "stream": 1}
ENGINE_ERRORS = (docker.errors.DockerException, requests.exceptions.RequestException, OSError)


@contextlib.contextmanager
def engine(doing: str, build: str = "beamcrew doctor --build") -> Iterator[None]:
    """Turn any error of the engine, or on the way to it, into a SandboxLost that says what the operator can do."""
    try:
        yield
    except docker.errors.ImageNotFound as error:
        raise SandboxLost(f"{doing}: there is no such image. `{build}` builds it") from error
    except ENGINE_ERRORS as error:
        raise SandboxLost(
            f"{doing}: {error}. Is the engine running, and are you allowed to use it? See `beamcrew doctor`"
        ) from error


def is_podman(version: dict[str, Any]) -> bool:
    return any(part.get("Name") == "Podman Engine" for part in version.get("Components") or ())


class Docker(Contained):
    """A `Sandbox` in a container of a Docker engine."""

    name = "docker"
    build = "beamcrew doctor --build"

    def __init__(
        self,
        inputs: Path,
        workspace: Path,
        tools: Path,
        limits: Limits,
        image: str = IMAGE,
        reason: str = "",
        gpu: Gpu = "auto",
    ) -> None:
        super().__init__(workspace, limits)
        self._removed = False  # removal is tried again if the engine was unavailable
        with engine(f"looking for the {self.name.capitalize()} engine"):
            self._client = self._connect()
        try:
            self._open(inputs, tools, image, reason, gpu)
        except BaseException:
            self._release()
            raise

    def _open(self, inputs: Path, tools: Path, image: str, reason: str, gpu: Gpu) -> None:
        with engine(f"looking for the {self.name.capitalize()} engine"):
            facts = self._facts()
        with engine(f"looking for the image {image}", self.build):
            image_id = self._client.images.get(image).id
        handed_in = hand_in(gpu, facts)
        self.info = SandboxInfo(
            driver=self.name,
            version=facts["ServerVersion"],
            image=f"sha256:{image_id.removeprefix('sha256:')}",
            reason="; ".join(filter(None, (reason or f"{self.name} was asked for", remark(gpu, facts)))),
            limits=self._limits,
            gpu=watch.gpu_model() if handed_in else None,
        )
        with engine("starting the container"):
            self._begin(inputs, tools, facts, gpu, image)

    def _begin(self, inputs: Path, tools: Path, facts: dict[str, Any], gpu: Gpu, image: str) -> None:
        name = f"beamcrew-{uuid.uuid4().hex[:12]}"
        handed_in = self.info.gpu is not None
        process = first_process(self._workspace, self._limits, facts, handed_in)
        process["command"].append(name)  # by which `seen_here` knows it
        host = isolation(inputs, self._workspace, tools, self._limits, facts, handed_in)
        self._adapt(process, host, facts)
        self._container = create(self._client, str(self.info.image), name, process, host)
        try:
            channel = Channel(Attached(self._container.attach_socket(params=ATTACHED)))
            self._container.start()
            self._container.reload()
        except BaseException:
            self._container.remove(force=True)
            raise
        first = seen_here(self._container)
        held = cgroup.held(first, self._limits) if first else cgroup.ALL
        self._take_over(channel, first, held, gpu, f"the image {image}")

    def _connect(self) -> docker.DockerClient:
        client = docker.from_env()
        if is_podman(client.version()):
            client.close()
            raise SandboxLost("the engine that answers for Docker is Podman: choose --sandbox podman")
        return client

    def _facts(self) -> dict[str, Any]:
        """Return what the engine says of itself, in Docker's words."""
        return dict(self._client.info())

    def _adapt(self, process: dict[str, Any], host: dict[str, Any], facts: dict[str, Any]) -> None:
        """Change the settings where this engine needs others than Docker."""

    def _remove(self) -> None:
        with engine("removing the container"):
            if self._removed:
                return
            with contextlib.suppress(docker.errors.APIError):  # it removes itself once it has ended
                self._container.remove(force=True)
            self._removed = True
        self._release()

    def _release(self) -> None:
        """Let go of the engine. May be called again."""
        self._client.close()


def seen_here(container: Any) -> int:
    """Return the host's PID of a container's first process, whose last word is its name; 0 if the engine is on another
    machine."""
    pid = int(container.attrs["State"]["Pid"])
    with contextlib.suppress(OSError):
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        return pid if container.attrs["Name"].strip("/").encode() in words else 0
    return 0
