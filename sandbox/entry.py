"""How every command begins inside: makes its folder, is confined to it, takes limits on, becomes the command.

It is sent along, so no file of this package has to exist inside. In a PID namespace of its own (bubblewrap)
it simply turns into the command, and the kernel ends whatever the command leaves behind. In a container shared by
several commands (Docker) it stays as the parent of everything the command starts, daemons included, and ends them all
when the command has ended or its time is up.

Every command waits for it, so it imports only what starts fast: no json, no pathlib, no contextlib, no typing.
"""

from __future__ import annotations

import binascii
import marshal
import os
import resource
import signal
import sys
import time

from sandbox import landlock

SUBREAPER = 36  # PR_SET_CHILD_SUBREAPER: orphaned descendants become children of this process


def take_limits(limits: dict[str, int]) -> None:
    """Set soft and hard limits, `{"NOFILE": 1024}`; without capabilities nothing inside can raise them again."""
    for name, value in limits.items():
        kind = getattr(resource, f"RLIMIT_{name}")
        hard = resource.getrlimit(kind)[1]
        limit = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(kind, (limit, limit))


def become(argv: list[str], folders: list[str]) -> None:
    """Replace this process, which from here on writes in `folders` alone; 127 and 126 as a shell would say, when there
    is no such command or it cannot run.
    """
    try:
        landlock.confine(*folders)
    except OSError as error:
        give_up(f"{' and '.join(folders)}: {error.strerror}")
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
    return [int(name) for name in os.listdir("/proc") if name.isdigit() and parent(name) == os.getpid()]


def parent(pid: str) -> int | None:
    """Its parent's pid; None once it is gone."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as stat:
            return int(stat.read().rpartition(")")[2].split()[1])
    except OSError:
        return None


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
    try:
        while time.monotonic() < deadline:
            for pid in children():
                os.kill(pid, signal.SIGKILL)
            if os.waitpid(-1, os.WNOHANG)[0] == 0:
                time.sleep(0.005)  # not blocking: a process may have become ours after we looked
    except ChildProcessError:
        return


def supervise(argv: list[str], folders: list[str], seconds: float) -> int:
    """Run the command as a child, end everything it started, and answer with its exit code (128 + n for signal n)."""
    landlock.LIBC.prctl(SUBREAPER, 1, 0, 0, 0)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
    child = os.fork()
    if child == 0:
        os.setsid()
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGCHLD})
        become(argv, folders)
    status = wait_for(child, seconds)
    end_all()
    code = -signal.SIGKILL if status is None else os.waitstatus_to_exitcode(status)
    return 128 - code if code < 0 else code


def own_temporary(parent: str) -> str:
    """A folder for what this command writes besides: no step finds there what another has left for it."""
    folder = f"{parent}/{os.getpid()}-{time.monotonic_ns()}"
    os.mkdir(folder, 0o700)
    for name in ("HOME", "TMPDIR", "MPLCONFIGDIR"):
        os.environ[name] = folder
    return folder


def run(
    argv: list[str],
    cwd: str,
    limits: dict[str, int],
    ready_fd: int | None = None,
    seconds: float | None = None,
    temporary: str = "",
) -> None:
    """Never returns: becomes the command, or with `seconds` watches over it and exits with its code.

    `temporary`: a folder in which the command gets one of its own, for as long as it runs.
    """
    take_limits(limits)
    if ready_fd is not None:
        os.write(ready_fd, b"+")
        os.close(ready_fd)
    folders = [cwd]
    try:
        os.makedirs(cwd, exist_ok=True)
        os.chdir(cwd)
        if temporary:
            folders.append(own_temporary(temporary))
    except OSError as error:
        give_up(f"working folder {cwd}: {error.strerror}")
    if seconds is None:
        become(argv, folders)
    else:
        code = supervise(argv, folders, seconds)
        remove(folders[1:])
        os._exit(code)


def give_up(why: str) -> None:
    """Never returns."""
    sys.stderr.write(f"{why}\n")
    sys.stderr.flush()
    os._exit(1)


def remove(folders: list[str]) -> None:
    """What cannot be removed keeps its room, which is bounded."""
    import shutil  # the first process of a container has it loaded; elsewhere it would cost milliseconds

    for folder in folders:
        try:
            shutil.rmtree(folder, ignore_errors=True)
        except (OSError, RecursionError):
            continue


def main() -> None:
    """In a sandbox of its own: settings and command follow the sources."""
    run(sys.argv[3:], **marshal.loads(binascii.a2b_base64(sys.argv[2])))
