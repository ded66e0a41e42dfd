"""Ownership of containers: labels say which process made one, and whether that process is still alive.

A process is identified by its number and start time, since numbers are reused; both are meaningful only within the same
boot of the same kernel and in the same PID namespace.
"""

from __future__ import annotations

import contextlib
import os
import platform
import re
from collections.abc import Mapping
from pathlib import Path

RUN, HOST, OWNER = "beamcrew.run", "beamcrew.host", "beamcrew.owner"


def labels(run: str) -> dict[str, str]:
    """Return the labels for a container that this process makes."""
    return {RUN: run, HOST: platform.node(), OWNER: f"{here()} {os.getpid()} {began(os.getpid())}"}


def alive(owned: Mapping[str, str]) -> str:
    """Return why a container with these labels may still be in use; '' only if its owner is provably dead."""
    match = re.fullmatch(r"(\S+ \S+) (\d{1,9}) (\d+)", owned.get(OWNER, ""))
    if not match:
        return "it does not say which process made it"
    there, pid, start = match.groups()
    if there != here():
        return f"made on {owned.get(HOST) or 'another host'}, on another boot or in another PID namespace than this"
    return f"process {pid} lives" if lives(int(pid), start) else ""


def here() -> str:
    """Return the boot of the kernel and the PID namespace of this process."""
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return f"{boot} {Path('/proc/self/ns/pid').readlink()}"


def pid_namespace() -> int:
    """Return the kernel's number of this process's PID namespace."""
    return Path("/proc/self/ns/pid").stat().st_ino


def began(pid: int) -> str:
    """Return the clock ticks from system boot to the start of a process. Raises OSError if it cannot be seen."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]


def lives(pid: int, start: str) -> bool:
    """Return whether the process of that number is still the one that began at `start`."""
    with contextlib.suppress(OSError):
        return began(pid) == start
    try:
        os.kill(pid, 0)  # also finds processes that /proc hides from us
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True
