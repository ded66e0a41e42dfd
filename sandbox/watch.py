"""Measuring what commands use: captured output, process trees, the size of a workspace, the GPU that is there."""

from __future__ import annotations

import os
import re
from collections import deque
from pathlib import Path
from typing import NamedTuple

import psutil

TICK = 0.1  # seconds between two looks at a process tree
TICKS_PER_WALK = 10  # walks over the workspace are rarer
ENTRY_BYTES = 4096  # what a file counts at least, so that empty files cannot use up the inodes
DISK_RESERVE = 256 << 20  # free bytes that the workspace's disk keeps, whatever was deleted but is still open


class Capture:
    """One output stream: keeps the first and the last half of `cap` bytes, counts what lies between.

    Both ends, since a log begins with what was asked for and ends with the traceback.
    """

    def __init__(self, cap: int) -> None:
        self._head_cap, self._tail_cap = cap - cap // 2, cap // 2
        self._head = bytearray()
        self._tail: deque[bytes] = deque()
        self._tail_bytes = 0
        self.dropped = 0

    def feed(self, data: bytes) -> None:
        room = self._head_cap - len(self._head)
        self._head += data[:room]
        if rest := data[room:]:
            self._tail.append(rest)
            self._tail_bytes += len(rest)
        while self._tail_bytes > self._tail_cap:
            first = self._tail.popleft()
            cut = min(len(first), self._tail_bytes - self._tail_cap)
            self.dropped += cut
            self._tail_bytes -= cut
            if cut < len(first):
                self._tail.appendleft(first[cut:])

    def text(self) -> str:
        gap = f"\n[... {self.dropped} bytes dropped ...]\n".encode() if self.dropped else b""
        return (bytes(self._head) + gap + b"".join(self._tail)).decode(errors="replace")


class Usage(NamedTuple):
    memory: int
    processes: int


def tree_usage(pid: int) -> Usage:
    """Resident bytes and number of processes under `pid`; one that ends meanwhile counts as nothing."""
    memory = processes = 0
    try:
        tree = psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return Usage(0, 0)
    for process in tree:
        try:
            memory += process.memory_info().rss
            processes += 1
        except psutil.Error:
            continue
    return Usage(memory, processes)


def folder_bytes(root: Path) -> int:
    """Disk bytes under `root`, links not followed, every entry counted with at least ENTRY_BYTES."""
    total = 0
    pending = [os.fspath(root)]
    while pending:
        try:
            with os.scandir(pending.pop()) as entries:
                for entry in entries:
                    total += max(ENTRY_BYTES, entry.stat(follow_symlinks=False).st_blocks * 512)
                    if entry.is_dir(follow_symlinks=False):
                        pending.append(entry.path)
        except OSError:  # removed or made unreadable while we looked
            continue
    return total


def workspace_full(workspace: Path, limit: int) -> bool:
    """More in the workspace than `limit` bytes, or next to nothing left on its disk."""
    disk = os.statvfs(workspace)
    return disk.f_bavail * disk.f_frsize < DISK_RESERVE or folder_bytes(workspace) > limit


def gpu_model() -> str | None:
    """The models of the NVIDIA GPUs that the driver lists, or None."""
    files = sorted(Path("/proc/driver/nvidia/gpus").glob("*/information"))
    models = [match[1] for file in files if (match := re.search(r"^Model:\s*(.+)$", file.read_text(), re.M))]
    return ", ".join(models) or None
