"""Checks that of two concurrent runs, each in its own sandbox, neither sees, reaches or affects the other."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

from sandbox.conformance.arena import Arena, identity
from sandbox.conformance.calls import program
from sandbox.conformance.check import check, expect, expect_nothing
from sandbox.conformance.files import READ, SAME
from sandbox.conformance.host import running
from sandbox.conformance.keys import search
from sandbox.conformance.network import CONNECT
from sandbox.conformance.processes import INTRUDE, SIGNAL, TARGET
from sandbox.reader import UnsafeFile, read_json

# Leaves something everywhere, says where, and waits to be stopped.
NEIGHBOUR = """
import json, os, pathlib, socket, sys, time
secret = sys.argv[1]
name = f"beamcrew-{secret}"
files = [pathlib.Path(folder, name) for folder in ("/tmp", "/dev/shm", ".")]
for file in files: file.write_text(secret)
abstract = socket.socket(socket.AF_UNIX)
abstract.bind(chr(0) + name)
abstract.listen()
with socket.create_server(("127.0.0.1", 0)) as server:
    pathlib.Path("new").write_text(json.dumps(server.getsockname()[1]))
    os.rename("new", "ready.json")
    end = time.monotonic() + 20
    while not os.path.exists("stop") and time.monotonic() < end: time.sleep(0.05)
for file in files: file.unlink()
print("left in peace")
"""


class Neighbour(NamedTuple):
    """State of another run at this moment."""

    workspace: Path
    port: int
    name: str
    pid: int  # on the host


@contextlib.contextmanager
def neighbour(arena: Arena) -> Iterator[Neighbour]:
    """Keep another run at work meanwhile, and expect that it finishes undisturbed."""
    box = arena.make()
    secret = f"{arena.secret}-{time.time_ns()}"
    with ThreadPoolExecutor() as pool:
        job = pool.submit(arena.python, NEIGHBOUR, secret, box=box)
        try:
            port = wait_for(box.workspace, job.done)
            yield Neighbour(box.workspace, port, f"beamcrew-{secret}", max(running(secret)))
        finally:
            (box.workspace / "stop").touch()
        expect(job.result().stdout == "left in peace\n", f"the other run was disturbed: {job.result()}")


def wait_for(workspace: Path, over: Any) -> int:
    while True:
        with contextlib.suppress(UnsafeFile):
            return int(read_json(workspace, "ready.json"))
        if over():
            raise RuntimeError("the other run did not start")
        time.sleep(0.02)


@check
def workspace_of_another_run(arena: Arena) -> None:
    """The workspace of another run is not there under any path."""
    with neighbour(arena) as other:
        found = arena.ask(SAME, json.dumps([identity(other.workspace), identity(other.workspace.parent)]))
        expect_nothing(found, "found")
        upwards = ("/workspace/..", "/workspace/../..", "/proc/[0-9]*/cwd", "/proc/[0-9]*/root/workspace")
        found = arena.ask(READ, f"/{other.name}", str(other.workspace), *upwards)
        expect_nothing(found, "read")


@check
def temporary_files_of_another_run(arena: Arena) -> None:
    """Files of another run in /tmp are not visible."""
    with neighbour(arena) as other:
        expect_nothing(arena.ask(READ, f"/{other.name}", "/tmp", "/var/tmp"), "read")


@check
def shared_memory_of_another_run(arena: Arena) -> None:
    """Files of another run in /dev/shm are not visible."""
    with neighbour(arena) as other:
        expect_nothing(arena.ask(READ, f"/{other.name}", "/dev/shm"), "read")


@check
def processes_of_another_run(arena: Arena) -> None:
    """The processes of another run are not listed."""
    with neighbour(arena) as other:
        expect_nothing(search(arena, "/proc/[0-9]*/cmdline", other.name.removeprefix("beamcrew-")), "found in")


@check
def signals_to_another_run(arena: Arena) -> None:
    """A process of another run can be neither signalled nor traced by its number on the host."""
    with neighbour(arena) as other:
        mark = other.name.removeprefix("beamcrew-")
        looked = program(TARGET + INTRUDE + "print(json.dumps([] if is_another() else intrude(target)))")
        expect_nothing(arena.ask(looked, other.pid, mark), "done")
        answers = arena.ask(program(TARGET + SIGNAL).replace("SIGKILL", "SIGCONT"), other.pid, mark)
        expect_nothing((how for how, answer in answers.items() if answer == "ok"), "delivered by")


@check
def loopback_of_another_run(arena: Arena) -> None:
    """A listener on the loopback of another run cannot be reached."""
    with neighbour(arena) as other:
        answer = arena.ask(CONNECT, "AF_INET", json.dumps(["127.0.0.1", other.port]))
        expect(answer != "connected", "a connection came through")


@check
def abstract_sockets_of_another_run(arena: Arena) -> None:
    """An abstract Unix socket of another run cannot be reached."""
    with neighbour(arena) as other:
        answer = arena.ask(CONNECT, "AF_UNIX", json.dumps(f"\0{other.name}"))
        expect(answer != "connected", "a connection came through")


@check
def full_run_beside(arena: Arena) -> None:
    """A run that fills its workspace or takes too much memory does not end the command of another."""
    with neighbour(arena):
        full = arena.make(workspace_mib=8, memory_mib=128)
        expect(not arena.python("open('large', 'wb').write(bytes(16 << 20))", box=full).ok, "no limit held")
        code = "taken = [bytearray(8 << 20) for _ in range(48)]; import time; time.sleep(3)"
        expect(not arena.python(code, box=full).ok, "no limit held")
