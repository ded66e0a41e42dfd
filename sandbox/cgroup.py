"""A control group for the commands of one sandbox: the kernel holds memory and number of processes for all together.

What no look at a process shows counts in it: buffers of sockets and pipes, page tables, inodes of a tmpfs, System V
objects. It lies below this process's own group, so that no limit above is left; of version 1 that takes write access
(root), of version 2 also that nobody but this process lives there, as in a scope of its own that systemd delegates:

    systemd-run --user --scope -p Delegate=yes beamcrew run ...

Elsewhere there is none, and `sandbox.watch` is all that looks.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from sandbox import owner
from sandbox.driver import Limits

MOUNTS, OWN = Path("/proc/self/mounts"), Path("/proc/self/cgroup")
SLACK = 64  # processes: each bwrap has two of its own
NAME = re.compile(r"beamcrew-(\d+)-(\d+)-(\d+)-\d+")  # PID namespace, process, when it began
CONTROLLERS = ("memory", "pids")
# Joins before it turns into the command, so that nothing of a command is ever outside; a millisecond.
JOIN = 'while [ "$1" != -- ]; do echo 0 >"$1" || exit 1; shift; done; shift; exec "$@"'
# A shell has one thread. Moving that, which version 1 alone allows, waits for nothing else of the machine; moving a
# whole process takes 20 ms on a busy one.
DOOR = {1: "tasks", 2: "cgroup.procs"}
numbers = itertools.count()


class Where(NamedTuple):
    """A group under which another may be made: of which version of control groups, and for what."""

    folder: Path
    version: int
    controllers: tuple[str, ...]


class Cgroup:
    """Made for `limits`, and there until it is closed."""

    def __init__(self, parents: Sequence[Where], limits: Limits) -> None:
        name = f"beamcrew-{owner.pid_namespace()}-{os.getpid()}-{owner.began(os.getpid())}-{next(numbers)}"
        self._groups: list[Where] = []
        try:
            for parent in parents:
                folder = parent.folder / name
                folder.mkdir()
                self._groups.append(parent._replace(folder=folder))
                for file, value in _settings(parent, limits).items():
                    if (path := folder / file).exists():  # a kernel without swap has no limit of it
                        path.write_text(str(value))
        except OSError:
            self.close()
            raise
        self._memory = next((g for g in self._groups if "memory" in g.controllers), None)

    @property
    def holds(self) -> tuple[str, ...]:
        """What the kernel holds: memory, pids."""
        return tuple(name for group in self._groups for name in group.controllers)

    def words(self, command: Sequence[str]) -> list[str]:
        """The same command, inside the group."""
        return ["/bin/sh", "-c", JOIN, "sh", *(str(g.folder / DOOR[g.version]) for g in self._groups), "--", *command]

    def oom_kills(self) -> int:
        """How often the kernel has killed a process of the group for want of memory."""
        if not self._memory:
            return 0
        file = self._memory.folder / ("memory.events" if self._memory.version == 2 else "memory.oom_control")
        return int(dict(line.split() for line in file.read_text().splitlines()).get("oom_kill", 0))

    def close(self) -> None:
        """Remove it; what still runs in it keeps it there, and a later run takes it away."""
        for group in self._groups:
            with contextlib.suppress(OSError):
                group.folder.rmdir()


def make(limits: Limits) -> Cgroup | None:
    """A group for a sandbox, or None where this host gives none. Those of dead processes are removed."""
    try:
        parents = find()
        for parent in parents:
            _sweep(parent.folder)
        return Cgroup(parents, limits) if parents else None
    except OSError:
        return None


def find() -> list[Where]:
    """Where a group can be made: one place (version 2), or one for each controller (version 1)."""
    found = []
    own = {names: path for _, names, path in (line.split(":", 2) for line in OWN.read_text().splitlines())}
    for _, mount, kind, options, *_ in (line.split() for line in MOUNTS.read_text().splitlines()):
        if kind == "cgroup2" and "" in own:
            if where := _second(_below(Path(mount), own[""])):
                found.append(where)
        elif kind == "cgroup":
            for names, path in own.items():
                there = tuple(name for name in CONTROLLERS if name in names.split(","))
                if there and set(names.split(",")) <= set(options.split(",")):
                    found.append(Where(_below(Path(mount), path), 1, there))
    return [where for where in found if os.access(where.folder, os.W_OK)]


def _second(folder: Path) -> Where | None:
    """Version 2: controllers are handed down only by a group in which nobody lives, the root excepted."""
    if not (folder / "cgroup.subtree_control").exists():
        return None
    handed_down = folder / "cgroup.subtree_control"
    there = [name for name in CONTROLLERS if name in (folder / "cgroup.controllers").read_text().split()]
    if not there or not os.access(handed_down, os.W_OK):
        return None
    if not set(there) <= set(handed_down.read_text().split()):
        if (folder / "cgroup.procs").read_text().split() == [str(os.getpid())]:
            (inner := folder / "beamcrew").mkdir(exist_ok=True)
            (inner / "cgroup.procs").write_text(str(os.getpid()))
        try:
            handed_down.write_text(" ".join(f"+{name}" for name in there))
        except OSError:  # others live here
            return None
    return Where(folder, 2, tuple(there))


def _below(mount: Path, path: str) -> Path:
    """A process that moved into the inner group makes others beside that."""
    folder = mount / path.lstrip("/")
    return folder.parent if folder.name == "beamcrew" else folder


def _settings(parent: Where, limits: Limits) -> dict[str, int]:
    memory = limits.memory_mib << 20
    settings: dict[str, int] = {}
    if "memory" in parent.controllers and parent.version == 2:
        settings |= {"memory.max": memory, "memory.swap.max": 0}
    elif "memory" in parent.controllers:
        settings |= {"memory.limit_in_bytes": memory, "memory.memsw.limit_in_bytes": memory}
    return settings | ({"pids.max": limits.processes + SLACK} if "pids" in parent.controllers else {})


def _sweep(folder: Path) -> None:
    """Remove groups of processes that were killed before they could do so themselves."""
    for path in folder.glob("beamcrew-*"):
        match = NAME.fullmatch(path.name)
        if match and int(match[1]) == owner.pid_namespace() and not owner.lives(int(match[2]), match[3]):
            with contextlib.suppress(OSError):
                path.rmdir()
