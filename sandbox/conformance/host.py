"""What the checks put up on the host, outside every sandbox, and what they find running there."""

from __future__ import annotations

import contextlib
import itertools
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping

import psutil

_counter = itertools.count(time.time_ns() % 10**9)


def marker() -> str:
    """An argument for `sleep`, 30 seconds long and unlike any other: whatever escapes can be found, and ends."""
    return f"30.{next(_counter):012d}"


def running(mark: str) -> list[int]:
    """Processes of this machine, in whatever namespace, that have `mark` in their command line."""
    return [p.pid for p in psutil.process_iter(["cmdline"]) if mark in " ".join(p.info["cmdline"] or [])]


def comes(mark: str, seconds: float = 10) -> bool:
    """Whether such a process is there, or soon is."""
    return _wait(lambda: bool(running(mark)), seconds)


def gone(mark: str, seconds: float = 3) -> bool:
    """Whether no such process is there, or soon none is."""
    return _wait(lambda: not running(mark), seconds)


def _wait(condition: Callable[[], bool], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


@contextlib.contextmanager
def victim(environment: Mapping[str, str] | None = None) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """A process of the host, and the mark in its command line."""
    mark = marker()
    process = subprocess.Popen(["sleep", mark], env={**(environment or {}), "PATH": "/usr/bin:/bin"})
    try:
        yield process, mark
    finally:
        process.kill()
        process.wait()
