"""How full a workspace is: looked at in slices, so that nobody who fills it with names keeps the watch from its work.

Counted are the entries that its folders list, and deleted files that a process holds open or mapped. What is on its
way between processes shows in no list: where there is such a thing, all that the command has written stands in for it,
or the growth of the disk since it began if that is more.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from sandbox.driver import WORKSPACE, SandboxLost

SLICE = 0.05  # seconds of looking between two other looks
REST = 1.0  # seconds between two walks
ENTRY_BYTES = 4096  # what a file counts at least, so that empty files cannot use up the inodes
DISK_RESERVE = 256 << 20  # free bytes that the workspace's disk keeps
UNSEEN = 1 << 62  # what a folder counts that cannot be looked into: more than any limit
PASSING = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
MAPPED = re.compile(rf"^([0-9a-f]+)-([0-9a-f]+) \S+ \S+ \S+ (\d+)\s+{WORKSPACE}/.* \(deleted\)$", re.MULTILINE)
WRITTEN = re.compile(r"^write_bytes: (\d+)", re.MULTILINE)
IN_FLIGHT = re.compile(r"^scm_fds:\s*[1-9]", re.MULTILINE)


class Fullness:
    """The look at one workspace while one command runs. `pids` names the processes that may hold its files."""

    def __init__(self, workspace: Path, limit: int, pids: Callable[[], list[int]]) -> None:
        self._workspace, self._limit, self._pids = workspace, limit, pids
        self._free = free_bytes(workspace)
        self._walk: Iterator[int] | None = None
        self._next = time.monotonic() + REST
        self._suspect = False

    def look(self) -> bool:
        """Whether there is too much, as far as a slice more of the walk shows; never longer than about SLICE.

        A file that is moved while the walk is on may count twice: only the second walk in a row convicts.
        """
        if disk_low(self._workspace):
            return True
        if self._walk is None and time.monotonic() < self._next:
            return False
        self._walk = self._walk or folder_bytes(self._workspace)
        end, total = time.monotonic() + SLICE, 0
        for total in self._walk:
            if total > self._limit:
                break
            if time.monotonic() > end:
                return False
        self._walk = None
        pids = self._pids()
        hidden, opaque = hidden_bytes(pids, self._workspace.stat().st_dev)
        full = total + hidden > self._limit
        if opaque and not full:
            full = max(written_bytes(pids), self._free - free_bytes(self._workspace)) > self._limit
        convicted, self._suspect = full and self._suspect, full
        self._next = time.monotonic() + (0 if full else REST)
        return convicted


def full(workspace: Path, limit: int) -> bool:
    """More than `limit` bytes in the workspace, where nothing runs, or no disk left."""
    return disk_low(workspace) or any(total > limit for total in folder_bytes(workspace))


def folder_bytes(root: Path) -> Iterator[int]:
    """Disk bytes under `root` so far, entry by entry, links not followed, each counted with at least ENTRY_BYTES.

    A folder that stays shut, or that lies deeper than a path may be long, was made to hide something.
    """
    total = 0
    pending = [os.fspath(root)]
    opened: set[str] = set()
    while pending:
        folder = pending.pop()
        try:
            with os.scandir(folder) as entries:
                for entry in entries:
                    total += max(ENTRY_BYTES, entry.stat(follow_symlinks=False).st_blocks * 512)
                    yield total
                    if entry.is_dir(follow_symlinks=False):
                        pending.append(entry.path)
        except OSError as error:  # else it was removed while we looked
            if error.errno == errno.EACCES and folder not in opened and open_up(root, folder):
                opened.add(folder)
                pending.append(folder)
            elif error.errno in (errno.EACCES, errno.ENAMETOOLONG):
                yield UNSEEN


def open_up(root: Path, folder: str) -> bool:
    """Give a folder that a command has shut back to its owner, the operator, without following any link to it."""
    with contextlib.ExitStack() as held, contextlib.suppress(OSError, ValueError):
        fd = os.open(root, PASSING)
        held.callback(os.close, fd)
        for name in Path(folder).relative_to(root).parts:
            fd = os.open(name, PASSING, dir_fd=fd)
            held.callback(os.close, fd)
        Path(f"/proc/self/fd/{fd}").chmod(stat.S_IMODE(os.fstat(fd).st_mode) | stat.S_IRWXU)
        return True
    return False


def hidden_bytes(pids: list[int], device: int) -> tuple[int, bool]:
    """Disk bytes of files on `device` that these processes hold and no folder lists; whether there may be more."""
    files: dict[int, int] = {}
    opaque = False
    for pid in pids:
        try:
            opaque |= _open(pid, device, files) | _mapped(pid, files)
        except OSError:  # it has ended, or a plain user may not look into it
            continue
    return sum(files.values()), opaque


def _open(pid: int, device: int, files: dict[int, int]) -> bool:
    """Note the deleted files that a process has open; True when others are in flight to it."""
    in_flight = False
    with os.scandir(f"/proc/{pid}/fd") as entries:
        for entry in entries:
            with contextlib.suppress(FileNotFoundError):
                file = entry.stat()
                if stat.S_ISREG(file.st_mode) and file.st_nlink == 0 and file.st_dev == device:
                    files[file.st_ino] = file.st_blocks * 512
                elif stat.S_ISSOCK(file.st_mode):
                    in_flight |= bool(IN_FLIGHT.search(Path(f"/proc/{pid}/fdinfo/{entry.name}").read_text()))
    return in_flight


def _mapped(pid: int, files: dict[int, int]) -> bool:
    """Note the deleted files that a process has mapped; True when their sizes cannot be seen (by a plain user)."""
    for start, end, inode in MAPPED.findall(Path(f"/proc/{pid}/maps").read_text(errors="replace")):
        try:
            files[int(inode)] = (
                Path(f"/proc/{pid}/map_files/{int(start, 16):x}-{int(end, 16):x}").stat().st_blocks * 512
            )
        except PermissionError:
            return True
        except FileNotFoundError:
            continue
    return False


def written_bytes(pids: list[int]) -> int:
    """What these processes, and those that they have waited for, have ever written to disks."""
    total = 0
    for pid in pids:
        with contextlib.suppress(OSError):
            total += sum(map(int, WRITTEN.findall(Path(f"/proc/{pid}/io").read_text())))
    return total


def free_bytes(folder: Path) -> int:
    disk = os.statvfs(folder)
    return disk.f_bavail * disk.f_frsize


def disk_low(workspace: Path) -> bool:
    return free_bytes(workspace) < DISK_RESERVE


def check_disk(workspace: Path) -> None:
    """Raises SandboxLost when the host's disk is full while nothing runs: no fault of the command before or after."""
    if disk_low(workspace):
        raise SandboxLost(
            f"less than {DISK_RESERVE >> 20} MiB are left on the disk of {workspace}: free some, then resume the run"
        )
