"""Helpers on the host, outside every sandbox: markers, processes to attack, and searches for running processes."""

from __future__ import annotations

import contextlib
import itertools
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping

import psutil

_counter = itertools.count(time.time_ns() % 10**9)


def marker() -> str:
    """Return a unique argument of 30 seconds for `sleep`, so that whatever escapes can be found, and ends by itself."""
    return f"30.{next(_counter):012d}"


def running(mark: str) -> list[int]:
    """Return the processes of this machine, in any namespace, that have `mark` in their command line."""
    return [p.pid for p in psutil.process_iter(["cmdline"]) if mark in " ".join(p.info["cmdline"] or [])]


def comes(mark: str, seconds: float = 10) -> bool:
    """Wait for such a process, and return whether it came."""
    return _wait(lambda: bool(running(mark)), seconds)


def gone(mark: str, seconds: float = 3) -> bool:
    """Wait for such processes to end, and return whether they did."""
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
    """Start a process of the host; yield it and the mark in its command line."""
    mark = marker()
    process = subprocess.Popen(["sleep", mark], env={**(environment or {}), "PATH": "/usr/bin:/bin"})
    try:
        yield process, mark
    finally:
        process.kill()
        process.wait()
