"""Checks on the operator's keys: in the environment, in command lines, in the kernel's key rings."""

from __future__ import annotations

import ctypes

from sandbox.canaries import planted_variable
from sandbox.conformance.arena import Arena
from sandbox.conformance.calls import numbers, program
from sandbox.conformance.check import NotApplicable, check, expect_nothing, expect_refused
from sandbox.conformance.host import victim
from sandbox.inside import environment

KEY = "BEAMCREW_PLANTED_KEY"
# Paths of programs, of the command, of the sandbox itself, and of temporary files.
OF_THE_DRIVER = {"PATH", "PWD", "HOSTNAME", "HOME", "TMPDIR", "MPLCONFIGDIR"}
VARIABLES = "import json, os; print(json.dumps(dict(os.environ)))"


@check
def environment_is_declared(arena: Arena) -> None:
    """The environment of a command is exactly the declared one."""
    declared = environment(arena.box.info.limits, arena.box.info.gpu is not None)
    found = arena.ask(VARIABLES)
    expect_nothing(found.keys() - declared.keys() - OF_THE_DRIVER, "not declared")
    wrong = (name for name, value in declared.items() if name not in OF_THE_DRIVER and found.get(name) != value)
    expect_nothing(wrong, "not as declared")


@check
def key_in_the_environment(arena: Arena) -> None:
    """A key in the operator's environment does not get inside."""
    with planted_variable(KEY):
        expect_nothing((name for name in arena.ask(VARIABLES) if name == KEY), "found")


SEARCH = """
import glob, json, os, sys
found = []
for name in glob.glob(sys.argv[1]):
    try:
        with open(name, "rb") as file: content = file.read()
    except OSError: continue
    if sys.argv[2][::-1].encode() in content: found.append(name)
print(json.dumps(found))
"""


def search(arena: Arena, pattern: str, text: str) -> list[str]:
    """Return the files of a pattern that hold a text; it is passed reversed so that the search does not find itself."""
    return [str(name) for name in arena.ask(SEARCH, pattern, text[::-1])]


@check
def key_of_another_process(arena: Arena) -> None:
    """A key in the environment of a host process cannot be found in /proc."""
    with victim({KEY: arena.secret}):
        expect_nothing(search(arena, "/proc/[0-9]*/environ", arena.secret), "found in")


@check
def key_in_a_command_line(arena: Arena) -> None:
    """A key in the command line of a host process cannot be found in /proc."""
    with victim() as (_, mark):
        expect_nothing(search(arena, "/proc/[0-9]*/cmdline", mark), "found in")


@check
def key_rings_listed(arena: Arena) -> None:
    """A key in the operator's key ring is not listed inside."""
    name = f"beamcrew-{arena.secret}"
    libc = ctypes.CDLL(None)
    call = numbers()
    user = ctypes.c_long(-4)  # KEY_SPEC_USER_KEYRING
    size = ctypes.c_long(4)
    key = libc.syscall(ctypes.c_long(call["add_key"]), b"user", name.encode(), b"none", size, user)
    if key < 0:
        raise NotApplicable("the operator has no key ring here")
    try:
        expect_nothing(search(arena, "/proc/key*", name), "found in")
    finally:
        libc.syscall(ctypes.c_long(call["keyctl"]), ctypes.c_long(9), ctypes.c_long(key), user)  # KEYCTL_UNLINK


RINGS = """
name = f"beamcrew-{os.getpid()}".encode()
print(json.dumps({
    "add_key": apart("add_key", b"user", name, b"none", 4, -2),  # a ring of this process alone
    "keyctl": call("keyctl", 0, -3, 0),  # the number of the session's ring
    "request_key": call("request_key", b"user", name, None, 0),
}))
"""


@check
def key_rings(arena: Arena) -> None:
    """The kernel's key rings, which the operator's session shares, cannot be used."""
    expect_refused(arena.ask(program(RINGS)))
