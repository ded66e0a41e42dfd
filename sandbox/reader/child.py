"""The process in which files of arrays are parsed: `python -m sandbox.reader.child SOCKET`, started by `parsing`.

It has loaded all that it needs and waits. For each file it forks: the fork takes limits on, may open no file, start no
program, make no connection and signal nobody, has nobody to talk to but the answer's pipe, parses and ends. What a file
does to it, it does to that fork alone.

A request is one message: JSON, with the file, an empty file for the numbers and a pipe for the answer attached. The
answer is JSON: {"arrays": [[name, dtype, shape], ...]}, whose bytes lie in the file one behind the other, or
{"refused": "why"}. No answer at all is a crash.
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
from sandbox.reader import npz, parquet, safetensors
from sandbox.reader.files import UnsafeFile

MESSAGE_MAX = 1 << 16
READERS: dict[str, Any] = {"npz": npz, "parquet": parquet, "safetensors": safetensors}
STATUS = Path("/proc/self/status")


def serve(line: socket.socket) -> None:
    """Until the process that began this one is gone."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the forks
    for reader in READERS.values():  # libraries load parts of themselves when they are first used
        values = {"max_rows": 9, "max_columns": 9, "columns": None} if reader is parquet else {"max_values": 9}
        reader.arrays("sample", memoryview(reader.sample()), **values)
    silence = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    while True:
        message, fds, _, _ = socket.recv_fds(line, MESSAGE_MAX, 3)
        if not message:
            return
        if os.fork() == 0:
            try:
                line.close()  # on which the other files come
                for fd in (1, 2):  # the operator's terminal; libraries that give up say why, in words of the file's
                    os.dup2(silence, fd)
                work(json.loads(message), *fds)
            finally:
                os._exit(1)
        for fd in fds:
            os.close(fd)


def work(request: dict[str, Any], file: int, numbers: int, answer: int) -> None:
    """Parse one file and say what came of it; never comes back."""
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
        said = {"refused": "takes more memory to read than it may"}
    except Exception as error:
        said = {"refused": f"not a {request['format']} file of numbers: {type(error).__name__}: {str(error)[:200]}"}
    with open(answer, "wb") as pipe:
        pipe.write(json.dumps(said).encode(errors="replace"))
    os._exit(0)


def confine(memory: int, seconds: int) -> None:
    """Limits on this process: bytes beyond what it has, time of its processor, and no way to anything outside."""
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
