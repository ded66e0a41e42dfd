"""Measuring what commands use: process trees, the size of a workspace, the GPU that is there."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import psutil

from sandbox.driver import SandboxLost

TICK = 0.1  # seconds between two looks at a process tree
TICKS_PER_WALK = 10  # walks over the workspace are rarer
ENTRY_BYTES = 4096  # what a file counts at least, so that empty files cannot use up the inodes
DISK_RESERVE = 256 << 20  # free bytes that the workspace's disk keeps


UNSEEN = 1 << 62  # what a folder counts that cannot be looked into: more than any limit


class Usage(NamedTuple):
    memory: int
    processes: int  # their threads counted, as the kernel does


def tree(pid: int) -> list[psutil.Process]:
    """The processes under `pid`, itself left out."""
    try:
        return list(psutil.Process(pid).children(recursive=True))
    except psutil.NoSuchProcess:
        return []


def tree_usage(pid: int) -> Usage:
    """Resident bytes and number of threads under `pid`; a process that ends meanwhile counts as nothing."""
    memory = processes = 0
    for process in tree(pid):
        try:
            threads = process.num_threads()
            memory += process.memory_info().rss
            processes += threads
        except psutil.Error:
            continue
    return Usage(memory, processes)


def folder_bytes(root: Path) -> int:
    """Disk bytes under `root`, links not followed, every entry counted with at least ENTRY_BYTES.

    A folder that nobody may read, or that lies deeper than a path may be long, was made to hide something.
    """
    total = 0
    pending = [os.fspath(root)]
    while pending:
        try:
            with os.scandir(pending.pop()) as entries:
                for entry in entries:
                    total += max(ENTRY_BYTES, entry.stat(follow_symlinks=False).st_blocks * 512)
                    if entry.is_dir(follow_symlinks=False):
                        pending.append(entry.path)
        except OSError as error:  # else it was removed while we looked
            if error.errno in (errno.EACCES, errno.ENAMETOOLONG):
                return UNSEEN
    return total


def hidden_bytes(pids: Iterable[int], device: int) -> int:
    """Disk bytes of files on `device` that these processes hold open and that no folder lists any more."""
    files: dict[int, int] = {}
    for pid in pids:
        with contextlib.suppress(OSError), os.scandir(f"/proc/{pid}/fd") as entries:
            for entry in entries:
                with contextlib.suppress(OSError):
                    file = entry.stat()
                    if stat.S_ISREG(file.st_mode) and file.st_nlink == 0 and file.st_dev == device:
                        files[file.st_ino] = file.st_blocks * 512
    return sum(files.values())


def workspace_full(workspace: Path, limit: int, pids: Iterable[int] = ()) -> bool:
    """More than `limit` bytes in the workspace, files deleted but held open by `pids` included, or no disk left."""
    if disk_low(workspace):
        return True
    return folder_bytes(workspace) + hidden_bytes(pids, workspace.stat().st_dev) > limit


def disk_low(workspace: Path) -> bool:
    disk = os.statvfs(workspace)
    return disk.f_bavail * disk.f_frsize < DISK_RESERVE


def check_disk(workspace: Path) -> None:
    """Raises SandboxLost when the host's disk is full while nothing runs: no fault of the command before or after."""
    if disk_low(workspace):
        raise SandboxLost(
            f"less than {DISK_RESERVE >> 20} MiB are left on the disk of {workspace}: free some, then resume the run"
        )


def gpu_model() -> str | None:
    """The models of the NVIDIA GPUs that the driver lists, or None."""
    files = sorted(Path("/proc/driver/nvidia/gpus").glob("*/information"))
    models = [match[1] for file in files if (match := re.search(r"^Model:\s*(.+)$", file.read_text(), re.M))]
    return ", ".join(models) or None
