"""Resource usage of a run's commands, as seen from their processes, and the GPU of the host."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import NamedTuple

import psutil

from sandbox.driver import TEMPORARY

TICK = 0.1  # seconds between two checks of a process tree
# Fields of /proc/PID/status: resident, swapped out, and page tables, which a sparse mapping can inflate.
KIBIBYTES = ("VmRSS", "VmSwap", "VmPTE")
FIELD = re.compile(r"^(\w+):\s+(\d+)", re.MULTILINE)
SOCKETS = re.compile(r"^sockets: used (\d+)", re.MULTILINE)
MEMORY_FOLDERS = ("tmp", "dev/shm", TEMPORARY.strip("/"))
INODE = 1024  # bytes of kernel memory for a name on a tmpfs


class Usage(NamedTuple):
    memory: int
    processes: int  # threads are counted, as the kernel does


def tree(pid: int) -> list[int]:
    """Return the processes under `pid`, without itself."""
    try:
        return [process.pid for process in psutil.Process(pid).children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def only_children(outer: psutil.Process) -> list[psutil.Process]:
    """Return the children of a single-threaded process that starts no more of them. The kernel lists them, if it can:
    a search of all processes of the machine would take longer than everything else in a quick command."""
    try:
        listed = Path(f"/proc/{outer.pid}/task/{outer.pid}/children").read_text().split()
    except OSError:
        return list(outer.children())
    children = [psutil.Process(int(pid)) for pid in listed]
    return [child for child in children if child.ppid() == outer.pid]


def tree_usage(pid: int) -> Usage:
    """Return bytes of memory and number of threads under `pid`; processes that end meanwhile are not counted."""
    memory = processes = 0
    for one in tree(pid):
        try:
            fields = {name: int(number) for name, number in FIELD.findall(Path(f"/proc/{one}/status").read_text())}
        except OSError:
            continue
        memory += sum(fields.get(name, 0) for name in KIBIBYTES) << 10
        processes += fields.get("Threads", 0)
    return Usage(memory, processes)


def kernel_bytes(pid: int) -> int:
    """Return memory held by the processes under `pid` that no process shows: files and names on each tmpfs, and the
    maximum in their sockets. Needed only without a control group; the kernel itself bounds pipes."""
    for one in reversed(tree(pid)):
        try:
            if Path(f"/proc/{one}/root/.").stat().st_dev == Path("/").stat().st_dev:
                continue  # bwrap has not built the sandbox yet
            folders = [folder for name in MEMORY_FOLDERS if (folder := Path(f"/proc/{one}/root/{name}")).is_dir()]
            held = sum(map(_tmpfs, {folder.stat().st_dev: folder for folder in folders}.values()))  # may be one disk
            sockets = SOCKETS.search(Path(f"/proc/{one}/net/sockstat").read_text())
        except OSError:  # it has ended, or cannot be read
            continue
        return held + (int(sockets[1]) if sockets else 0) * socket_bytes()
    return 0


def _tmpfs(folder: Path) -> int:
    disk = os.statvfs(folder)
    return (disk.f_blocks - disk.f_bfree) * disk.f_frsize + (disk.f_files - disk.f_ffree) * INODE


def socket_bytes() -> int:
    """Return the maximum send buffer of a socket as the kernel counts it: twice the bytes."""
    return 2 * int(Path("/proc/sys/net/core/wmem_max").read_text())


def gpu_model() -> str | None:
    """Return the models of the NVIDIA GPUs that the driver lists, or None."""
    files = sorted(Path("/proc/driver/nvidia/gpus").glob("*/information"))
    models = [match[1] for file in files if (match := re.search(r"^Model:\s*(.+)$", file.read_text(), re.M))]
    return ", ".join(models) or None
