"""How the container of a run is made: who works in it, what is mounted, what it may not do, and its limits."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import docker
import docker.types

from sandbox import inside, mounts, owner
from sandbox.driver import INPUTS, TEMPORARY, TOOLS_ROOT, WORKSPACE, Limits
from sandbox.gpu import request

NOBODY = 65534
# What engines hide of the kernel when nobody asks, and what bubblewrap hides as well: the list replaces theirs.
MASKED = (
    *(f"/proc/{name}" for name in (*mounts.MASKED, "acpi", "asound", "interrupts", "latency_stats", "scsi")),
    *("/proc/timer_stats", "/sys/devices/virtual/powercap", "/sys/firmware"),
)
SHARED_MEMORY = "/dev/shm"


def share(workspace: Path, rootless: bool) -> str:
    """The user inside, such that it and the operator can both use the workspace: its owner, but never the host's root.

    For a rootless engine root inside *is* the operator outside.
    """
    owner = workspace.stat()
    uid, gid = (owner.st_uid, owner.st_gid) if owner.st_uid else (NOBODY, NOBODY)
    if rootless:
        uid, gid = os.geteuid(), os.getegid()
    inside.own(workspace, uid, gid)
    return "0:0" if rootless else f"{uid}:{gid}"


def first_process(workspace: Path, limits: Limits, facts: dict[str, Any], gpu: bool) -> dict[str, Any]:
    """What runs in the container, and as whom, given what the engine says about itself."""
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
    """What the engine is to do for it: mounts, privileges, limits."""
    bound = {INPUTS: (inputs, True), f"{TOOLS_ROOT}/tools": (tools, True), WORKSPACE: (workspace, False)}
    kernel = inside.kernel_limits(limits)
    memory = limits.memory_mib << 20
    # The engine's own shared memory would have no limit on names, which take memory too.
    in_memory = f"size={limits.tmp_mib}m,nr_inodes={limits.tmp_mib << 8},mode=1777"
    return {
        # The engine would keep a copy of all output on the host's disk, without a limit.
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
        "security_opt": ["no-new-privileges"],
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
    """The container, not started yet."""
    hidden = client.api.create_host_config(**host) | {"MaskedPaths": list(MASKED)}  # the client has no word for it
    made = client.api.create_container(image, name=name, host_config=hidden, **settings)
    return client.containers.get(made["Id"])
