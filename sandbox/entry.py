"""How every command begins inside: makes its folder, is confined to it, takes limits on, becomes the command.

It is sent along, so no file of this package has to exist inside. In a PID namespace of its own (bubblewrap)
it simply turns into the command, and the kernel ends whatever the command leaves behind. In a container shared by
several commands (Docker) it stays as the parent of everything the command starts, daemons included, and ends them all
when the command has ended or its time is up.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import resource
import signal
import sys
import time
from pathlib import Path

from sandbox import landlock

SUBREAPER = 36  # PR_SET_CHILD_SUBREAPER: orphaned descendants become children of this process


def take_limits(limits: dict[str, int]) -> None:
    """Set soft and hard limits, `{"NOFILE": 1024}`; without capabilities nothing inside can raise them again."""
    for name, value in limits.items():
        kind = getattr(resource, f"RLIMIT_{name}")
        hard = resource.getrlimit(kind)[1]
        limit = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(kind, (limit, limit))


def become(argv: list[str]) -> None:
    """Replace this process; 127 and 126 as a shell would say, when there is no such command or it cannot run."""
    for number in (signal.SIGPIPE, signal.SIGXFSZ):  # Python ignores them, and a command would inherit that
        signal.signal(number, signal.SIG_DFL)
    try:
        os.execvp(argv[0], argv)
    except OSError as error:
        sys.stderr.write(f"{argv[0]}: {error.strerror}\n")
        sys.stderr.flush()
        os._exit(127 if isinstance(error, FileNotFoundError) else 126)


def children() -> list[int]:
    """Direct children of this process, from the parent field of /proc/PID/stat."""
    found = []
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if entry.name.isdigit() and int((entry / "stat").read_text().rpartition(")")[2].split()[1]) == os.getpid():
                found.append(int(entry.name))
    return found


def wait_for(child: int, seconds: float) -> int | None:
    """The child's wait status, or None when the time is up; other children are reaped on the way."""
    deadline = time.monotonic() + seconds
    while True:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if pid == child:
            return status
        left = deadline - time.monotonic()
        if left <= 0:
            return None
        if pid == 0:
            signal.sigtimedwait({signal.SIGCHLD}, left)


def end_all(seconds: float = 2.0) -> None:
    """Kill generation after generation: the children of a killed process become ours."""
    deadline = time.monotonic() + seconds
    with contextlib.suppress(ChildProcessError):
        while time.monotonic() < deadline:
            for pid in children():
                os.kill(pid, signal.SIGKILL)
            if os.waitpid(-1, os.WNOHANG)[0] == 0:
                time.sleep(0.005)  # not blocking: a process may have become ours after we looked


def supervise(argv: list[str], seconds: float) -> int:
    """Run the command as a child, end everything it started, and answer with its exit code (128 + n for signal n)."""
    ctypes.CDLL(None).prctl(SUBREAPER, 1, 0, 0, 0)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
    child = os.fork()
    if child == 0:
        os.setsid()
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGCHLD})
        become(argv)
    status = wait_for(child, seconds)
    end_all()
    code = -signal.SIGKILL if status is None else os.waitstatus_to_exitcode(status)
    return 128 - code if code < 0 else code


def run(
    argv: list[str], cwd: str, limits: dict[str, int], ready_fd: int | None = None, seconds: float | None = None
) -> None:
    """Never returns: becomes the command, or with `seconds` watches over it and exits with its code."""
    take_limits(limits)
    if ready_fd is not None:
        os.write(ready_fd, b"+")
        os.close(ready_fd)
    try:
        Path(cwd).mkdir(parents=True, exist_ok=True)
        os.chdir(cwd)
        landlock.confine(cwd)
    except OSError as error:
        sys.stderr.write(f"working folder {cwd}: {error.strerror}\n")
        sys.stderr.flush()
        os._exit(1)
    if seconds is not None:
        os._exit(supervise(argv, seconds))
    become(argv)


def main() -> None:
    """In a sandbox of its own: settings and command follow the sources."""
    run(sys.argv[3:], **json.loads(sys.argv[2]))
