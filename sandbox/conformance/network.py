"""Checks that there is no network but the sandbox's own loopback. They never send anything to another machine."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

from sandbox.conformance.arena import Arena
from sandbox.conformance.check import NotApplicable, check, expect, expect_nothing, expect_refused

CONNECT = """
import json, socket, sys
family, address = sys.argv[1:]
address = json.loads(address)
with socket.socket(getattr(socket, family)) as attacker:
    attacker.settimeout(2)
    try:
        attacker.connect(tuple(address) if isinstance(address, list) else address)
        print(json.dumps("connected"))
    except OSError as error:
        print(json.dumps(error.strerror or "time-out"))
"""


def unreachable(arena: Arena, server: socket.socket, family: str, address: object) -> None:
    """Expect that nothing inside can connect to this listener on the host."""
    server.settimeout(0.2)
    answer = arena.ask(CONNECT, family, json.dumps(address))
    with contextlib.suppress(TimeoutError):
        server.accept()[0].close()
        answer = "connected"
    expect(answer != "connected", "a connection came through")


@check
def loopback(arena: Arena) -> None:
    """A listener on the host's loopback cannot be reached."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        unreachable(arena, server, "AF_INET", server.getsockname())


@check
def loopback_v6(arena: Arena) -> None:
    """A listener on the host's IPv6 loopback cannot be reached."""
    try:
        server = socket.create_server(("::1", 0), family=socket.AF_INET6)
    except OSError as error:
        raise NotApplicable("the host has no IPv6 loopback") from error
    with server:
        unreachable(arena, server, "AF_INET6", server.getsockname())


SEND = """
import json, socket, sys
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as attacker:
    try: attacker.sendto(b"beamcrew", ("127.0.0.1", int(sys.argv[1])))
    except OSError: pass
print(json.dumps("tried"))
"""


@check
def datagrams(arena: Arena) -> None:
    """A datagram to the host's loopback does not arrive."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        server.settimeout(0.2)
        arena.ask(SEND, server.getsockname()[1])
        with contextlib.suppress(TimeoutError):
            expect(False, f"{server.recvfrom(64)} arrived")


@check
def abstract_sockets(arena: Arena) -> None:
    """An abstract Unix socket of the host, which is no file, cannot be reached."""
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(f"\0beamcrew-{arena.secret}")
        server.listen()
        unreachable(arena, server, "AF_UNIX", f"\0beamcrew-{arena.secret}")


@contextlib.contextmanager
def socket_file(path: Path) -> Iterator[socket.socket]:
    """Open a listener on a Unix socket that anybody may use, by a descriptor because a long path does not fit."""
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(f"/proc/self/fd/{folder}/{path.name}")
        os.close(folder)
        path.chmod(0o777)
        server.listen()
        try:
            yield server
        finally:
            path.unlink()


@check
def unix_sockets(arena: Arena) -> None:
    """A Unix socket on the host cannot be reached by its path."""
    path = arena.scratch / "s"
    with socket_file(path) as server:
        unreachable(arena, server, "AF_UNIX", str(path))


SOCKETS = """
import json, os, stat, sys
found = []
for path in json.loads(sys.argv[1]):
    try: status = os.stat(path)
    except OSError: continue
    if stat.S_ISSOCK(status.st_mode): found.append(path)
print(json.dumps(found))
"""


@check
def sockets_of_services(arena: Arena) -> None:
    """The sockets of the Docker engine and of other services of the host are not there."""
    lines = Path("/proc/net/unix").read_text().splitlines()[1:]
    known = {line.split()[7] for line in lines if len(line.split()) > 7} | {"/var/run/docker.sock", "/run/docker.sock"}
    there = sorted(path for path in known if path.startswith("/") and is_socket(path))
    if not there:
        raise NotApplicable("no service of this host listens on a Unix socket")
    expect_nothing(arena.ask(SOCKETS, json.dumps(there)), "found")


def is_socket(path: str) -> bool:
    try:
        return stat.S_ISSOCK(Path(path).stat().st_mode)
    except OSError:
        return False


LISTENED = """
import json, sys
port, name = f":{int(sys.argv[1]):04X} ", sys.argv[2]
found = [table for table in ("tcp", "tcp6", "udp") if port in open(f"/proc/net/{table}").read()]
print(json.dumps(found + ["unix"] * (name in open("/proc/net/unix").read())))
"""


@check
def sockets_listed(arena: Arena) -> None:
    """The host's sockets are not listed in /proc/net."""
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket(socket.AF_UNIX) as abstract:
        abstract.bind(f"\0beamcrew-{arena.secret}")
        found = arena.ask(LISTENED, server.getsockname()[1], f"beamcrew-{arena.secret}")
    expect_nothing(found, "listed")


INTERFACES = """
import fcntl, json, socket, struct
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
    def is_up(name):
        answer = fcntl.ioctl(any_socket, 0x8913, struct.pack("256s", name.encode()))  # SIOCGIFFLAGS
        return struct.unpack_from("16xh", answer)[0] & 1
    print(json.dumps([name for _, name in socket.if_nameindex() if name != "lo" and is_up(name)]))
"""


@check
def interfaces(arena: Arena) -> None:
    """No network interface is up but the loopback."""
    expect_nothing(arena.ask(INTERFACES), "up")


ROUTES = """
import json, os, sys
table, device = sys.argv[1], int(sys.argv[2])
lines = [line.split() for line in open(table)] if os.path.exists(table) else []
print(json.dumps([" ".join(line) for line in lines if line and line[device] not in ("lo", "Iface")]))
"""


@check
def routes(arena: Arena) -> None:
    """There is no IPv4 route to anywhere."""
    expect_nothing(arena.ask(ROUTES, "/proc/net/route", 0), "routes")


@check
def routes_v6(arena: Arena) -> None:
    """There is no IPv6 route to anywhere."""
    expect_nothing(arena.ask(ROUTES, "/proc/net/ipv6_route", -1), "routes")


MAKE = """
import errno, json, socket
answers = {}
for name, family, kind, protocol in %s:
    try: socket.socket(family, kind, protocol).close()
    except OSError as error: answers[name] = errno.errorcode[error.errno]
    else: answers[name] = "ok"
print(json.dumps(answers))
"""
RAW = (
    MAKE
    % """(
    ("raw", socket.AF_INET, socket.SOCK_RAW, 1), ("raw v6", socket.AF_INET6, socket.SOCK_RAW, 58),
    ("packet", socket.AF_PACKET, socket.SOCK_RAW, 768), ("packet, cooked", socket.AF_PACKET, socket.SOCK_DGRAM, 768),
)"""
)
VSOCK = MAKE % """(("stream", 40, socket.SOCK_STREAM, 0), ("datagram", 40, socket.SOCK_DGRAM, 0))"""
UNKNOWN = ("EAFNOSUPPORT", "ESOCKTNOSUPPORT", "EPROTONOSUPPORT", "ENODEV")


@check
def raw_sockets(arena: Arena) -> None:
    """Packets can be neither crafted nor captured."""
    expect_refused(arena.ask(RAW), ("EPERM", "EACCES", *UNKNOWN))


@check
def machine_sockets(arena: Arena) -> None:
    """No socket to the host of a virtual machine can be made, which no network namespace would block."""
    expect_refused(arena.ask(VSOCK), ("EPERM", "EACCES", *UNKNOWN))


RAISE = """
import errno, fcntl, json, socket, struct
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
    flags = fcntl.ioctl(any_socket, 0x8913, struct.pack("40s", b"lo"))  # SIOCGIFFLAGS
    try: fcntl.ioctl(any_socket, 0x8914, flags)  # SIOCSIFFLAGS: unchanged
    except OSError as error: print(json.dumps({"SIOCSIFFLAGS": errno.errorcode[error.errno]}))
    else: print(json.dumps({"SIOCSIFFLAGS": "ok"}))
"""


@check
def interfaces_stay(arena: Arena) -> None:
    """No interface can be brought up or down."""
    expect_refused(arena.ask(RAISE))
