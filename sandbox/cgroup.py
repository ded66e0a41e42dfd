"""A control group for the commands of one sandbox: the kernel limits their total memory and number of processes.

It counts what /proc does not show for a process: buffers of sockets and pipes, page tables, inodes of a tmpfs, System V
objects. The group lies below this process's own, so that all limits above stay in force. Version 1 requires write
access (root); version 2 also requires that this process is alone in its group, as in a scope that systemd delegates:

    systemd-run --user --scope -p Delegate=yes beamcrew run ...

Otherwise there is no group, and only `sandbox.watch` checks the usage.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from sandbox import owner
from sandbox.driver import Limits

MOUNTS, OWN = Path("/proc/self/mounts"), Path("/proc/self/cgroup")
SLACK = 64  # processes: each bwrap has two of its own
NAME = re.compile(r"beamcrew-(\d+)-(\d+)-(\d+)-\d+")  # PID namespace, process, start time
CONTROLLERS = ("memory", "pids")
ALL = frozenset({"memory", "pids", "cpu"})  # what an engine can limit for a container as a whole
# Joins the group before it turns into the command, so that nothing of a command is ever outside. Takes a millisecond.
JOIN = 'while [ "$1" != -- ]; do echo 0 >"$1" || exit 1; shift; done; shift; exec "$@"'
# A shell has one thread. Moving a thread, which only version 1 allows, is immediate; moving a whole process takes 20 ms
# on a busy machine.
DOOR = {1: "tasks", 2: "cgroup.procs"}
numbers = itertools.count()


class Where(NamedTuple):
    """A group under which another may be made: the version of control groups, and its controllers."""

    folder: Path
    version: int
    controllers: tuple[str, ...]


class Cgroup:
    """A control group with these `limits`; it exists until it is closed."""

    def __init__(self, parents: Sequence[Where], limits: Limits) -> None:
        name = f"beamcrew-{owner.pid_namespace()}-{os.getpid()}-{owner.began(os.getpid())}-{next(numbers)}"
        self._groups: list[Where] = []
        try:
            for parent in parents:
                folder = parent.folder / name
                folder.mkdir()
                self._groups.append(parent._replace(folder=folder))
                for file, value in _settings(parent, limits).items():
                    if (path := folder / file).exists():  # a kernel without swap has no such limit
                        path.write_text(str(value))
        except OSError:
            self.close()
            raise
        self._memory = next((g for g in self._groups if "memory" in g.controllers), None)

    @property
    def holds(self) -> tuple[str, ...]:
        """The limits that the kernel enforces: memory, pids."""
        return tuple(name for group in self._groups for name in group.controllers)

    def words(self, command: Sequence[str]) -> list[str]:
        """Return the command wrapped so that it runs inside the group."""
        return ["/bin/sh", "-c", JOIN, "sh", *(str(g.folder / DOOR[g.version]) for g in self._groups), "--", *command]

    def oom_kills(self) -> int:
        """Return how often the kernel has killed a process of the group because memory ran out."""
        if not self._memory:
            return 0
        file = self._memory.folder / ("memory.events" if self._memory.version == 2 else "memory.oom_control")
        return int(dict(line.split() for line in file.read_text().splitlines()).get("oom_kill", 0))

    def close(self) -> None:
        """Remove the group; if something still runs in it, a later run removes it."""
        for group in self._groups:
            with contextlib.suppress(OSError):
                group.folder.rmdir()


def make(limits: Limits) -> Cgroup | None:
    """Make a group for a sandbox; None if this host does not allow it. Groups of dead processes are removed."""
    try:
        parents = find()
        for parent in parents:
            _sweep(parent.folder)
        return Cgroup(parents, limits) if parents else None
    except OSError:
        return None


def find() -> list[Where]:
    """Find where a group can be made: one place (version 2), or one for each controller (version 1)."""
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


def held(pid: int, limits: Limits) -> frozenset[str]:
    """Return which of ALL the kernel limits for the group of a process, as its files say; none where they are hidden.

    An engine without control groups accepts limits and ignores them.
    """
    most = {"memory": limits.memory_mib << 20, "pids": limits.processes + SLACK}
    files = {"memory.max": "memory", "memory.limit_in_bytes": "memory", "pids.max": "pids"}
    files |= {"cpu.max": "cpu", "cpu.cfs_quota_us": "cpu"}
    found = set()
    for folder in _groups(pid):
        for file, what in files.items():
            with contextlib.suppress(OSError, ValueError, IndexError):
                value = (folder / file).read_text().split()[0]
                if value != "max" and 0 < int(value) <= most.get(what, 1 << 62):
                    found.add(what)
    return frozenset(found)


def _groups(pid: int) -> Iterator[Path]:
    """Yield the folders of the groups of a process, below the root of each hierarchy."""
    with contextlib.suppress(OSError):
        own = [line.split(":", 2) for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines()]
        for _, mount, kind, options, *_ in (line.split() for line in MOUNTS.read_text().splitlines()):
            for _, names, path in own:
                second = kind == "cgroup2" and not names
                if second or (kind == "cgroup" and names and set(names.split(",")) <= set(options.split(","))):
                    folder = Path(mount, path.lstrip("/"))
                    while folder != Path(mount) and folder.is_relative_to(mount):
                        yield folder
                        folder = folder.parent


def _second(folder: Path) -> Where | None:
    """Find the place under version 2: only a group without processes, or the root, passes controllers down."""
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
        except OSError:  # other processes are in this group
            return None
    return Where(folder, 2, tuple(there))


def _below(mount: Path, path: str) -> Path:
    """Return the folder of a group; for a process that moved into the inner group, that of the outer one."""
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
    """Remove the groups of processes that were killed before they could do so."""
    for path in folder.glob("beamcrew-*"):
        match = NAME.fullmatch(path.name)
        if match and int(match[1]) == owner.pid_namespace() and not owner.lives(int(match[2]), match[3]):
            with contextlib.suppress(OSError):
                path.rmdir()
