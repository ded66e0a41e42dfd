"""Files of every format, damaged where their structure lies: read as numbers or refused, and nothing else happens."""

from __future__ import annotations

import io
import resource
import socket
import subprocess
import sys
from pathlib import Path

import mutants
import numpy as np
import pytest

from sandbox.reader import UnsafeFile, parsing, read_npz, read_parquet

COUNT = {"parquet": 400, "npz": 250, "safetensors": 250, "json": 1000, "png": 1000}
GROWN = 200  # MiB that this process may grow by


@pytest.mark.parametrize("kind", COUNT)
def test_mutants_are_read_or_refused(kind: str, tmp_path: Path) -> None:
    mutants.FORMATS[kind][1](tmp_path, good(kind, tmp_path))
    process, before = parsing.PARSERS._process, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    said = [what for _, what in mutants.tried(kind, COUNT[kind], 7, tmp_path)]
    assert len(said) == COUNT[kind]
    assert 0 < said.count("read") < len(said), "mutants are no mutants, or nothing is read at all"
    assert parsing.PARSERS._process is process, "what waits for files has died"
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) >> 10 < GROWN


def good(kind: str, folder: Path) -> str:
    (folder / "good").write_bytes(mutants.FORMATS[kind][0](np.random.default_rng(3)))
    return "good"


def test_a_file_that_asks_for_more_memory_than_it_may_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    np.savez_compressed(file := io.BytesIO(), a=np.zeros(8 << 20))
    (tmp_path / "a.npz").write_bytes(file.getvalue())
    assert read_npz(tmp_path, "a.npz", 1 << 20, 8 << 20)["a"].sum() == 0
    monkeypatch.setattr(parsing, "MEMORY_MAX", 8 << 20)
    with pytest.raises(UnsafeFile, match="memory"):
        read_npz(tmp_path, "a.npz", 1 << 20, 8 << 20)


def test_a_process_that_has_gone_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "good").write_bytes(mutants.parquet(np.random.default_rng(1)))
    for _ in range(2):
        assert len(read_parquet(tmp_path, "good", 1 << 20, 1000, 8)) > 1
        assert parsing.PARSERS._process is not None
        parsing.PARSERS._process.kill()
        parsing.PARSERS._process.wait()


CONFINED = """
import os, resource, signal, socket, sys, threading
from sandbox.reader.child import confine
confine(64 << 20, 5)
done = []
for name, how in {
    "open": lambda: open("/etc/hostname"),
    "make": lambda: open(sys.argv[1], "w"),
    "remove": lambda: os.unlink(sys.argv[2]),
    "fork": os.fork,
    "run": lambda: os.execv("/bin/true", ["true"]),
    "socket": lambda: socket.socket(),
    "kill": lambda: os.kill(os.getppid(), 0),
    "kill a thread": lambda: signal.pthread_kill(threading.get_ident(), 0),
    "limit": lambda: resource.prlimit(os.getppid(), resource.RLIMIT_NOFILE),
    "nice": lambda: os.setpriority(os.PRIO_PROCESS, os.getppid(), 5),
}.items():
    try: how()
    except PermissionError: continue
    done.append(name)
try: taken = bytearray(256 << 20)
except MemoryError: pass
else: done.append("memory")
print(done)
"""


def test_a_parser_that_was_taken_over_reaches_nothing(tmp_path: Path) -> None:
    (tmp_path / "there").touch()
    words = [sys.executable, "-c", CONFINED, str(tmp_path / "made"), str(tmp_path / "there")]
    said = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    assert said == "[]\n"
    assert (tmp_path / "there").exists()
    assert not (tmp_path / "made").exists()


TAKEN_OVER = """
import os, socket, stat, sys
from sandbox.reader import child
warm = os.getpid()
def hostile(relative, data, **options):
    if os.getpid() == warm: return {}
    for fd in (1, 2): os.write(fd, b"loud")
    sockets = []
    for fd in range(64):
        try: sockets += [fd] * stat.S_ISSOCK(os.fstat(fd).st_mode)
        except OSError: pass
    raise child.UnsafeFile(relative, f"sockets: {sockets}")
child.npz.arrays = hostile
child.serve(socket.socket(fileno=int(sys.argv[1])))
"""


def test_a_parser_that_was_taken_over_has_no_terminal_and_no_other_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    words = [sys.executable, "-c", TAKEN_OVER, str(theirs.fileno())]
    with theirs:
        process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, pass_fds=(theirs.fileno(),))
    monkeypatch.setattr(parsing.PARSERS, "ask", lambda request, *fds: socket.send_fds(ours, [request], fds))
    (tmp_path / "any").write_bytes(b"any")
    with pytest.raises(UnsafeFile, match=r"sockets: \[\]"):
        read_npz(tmp_path, "any", 100, 9)
    ours.close()
    assert process.communicate(timeout=30) == (b"", b"")
