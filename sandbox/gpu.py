"""Passing the host's GPU into a container.

The NVIDIA container toolkit puts the driver's files into the container, as root on the host and before the container
starts; several of its releases let a container escape that way. The table HOLES lists them, after NVIDIA's security
bulletins (nvidia.custhelp.com/app/answers/detail/a_id/5582, 5616, 5659 and 5850). Whether to use an engine whose
toolkit is too old is up to the operator.
"""

from __future__ import annotations

import contextlib
import re
import shutil
import subprocess
from typing import Any

import docker.types

from sandbox.driver import Gpu, SandboxLost
from sandbox.watch import gpu_model

HOLES = {  # container escapes, and the first release that fixes each
    "CVE-2024-0132": "1.16.2",
    "CVE-2025-23359": "1.17.4",  # left open by the fix of the first one
    "CVE-2025-23266": "1.17.8",
    "CVE-2026-24260": "1.19.1",
}
TOOLKIT = ("nvidia-ctk", "nvidia-container-cli", "nvidia-container-runtime")  # each reports the version
CDI_DEVICE = "nvidia.com/gpu=all"
# Inside: whether the driver's library finds a device. 100 is CUDA_ERROR_NO_DEVICE.
ARRIVED = """
import ctypes, sys
try: library = ctypes.CDLL("libcuda.so.1")
except OSError as error: sys.exit(str(error))
number = ctypes.c_int()
code = library.cuInit(0) or library.cuDeviceGetCount(ctypes.byref(number)) or (0 if number.value else 100)
if code: sys.exit(f"CUDA error {code}")
"""
VERSION = re.compile(r"(\d+)\.(\d+)\.(\d+)((?:~|-?(?:alpha|beta|dev|rc))\S*)?")
TO_CONFIGURE = (
    "`nvidia-ctk runtime configure --runtime=docker`, then restart the engine; for Podman "
    "`nvidia-ctk cdi generate --output=/etc/cdi/nvidia.yaml`"
)


def hand_in(gpu: Gpu, facts: dict[str, Any]) -> bool:
    """Return whether to pass the GPU in: the operator wants it, there is one, and the engine (`facts`) supports it.

    Raises SandboxLost if the toolkit has a known hole and the operator does not insist, or if the operator insists on a
    GPU that is not available.
    """
    if gpu == "none":
        return False
    if missing := _missing(facts):
        if gpu == "insist":
            raise SandboxLost(f"--gpu insist: {missing}")
        return False
    if gpu == "auto" and (why := objection(toolkit_version())):
        raise SandboxLost(f"{why}. Or run without the GPU (--gpu none), or pass it in all the same (--gpu insist)")
    return True


def remark(gpu: Gpu, facts: dict[str, Any]) -> str:
    """Return a remark on the GPU for the record of a run, or ''."""
    if gpu == "none" or not gpu_model():
        return ""
    if missing := _missing(facts):
        return f"the GPU is not passed in: {missing}"
    why = objection(toolkit_version())
    return f"the GPU was passed in because the operator insists, although: {why}" if why else ""


def request(facts: dict[str, Any]) -> docker.types.DeviceRequest:
    """Request all GPUs in the way that this engine supports."""
    if "nvidia" in facts.get("Runtimes", {}):
        return docker.types.DeviceRequest(count=-1, capabilities=[["gpu"]])
    return docker.types.DeviceRequest(driver="cdi", device_ids=[CDI_DEVICE])


def toolkit_version() -> str | None:
    """Return the version reported by a program of the toolkit on this host, or None."""
    for name in TOOLKIT:
        if command := shutil.which(name):
            with contextlib.suppress(OSError, subprocess.SubprocessError):
                said = subprocess.run([command, "--version"], capture_output=True, text=True, timeout=10).stdout
                if match := VERSION.search(said):
                    return match[0]
    return None


def objection(version: str | None) -> str:
    """Return what speaks against passing a GPU in with this toolkit, and the version needed; '' if nothing does."""
    needed = max(HOLES.values(), key=_order)
    update = f"update it to {needed} or newer"
    if version is None:
        holes = ", ".join(HOLES)
        return f"none of {', '.join(TOOLKIT)} reports the version of the NVIDIA container toolkit ({holes}): {update}"
    holes = ", ".join(cve for cve, fixed in HOLES.items() if _order(version) < _order(fixed))
    return f"the NVIDIA container toolkit {version} lets code escape a container ({holes}): {update}" if holes else ""


def _missing(facts: dict[str, Any]) -> str:
    if not gpu_model():
        return "this host has no NVIDIA GPU"
    devices = {device.get("ID") for device in facts.get("DiscoveredDevices") or ()}  # reported since engine 28.2
    if "nvidia" in facts.get("Runtimes", {}) or CDI_DEVICE in devices:
        return ""
    return f"the engine has neither the runtime nvidia nor the CDI device {CDI_DEVICE}: {TO_CONFIGURE}"


def _order(version: str) -> tuple[int, ...]:
    """Return a sort key; a release candidate comes before its release, a packager's revision changes nothing."""
    match = VERSION.search(version)
    if match is None:
        raise ValueError(f"version {version!r}: three numbers are needed")
    return int(match[1]), int(match[2]), int(match[3]), 0 if match[4] else 1
