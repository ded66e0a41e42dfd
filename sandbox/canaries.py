"""Canaries that test the sandbox of a run: things that must not be reachable are planted, then looked for from inside.

They are a label-like file outside every mount, a key-like variable in the environment of this process, and a listener
on the host's loopback. One probe inside looks for all of them and sends its findings nowhere else.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import socket
from collections.abc import Iterator
from pathlib import Path

from pydantic import Field

from sandbox.driver import Frozen, Sandbox, SandboxLost

KEY = "BEAMCREW_CANARY_KEY"

PROBE = """
import fcntl, glob, json, os, socket, struct, sys
path, key, port = sys.argv[1:]
found = {}
try:
    found["labels"] = open(path).read(64)
except OSError as error:
    found["labels"] = None
found["key"] = [key] if key in os.environ else []
for name in glob.glob("/proc/[0-9]*/environ"):
    try:
        if key.encode() in open(name, "rb").read():
            found["key"].append(name)
    except OSError:
        pass
try:
    socket.create_connection(("127.0.0.1", int(port)), timeout=1).close()
    found["listener"] = True
except OSError:
    found["listener"] = False
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
    def is_up(name):
        answer = fcntl.ioctl(any_socket, 0x8913, struct.pack("256s", name.encode()))  # SIOCGIFFLAGS
        return struct.unpack_from("16xh", answer)[0] & 1
    found["interfaces"] = [name for _, name in socket.if_nameindex() if name != "lo" and is_up(name)]
found["routes"] = [line.split()[0] for line in open("/proc/net/route").readlines()[1:] if line.strip()]
try:
    open("/usr/.beamcrew-canary", "w").close()
    found["root"] = True
except OSError:
    found["root"] = False
print(json.dumps(found))
"""


class CanaryVerdict(Frozen):
    """The result: whether every canary stayed out of reach, and one line on each."""

    held: bool
    lines: list[str] = Field(description="'ok' or 'LEAK', and what was tried")


def plant_and_probe(sandbox: Sandbox, label_file: Path) -> CanaryVerdict:
    """Plant the canaries (the file at `label_file`), look for them from inside, and remove them again."""
    with planted_file(label_file), planted_variable(KEY), listener() as port:
        result = sandbox.exec(["python", "-c", PROBE, str(label_file.absolute()), KEY, str(port)], seconds=60)
    if not result.ok:
        raise SandboxLost(
            f"the canary probe failed ({result.ended}, exit code {result.exit_code}): {result.stderr[-500:]}"
        )
    found = json.loads(result.stdout)
    tried = {
        "labels": "read a label file of the host by its absolute path",
        "key": "find a key of the host's environment in /proc/*/environ",
        "listener": "connect to a listener on the host's loopback",
        "interfaces": "find a network interface that is up, besides lo",
        "routes": "find a network route",
        "root": "write to the root file system",
    }
    leaks = {name: found[name] for name in tried if found[name] not in (None, False, [])}
    lines = [f"{'LEAK' if name in leaks else 'ok'} {name}: tried to {what}" for name, what in tried.items()]
    return CanaryVerdict(held=not leaks, lines=lines)


@contextlib.contextmanager
def planted_file(path: Path) -> Iterator[None]:
    """Plant a file that looks like labels; one that already exists (say, a real one) is used as it is."""
    if path.exists():
        yield
        return
    path.write_text(f"event,label\n0,{secrets.token_hex(16)}\n")
    try:
        yield
    finally:
        path.unlink()


@contextlib.contextmanager
def planted_variable(name: str) -> Iterator[None]:
    os.environ[name] = secrets.token_hex(16)
    try:
        yield
    finally:
        del os.environ[name]


@contextlib.contextmanager
def listener() -> Iterator[int]:
    """Open a TCP port on the host's loopback that accepts connections but is never read."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield int(server.getsockname()[1])
