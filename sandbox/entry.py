"""Entry point of every command inside: makes its folder, confines itself to it, sets limits, becomes the command.

Its source is sent along, so no file of this package has to exist inside. In a PID namespace of its own (bubblewrap)
it simply turns into the command, and the kernel ends whatever the command leaves behind. In a container shared by
several commands (Docker) it remains the parent of everything the command starts, daemons included, and ends them all
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
    """Set soft and hard limits, as in `{"NOFILE": 1024}`; without capabilities nothing inside can raise them again."""
    for name, value in limits.items():
        kind = getattr(resource, f"RLIMIT_{name}")
        hard = resource.getrlimit(kind)[1]
        limit = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(kind, (limit, limit))


def become(argv: list[str], folders: list[str]) -> None:
    """Replace this process by the command, which can write only in `folders`. Exits as a shell does with 127 if there
    is no such command, with 126 if it cannot run.
    """
    try:
        landlock.confine(*folders)
    except OSError as error:
        give_up(f"{' and '.join(folders)}: {error.strerror}")
    for number in (signal.SIGPIPE, signal.SIGXFSZ):  # Python ignores these, and a command would inherit that
        signal.signal(number, signal.SIG_DFL)
    try:
        os.execvp(argv[0], argv)
    except OSError as error:
        sys.stderr.write(f"{argv[0]}: {error.strerror}\n")
        sys.stderr.flush()
        os._exit(127 if isinstance(error, FileNotFoundError) else 126)


def children() -> list[int]:
    """Return the direct children of this process, from the parent field of /proc/PID/stat."""
    return [int(name) for name in os.listdir("/proc") if name.isdigit() and parent(name) == os.getpid()]


def parent(pid: str) -> int | None:
    """Return the pid of its parent; None once it is gone."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as stat:
            return int(stat.read().rpartition(")")[2].split()[1])
    except OSError:
        return None


def wait_for(child: int, seconds: float) -> int | None:
    """Return the child's wait status, or None if the time is up; other children are reaped on the way."""
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
    """Kill all descendants, generation by generation: the children of a killed process become ours."""
    deadline = time.monotonic() + seconds
    try:
        while time.monotonic() < deadline:
            for pid in children():
                os.kill(pid, signal.SIGKILL)
            if os.waitpid(-1, os.WNOHANG)[0] == 0:
                time.sleep(0.005)  # not blocking: another process may have become ours meanwhile
    except ChildProcessError:
        return


def supervise(argv: list[str], folders: list[str], seconds: float) -> int:
    """Run the command as a child, end everything it started, and return its exit code (128 + n for signal n)."""
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
    """Make a temporary folder for this command alone, so that no step finds there what another has left for it."""
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
    """Become the command or, with `seconds`, supervise it and exit with its code; never returns.

    `temporary`: a folder in which the command gets its own subfolder while it runs.
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
    """Report why the command cannot start, and exit."""
    sys.stderr.write(f"{why}\n")
    sys.stderr.flush()
    os._exit(1)


def remove(folders: list[str]) -> None:
    """Remove the folders as far as possible; what remains takes bounded space."""
    import shutil  # already loaded in a container's first process; elsewhere it would cost milliseconds

    for folder in folders:
        try:
            shutil.rmtree(folder, ignore_errors=True)
        except (OSError, RecursionError):
            continue


def main() -> None:
    """Run as the first program of a bubblewrap sandbox: settings and command follow the sources."""
    run(sys.argv[3:], **marshal.loads(binascii.a2b_base64(sys.argv[2])))
