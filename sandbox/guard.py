"""The host's check of memory and processes of a container that no control group limits.

A rootless engine, or one without a daemon, often has no control group of its own: on hosts with control groups version
1, without a systemd session, or inside a batch job. The host then adds up what the container's processes use, ten times
a second, and has the biggest command ended when the run exceeds a limit. Between two checks, limits of each process
stand: four times the memory, and the number of processes of the user in the container's user namespace.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Collection
from pathlib import Path

import psutil

from sandbox import watch
from sandbox.driver import Limits

INSIDE = re.compile(r"^NSpid:.*\t(\d+)$", re.MULTILINE)


class Guard:
    """The check of one container, whose first process has the host's number `first`."""

    def __init__(self, first: int, held: Collection[str], limits: Limits) -> None:
        self._first, self._held, self._limits = first, set(held), limits

    def per_process(self, gpu: bool) -> dict[str, int]:
        """Return further limits that the kernel enforces in each process, by RLIMIT name.

        With a GPU none of memory: CUDA reserves far more than it uses.
        """
        more = {}
        if "memory" not in self._held and not gpu:
            more["DATA"] = 4 * self._limits.memory_mib << 20
        if "pids" not in self._held:
            more["NPROC"] = self._limits.processes + 2  # the first process, and the supervisor of a command
        return more

    def look(self) -> tuple[str, int] | None:
        """Return the limit that is exceeded and the number inside of the supervisor whose command is the biggest."""
        commands = self._commands()
        usage = {pid: watch.tree_usage(pid) for pid in commands}
        if not usage:
            return None
        if "pids" not in self._held and sum(u.processes for u in usage.values()) > self._limits.processes:
            return self._end("processes", max(usage, key=lambda pid: usage[pid].processes))
        if "memory" in self._held:
            return None
        memory = sum(u.memory for u in usage.values()) + watch.kernel_bytes(self._first)
        if memory > self._limits.memory_mib << 20:
            return self._end("memory", max(usage, key=lambda pid: usage[pid].memory))
        return None

    def _commands(self) -> list[int]:
        """Return the supervisors of the running commands."""
        with contextlib.suppress(psutil.Error):
            return [child.pid for child in watch.only_children(psutil.Process(self._first))]
        return []

    @staticmethod
    def _end(why: str, pid: int) -> tuple[str, int] | None:
        with contextlib.suppress(OSError):
            if match := INSIDE.search(Path(f"/proc/{pid}/status").read_text()):
                return why, int(match[1])
        return None
