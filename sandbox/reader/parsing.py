"""Parsing of files where they can do no harm: in a limited fork of a warm process (`sandbox.reader.child`).

Malicious files can make compiled libraries (pyarrow above all) crash or take gigabytes of memory. What comes back is
numbers and their shapes, checked here as untrusted input.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import select
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from sandbox.driver import SandboxLost
from sandbox.reader.files import UnsafeFile
from sandbox.reader.plain import Room, as_array, check_name

SECONDS = 60  # of CPU time, for one file
ANSWER_MAX = 1 << 20
MEMORY_MAX = 4 << 30
MEMORY_MIN = 64 << 20
# Nothing from the operator's environment, above all no keys.
ENVIRONMENT = {"ARROW_DEFAULT_MEMORY_POOL": "system", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


class Parsers:
    """The warm process that parses for this one, started when first needed and restarted when gone."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._line: socket.socket | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._owner = 0

    def ask(self, request: bytes, *fds: int) -> None:
        """Have a file parsed. Raises OSError if no process can be started."""
        with self._lock:
            if self._line is not None and self._owner == os.getpid():
                with contextlib.suppress(OSError):
                    socket.send_fds(self._line, [request], fds)
                    return
            socket.send_fds(self._start(), [request], fds)

    def _start(self) -> socket.socket:
        self.close()
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        paths = os.pathsep.join(path or str(Path.cwd()) for path in sys.path)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "sandbox.reader.child", str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                env={**ENVIRONMENT, "PATH": os.environ.get("PATH", ""), "PYTHONPATH": paths},
                pass_fds=(theirs.fileno(),),
                start_new_session=True,  # Ctrl-C is for the operator's process
            )
        self._line, self._owner = ours, os.getpid()
        return ours

    def gone(self) -> bool:
        """Return whether there is no process, which no file can cause."""
        return self._process is None or self._process.poll() is not None

    def close(self) -> None:
        """End the process, unless this is a fork of the process that started it."""
        if self._line is not None:
            self._line.close()
        if self._process is not None and self._owner == os.getpid():
            self._process.wait()
        self._line = self._process = None


PARSERS = Parsers()
atexit.register(PARSERS.close)


def parsed(kind: str, relative: str, data: bytes, options: Mapping[str, Any], max_values: int) -> dict[str, np.ndarray]:
    """Return the arrays of a file of that kind, at most `max_values` numbers in total.

    `options` are those of the kind's own function `arrays`. Raises UnsafeFile, and SandboxLost if no parsing process
    can be started.
    """
    memory = min(MEMORY_MAX, MEMORY_MIN + 4 * len(data) + 64 * max_values)
    request = {"format": kind, "relative": relative, "options": options, "memory": memory, "seconds": SECONDS}
    with _in_memory(data) as file, _in_memory(b"") as numbers:
        reading, writing = os.pipe()
        try:
            PARSERS.ask(json.dumps(request).encode(errors="replace"), file, numbers, writing)
        except BaseException:
            os.close(reading)
            raise
        finally:
            os.close(writing)
        try:
            answer = _answer(relative, reading)
        finally:
            os.close(reading)
        return _arrays(relative, answer, numbers, max_values)


def _answer(relative: str, pipe: int) -> Mapping[str, Any]:
    text, poll = b"", select.poll()
    poll.register(pipe)
    while True:
        if not poll.poll(1000 * (2 * SECONDS + 5)):
            raise UnsafeFile(relative, f"not read after {2 * SECONDS} seconds")
        if not (piece := os.read(pipe, 1 << 16)):
            break
        text += piece
        if len(text) > ANSWER_MAX:
            raise UnsafeFile(relative, "its names and shapes take too much space")
    if not text and PARSERS.gone():
        raise SandboxLost("the process that parses files has ended, or does not start: is this environment complete?")
    if not text:
        raise UnsafeFile(relative, "reading it crashes, or takes too much memory or time")
    answer = json.loads(text)
    if not isinstance(answer, dict):
        raise UnsafeFile(relative, "is not read as arrays")
    if "refused" in answer:
        raise UnsafeFile(relative, str(answer["refused"]))
    return answer


def _arrays(relative: str, answer: Mapping[str, Any], numbers: int, max_values: int) -> dict[str, np.ndarray]:
    """Return copies of the numbers, if names, types and shapes are consistent with each other and with the bytes."""
    room, place, arrays = Room(relative, max_values), 0, {}
    for name, code, shape in answer["arrays"]:
        check_name(relative, name)
        dtype = np.dtype(code)
        if name in arrays or dtype.kind not in "biuf" or dtype.itemsize > 8:
            raise UnsafeFile(relative, f"{name!r} does not hold plain numbers, or is there twice")
        size = room.take(name, shape) * dtype.itemsize
        arrays[name] = as_array(_piece(relative, numbers, size, place), dtype, shape)
        place += size
    return arrays


def _piece(relative: str, fd: int, size: int, place: int) -> bytearray:
    data = bytearray(size)
    view, done = memoryview(data), 0
    while done < size:
        got = os.preadv(fd, [view[done:]], place + done)
        if not got:
            raise UnsafeFile(relative, "has fewer numbers than it announces")
        done += got
    return data


@contextlib.contextmanager
def _in_memory(data: bytes) -> Iterator[int]:
    fd = os.memfd_create("beamcrew-parse", os.MFD_CLOEXEC)
    try:
        view = memoryview(data)
        while view:
            view = view[os.write(fd, view) :]
        yield fd
    finally:
        os.close(fd)
