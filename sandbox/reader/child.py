"""The process in which files of arrays are parsed: `python -m sandbox.reader.child SOCKET`, started by `parsing`.

It has loaded all that it needs and waits. For each file it forks. The fork sets limits on itself, may open no file,
start no program, make no connection and send no signal, can write only to the answer's pipe, parses the file and ends.
So a hostile file can harm only that fork.

A request is one message: JSON, with three descriptors attached: the file, an empty file for the numbers and a pipe for
the answer. The answer is JSON: {"arrays": [[name, dtype, shape], ...]}, whose bytes follow one another in the file, or
{"refused": "why"}. No answer means a crash.
"""

from __future__ import annotations

import json
import mmap
import os
import resource
import signal
import socket
import sys
from pathlib import Path
from typing import Any

import numpy as np

from sandbox import seccomp
from sandbox.reader import npz, parquet, png, safetensors
from sandbox.reader.files import UnsafeFile

MESSAGE_MAX = 1 << 16
READERS: dict[str, Any] = {"npz": npz, "parquet": parquet, "png": png, "safetensors": safetensors}
OPTIONS: dict[str, dict[str, Any]] = {  # of the samples
    "parquet": {"max_rows": 9, "max_columns": 9, "columns": None},
    "png": {"side": 2},
}
STATUS = Path("/proc/self/status")


def serve(line: socket.socket) -> None:
    """Serve requests until the process that started this one has ended."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the forks are not waited for
    for kind, reader in READERS.items():  # libraries load parts of themselves on first use
        reader.arrays("sample", memoryview(reader.sample()), **OPTIONS.get(kind, {"max_values": 9}))
    silence = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    while True:
        message, fds, _, _ = socket.recv_fds(line, MESSAGE_MAX, 3)
        if not message:
            return
        if os.fork() == 0:
            try:
                line.close()  # through which the other files come
                for fd in (1, 2):  # the operator's terminal, where failing libraries would print text from the file
                    os.dup2(silence, fd)
                work(json.loads(message), *fds)
            finally:
                os._exit(1)
        for fd in fds:
            os.close(fd)


def work(request: dict[str, Any], file: int, numbers: int, answer: int) -> None:
    """Parse one file and send the answer; never returns."""
    confine(request["memory"], request["seconds"])
    relative, size = request["relative"], os.fstat(file).st_size
    data = memoryview(mmap.mmap(file, size, access=mmap.ACCESS_READ) if size else b"")
    said: dict[str, Any]
    try:
        arrays = READERS[request["format"]].arrays(relative, data, **request["options"])
        said = {"arrays": [[name, array.dtype.str, array.shape] for name, array in arrays.items()]}
        with open(numbers, "wb", closefd=False) as out:
            for array in arrays.values():
                out.write(np.ascontiguousarray(array).data)
    except UnsafeFile as error:
        said = {"refused": error.reason}
    except MemoryError:
        said = {"refused": "needs more memory to read than allowed"}
    except Exception as error:
        said = {"refused": f"not a {request['format']} file of numbers: {type(error).__name__}: {str(error)[:200]}"}
    with open(answer, "wb") as pipe:
        pipe.write(json.dumps(said).encode(errors="replace"))
    os._exit(0)


def confine(memory: int, seconds: int) -> None:
    """Limit this process to `memory` more bytes and `seconds` of CPU time, and cut it off from everything outside."""
    has = next(int(line.split()[1]) << 10 for line in STATUS.read_text().splitlines() if line.startswith("VmData:"))
    for kind, limit in (
        (resource.RLIMIT_DATA, has + memory),
        (resource.RLIMIT_FSIZE, memory),
        (resource.RLIMIT_CPU, seconds),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(kind, (limit, limit))
    signal.alarm(2 * seconds)
    seccomp.install(seccomp.PARSING)


if __name__ == "__main__":
    serve(socket.socket(fileno=int(sys.argv[1])))
