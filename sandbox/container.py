"""Settings of a run's container: its user, mounts, restrictions and limits."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import docker
import docker.types

from sandbox import inside, mounts, owner, selinux
from sandbox.driver import INPUTS, TEMPORARY, TOOLS_ROOT, WORKSPACE, Limits
from sandbox.gpu import request

NOBODY = 65534
# Kernel files that engines hide by default, and those that bubblewrap hides: this list replaces the engine's.
MASKED = (
    *(f"/proc/{name}" for name in (*mounts.MASKED, "acpi", "asound", "interrupts", "latency_stats", "scsi")),
    *("/proc/timer_stats", "/sys/devices/virtual/powercap", "/sys/firmware"),
)
SEARCH = "/opt/venv/bin:/usr/local/bin:/usr/bin:/bin"  # the PATH of the image, for engines that add other variables
SHARED_MEMORY = "/dev/shm"


def share(workspace: Path, rootless: bool) -> str:
    """Return the user inside: the owner of the workspace, so that both can use it, but never the host's root.

    For a rootless engine, root inside *is* the operator outside.
    """
    owner = workspace.stat()
    uid, gid = (owner.st_uid, owner.st_gid) if owner.st_uid else (NOBODY, NOBODY)
    if rootless:
        uid, gid = os.geteuid(), os.getegid()
    inside.own(workspace, uid, gid)
    return "0:0" if rootless else f"{uid}:{gid}"


def first_process(workspace: Path, limits: Limits, facts: dict[str, Any], gpu: bool) -> dict[str, Any]:
    """Return the settings for what runs in the container and as whom; `facts`: what the engine reports about itself."""
    return {
        "entrypoint": [],
        "command": ["python3", *inside.warm_process()],
        "environment": inside.environment(limits, gpu),
        "user": share(workspace, rootless="name=rootless" in facts.get("SecurityOptions", [])),
        "hostname": "sandbox",
        "labels": owner.labels(workspace.parent.name),
        "stdin_open": True,
    }


def isolation(
    inputs: Path, workspace: Path, tools: Path, limits: Limits, facts: dict[str, Any], gpu: bool
) -> dict[str, Any]:
    """Return the engine's host settings: mounts, privileges, limits."""
    bound = {INPUTS: (inputs, True), f"{TOOLS_ROOT}/tools": (tools, True), WORKSPACE: (workspace, False)}
    kernel = inside.kernel_limits(limits)
    memory = limits.memory_mib << 20
    # The engine's own shared memory has no limit on names, which take memory too.
    in_memory = f"size={limits.tmp_mib}m,nr_inodes={limits.tmp_mib << 8},mode=1777"
    return {
        # The engine would keep an unlimited copy of all output on the host's disk.
        "log_config": docker.types.LogConfig(type="none"),
        "auto_remove": True,
        "network_mode": "none",
        "read_only": True,
        "mounts": [
            docker.types.Mount(target, str(path.resolve()), type="bind", read_only=fixed)
            for target, (path, fixed) in bound.items()
        ],
        "tmpfs": {"/tmp": f"{in_memory},exec", TEMPORARY: f"{in_memory},exec", SHARED_MEMORY: in_memory},
        "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges", *(["label=disable"] if selinux.enforcing() else [])],
        "mem_limit": memory,
        "memswap_limit": memory,
        "nano_cpus": int(min(limits.cpus, facts["NCPU"]) * 1e9),
        "pids_limit": limits.processes + 2,  # the first process, and the supervisor of a command
        "ulimits": [
            docker.types.Ulimit(name=name.lower(), soft=kernel[name], hard=kernel[name])
            for name in ("CORE", "NOFILE", "FSIZE")
        ],
        "device_requests": [request(facts)] if gpu else [],
    }


def create(client: docker.DockerClient, image: str, name: str, settings: dict[str, Any], host: dict[str, Any]) -> Any:
    """Create the container without starting it."""
    extra = {name: host.pop(name) for name in [*host] if name[0].isupper()}  # the client has no arguments for these
    hidden = client.api.create_host_config(**host) | {"MaskedPaths": list(MASKED)} | extra
    made = client.api.create_container(image, name=name, host_config=hidden, **settings)
    return client.containers.get(made["Id"])
