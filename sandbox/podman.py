"""The sandbox of Podman, through its Docker-compatible socket: rootless for a plain user, without a running service.

If no socket answers, a service is started for this sandbox alone, as a child of the operator's process. In a rootless
container the operator keeps the own number inside, so that files in the workspace belong to the operator and no command
is root, not even in its own user namespace. A rootless Podman has control groups only under version 2 with a systemd
session; elsewhere the host checks memory and processes (`sandbox.guard`).
"""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from shutil import which
from typing import Any

import docker
import docker.errors

from sandbox.container import MASKED, SEARCH
from sandbox.docker import Docker, is_podman
from sandbox.driver import SandboxLost
from sandbox.gpu import CDI_DEVICE

PATIENCE = 20.0  # seconds for a service to answer
IDLE = (
    30  # seconds without any connection after which a service ends, for nobody else ends it if this process is killed
)
NAMES = re.compile(r"nr_inodes=\d+,")
CDI, NVIDIA = ("/etc/cdi", "/run/cdi"), "nvidia"  # where the devices are described of which Podman says nothing
INSTALL = "install Podman (packages podman and uidmap), with lines for you in /etc/subuid and /etc/subgid"


def sockets() -> Iterator[str]:
    """Yield the addresses at which this user's Podman may listen."""
    for name in ("CONTAINER_HOST", "DOCKER_HOST"):
        if (address := os.environ.get(name, "")).startswith("unix://"):
            yield address
    folder = os.environ.get("XDG_RUNTIME_DIR", f"/run/user/{os.geteuid()}") if os.geteuid() else "/run"
    yield f"unix://{folder}/podman/podman.sock"


def client_of(address: str) -> docker.DockerClient | None:
    """Return a client of the Podman that answers there, or None."""
    with contextlib.suppress(docker.errors.DockerException):
        client = docker.DockerClient(base_url=address)
        with contextlib.suppress(docker.errors.DockerException):
            if is_podman(client.version()):
                return client
        client.close()
    return None


class Podman(Docker):
    """A `Sandbox` in a container of Podman."""

    name = "podman"
    build = "beamcrew doctor --build --sandbox podman"
    _service: Service | None = None

    def _connect(self) -> docker.DockerClient:
        for address in sockets():
            if client := client_of(address):
                return client
        self._service = Service()
        return self._service.client

    def _facts(self) -> dict[str, Any]:
        facts = super()._facts()
        if any(NVIDIA in path.name for folder in CDI for path in Path(folder).glob("*.[jy]*")):
            facts["DiscoveredDevices"] = [{"ID": CDI_DEVICE}]
        return facts

    def _adapt(self, process: dict[str, Any], host: dict[str, Any], facts: dict[str, Any]) -> None:
        # It adds variables of its own, and takes the paths to be masked as an option.
        variables = {"PATH": SEARCH, **process["environment"]}
        process["command"] = ["/usr/bin/env", "-i", *(f"{k}={v}" for k, v in variables.items()), *process["command"]]
        host["security_opt"] = [*host["security_opt"], f"mask={':'.join(MASKED)}"]
        # It knows no limit on names in memory; they count as memory, for the kernel and for the host's check.
        host["tmpfs"] = {path: NAMES.sub("", how) for path, how in host["tmpfs"].items()}
        if facts.get("Rootless") or "name=rootless" in facts.get("SecurityOptions", []):
            process["user"] = f"{os.geteuid()}:{os.getegid()}"
            host["UsernsMode"] = "keep-id"

    def _release(self) -> None:
        super()._release()
        if self._service:
            self._service.end()


class Service:
    """A Podman service of this process alone, on a socket in a folder of its own."""

    def __init__(self) -> None:
        if not (podman := which("podman")):
            raise SandboxLost(f"no Podman answers, and there is no podman command: {INSTALL}")
        self._folder = tempfile.TemporaryDirectory(prefix="beamcrew-podman-")
        address = f"unix://{self._folder.name}/podman.sock"
        log = Path(self._folder.name, "log")
        with log.open("wb") as said:
            self._process = subprocess.Popen(
                [podman, "system", "service", f"--time={IDLE}", address],
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
                start_new_session=True,
            )
        deadline = time.monotonic() + PATIENCE
        while not (client := client_of(address)):
            if self._process.poll() is not None or time.monotonic() > deadline:
                why = log.read_text(errors="replace").strip()[-500:]
                self.end()
                raise SandboxLost(f"the Podman service does not start: {why or 'no answer'}. Perhaps {INSTALL}")
            time.sleep(0.05)
        self.client = client

    def end(self) -> None:
        """End the service; its containers have ended before. May be called again."""
        self._process.terminate()
        self._process.wait()
        self._folder.cleanup()
