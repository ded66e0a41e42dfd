"""Parsing where a file can do no harm: in a fork of a warm process, with limits of its own (`sandbox.reader.child`).

Libraries of compiled code (pyarrow above all) can be brought to crash, or to take gigabytes, by files made for it.
What comes back is numbers and their shapes, checked here as if a stranger had sent them.
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

SECONDS = 60  # of a processor, for one file
ANSWER_MAX = 1 << 20
MEMORY_MAX = 4 << 30
MEMORY_MIN = 64 << 20
# Nothing of the operator's environment: keys above all.
ENVIRONMENT = {"ARROW_DEFAULT_MEMORY_POOL": "system", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


class Parsers:
    """The warm process of this one, started when it is first needed, and again when it is gone."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._line: socket.socket | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._owner = 0

    def ask(self, request: bytes, *fds: int) -> None:
        """Have a file parsed. Raises OSError when no process can be started."""
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
        """Whether there is no process, which is no file's fault: none can reach it."""
        return self._process is None or self._process.poll() is not None

    def close(self) -> None:
        """End the process; a fork of ours leaves its parent's alone."""
        if self._line is not None:
            self._line.close()
        if self._process is not None and self._owner == os.getpid():
            self._process.wait()
        self._line = self._process = None


PARSERS = Parsers()
atexit.register(PARSERS.close)


def parsed(kind: str, relative: str, data: bytes, options: Mapping[str, Any], max_values: int) -> dict[str, np.ndarray]:
    """The arrays of a file of that kind, of at most `max_values` numbers together.

    Raises UnsafeFile, and SandboxLost where no process can be had that parses files.

    `options`: of the kind's own function `arrays`.
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
            raise UnsafeFile(relative, "its names and shapes take too much room")
    if not text and PARSERS.gone():
        raise SandboxLost("the process that parses files has ended, or does not start: is this environment whole?")
    if not text:
        raise UnsafeFile(relative, "whoever reads it dies of it, or takes too much memory or time")
    answer = json.loads(text)
    if not isinstance(answer, dict):
        raise UnsafeFile(relative, "is not read as arrays")
    if "refused" in answer:
        raise UnsafeFile(relative, str(answer["refused"]))
    return answer


def _arrays(relative: str, answer: Mapping[str, Any], numbers: int, max_values: int) -> dict[str, np.ndarray]:
    """Copies of the numbers, where names, kinds and shapes fit to each other and to the bytes."""
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
