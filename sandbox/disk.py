"""Measurement of how full a workspace is, in slices, so that filling it with many names cannot stall the watch.

Counted are the entries in its folders, and deleted files that a process holds open or mapped. Files in transit between
processes are listed nowhere: if there may be any, the count is instead all that the command has written, or the growth
of disk usage since it began if that is more.
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

SLICE = 0.05  # seconds of walking between two other checks
REST = 1.0  # seconds between two walks
ENTRY_BYTES = 4096  # minimum that a file counts, so that empty files cannot use up the inodes
DISK_RESERVE = 256 << 20  # bytes that must stay free on the workspace's disk
UNSEEN = 1 << 62  # count of a folder that cannot be read: above any limit
PASSING = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
MAPPED = re.compile(rf"^([0-9a-f]+)-([0-9a-f]+) \S+ \S+ \S+ (\d+)\s+{WORKSPACE}/.* \(deleted\)$", re.MULTILINE)
WRITTEN = re.compile(r"^write_bytes: (\d+)", re.MULTILINE)
IN_FLIGHT = re.compile(r"^scm_fds:\s*[1-9]", re.MULTILINE)


class Fullness:
    """Watch of one workspace while one command runs. `pids` returns the processes that may hold its files."""

    def __init__(self, workspace: Path, limit: int, pids: Callable[[], list[int]]) -> None:
        self._workspace, self._limit, self._pids = workspace, limit, pids
        self._free = free_bytes(workspace)
        self._walk: Iterator[int] | None = None
        self._next = time.monotonic() + REST
        self._suspect = False

    def look(self) -> bool:
        """Walk for another slice, at most about SLICE long, and return whether the workspace is too full.

        A file that is moved during a walk may count twice, so two walks in a row must exceed the limit.
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
    """Return whether the workspace, in which nothing runs, has more than `limit` bytes, or no disk space is left."""
    return disk_low(workspace) or any(total > limit for total in folder_bytes(workspace))


def folder_bytes(root: Path) -> Iterator[int]:
    """Yield the disk bytes under `root`, entry by entry, at least ENTRY_BYTES each, without following links.

    A folder that cannot be opened, or lies too deep for a path, counts UNSEEN: it was made to hide something.
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
        except OSError as error:  # otherwise it was removed meanwhile
            if error.errno == errno.EACCES and folder not in opened and open_up(root, folder):
                opened.add(folder)
                pending.append(folder)
            elif error.errno in (errno.EACCES, errno.ENAMETOOLONG):
                yield UNSEEN


def open_up(root: Path, folder: str) -> bool:
    """Restore the owner's access to a folder that a command has closed, without following links."""
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
    """Return the disk bytes of unlisted files on `device` that these processes hold, and whether there may be more."""
    files: dict[int, int] = {}
    opaque = False
    for pid in pids:
        try:
            opaque |= _open(pid, device, files) | _mapped(pid, files)
        except OSError:  # it has ended, or an ordinary user may not read it
            continue
    return sum(files.values()), opaque


def _open(pid: int, device: int, files: dict[int, int]) -> bool:
    """Record the deleted files that a process has open; return True if others are in transit to it."""
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
    """Record the deleted files that a process has mapped; return True if an ordinary user cannot see their sizes."""
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
    """Return the bytes that these processes, and the children they have reaped, have ever written to disk."""
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
    """Raise SandboxLost if the host's disk is full while nothing runs, which is no command's fault."""
    if disk_low(workspace):
        raise SandboxLost(
            f"less than {DISK_RESERVE >> 20} MiB are left on the disk of {workspace}: free some, then resume the run"
        )
