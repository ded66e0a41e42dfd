"""Checks that processes of the host and of the sandbox itself can be neither seen, signalled, traced nor read."""

from __future__ import annotations

import os
from pathlib import Path

from sandbox.conformance.arena import Arena
from sandbox.conformance.calls import program
from sandbox.conformance.check import check, expect, expect_nothing
from sandbox.conformance.host import victim

# A process inside may happen to have the same number as the host's: then its command line lacks the mark.
TARGET = """
import signal
target, mark = int(sys.argv[1]), sys.argv[2]
def is_another():
    try:
        with open(f"/proc/{target}/cmdline") as file: return mark not in file.read()
    except OSError: return False
"""

SIGNAL = """
answers = {}
if not is_another():
    answers["kill"] = attempt(os.kill, target, signal.SIGKILL)
    answers["pidfd"] = attempt(lambda: signal.pidfd_send_signal(os.pidfd_open(target), signal.SIGKILL))
print(json.dumps(answers))
"""


@check
def signals_to_the_host(arena: Arena) -> None:
    """A process of the host cannot be killed by its number."""
    with victim() as (process, mark):
        answers = arena.ask(program(TARGET + SIGNAL), process.pid, mark)
        expect(process.poll() is None, f"it died: {answers}")
        expect_nothing((how for how, answer in answers.items() if answer == "ok"), "delivered by")


SCHEDULE = """
import resource
answers = {}
if not is_another():
    answers["setpriority"] = attempt(os.setpriority, os.PRIO_PROCESS, target, 7)
    answers["sched_setaffinity"] = attempt(lambda: os.sched_setaffinity(target, os.sched_getaffinity(target)))
    answers["prlimit"] = attempt(resource.prlimit, target, resource.RLIMIT_NOFILE)
print(json.dumps(answers))
"""


@check
def scheduling_of_the_host(arena: Arena) -> None:
    """The priority, CPUs and limits of a process of the host cannot be changed."""
    with victim() as (process, mark):
        answers = arena.ask(program(TARGET + SCHEDULE), process.pid, mark)
        expect(os.getpriority(os.PRIO_PROCESS, process.pid) == os.getpriority(os.PRIO_PROCESS, 0), "another priority")
        expect_nothing((how for how, answer in answers.items() if answer == "ok"), "done")


# Ways to inspect or take over another process. Seizing does not stop it, and ends with the tracer.
INTRUDE = """
import signal
def intrude(target):
    word = ctypes.create_string_buffer(8)
    answers = {"ptrace": apart("ptrace", 0x4206, target, 0, 0)}
    for name in ("mem", "environ", "maps"):
        answers[name] = attempt(lambda: os.close(os.open(f"/proc/{target}/{name}", os.O_RDONLY)))
    answers["mem for writing"] = attempt(lambda: os.close(os.open(f"/proc/{target}/mem", os.O_RDWR)))
    try: address = int(open(f"/proc/{target}/maps").read().split("-")[0], 16)
    except (OSError, ValueError): address = ctypes.addressof(word)
    class Span(ctypes.Structure): _fields_ = [("base", ctypes.c_ulong), ("length", ctypes.c_ulong)]
    mine, its = Span(ctypes.addressof(word), 8), Span(address, 8)
    answers["process_vm_readv"] = call("process_vm_readv", target, ctypes.byref(mine), 1, ctypes.byref(its), 1, 0)
    try: answers["pidfd_getfd"] = call("pidfd_getfd", os.pidfd_open(target), 0, 0)
    except OSError as error: answers["pidfd_open"] = errno.errorcode[error.errno]
    return [how for how, answer in answers.items() if answer in ("ok", "EFAULT")]  # EFAULT: only the address was wrong
"""


@check
def memory_of_the_host(arena: Arena) -> None:
    """A process of the host cannot be traced, nor can its memory, environment or open files be read."""
    with victim() as (process, mark):
        code = program(TARGET + INTRUDE + "print(json.dumps([] if is_another() else intrude(target)))")
        expect_nothing(arena.ask(code, process.pid, mark), "done")


# Attacks that could hit the whole machine are made only inside a process namespace.
NAMESPACE = """
import json, os, sys
shared = os.stat("/proc/self/ns/pid").st_ino == int(sys.argv[1])
"""


def host_namespace() -> int:
    """Return the identifier of the host's process namespace."""
    return Path("/proc/self/ns/pid").stat().st_ino


FIRST = """
ours, found = {os.getpid()}, {}
for name in os.listdir("/proc"):
    if name.isdigit() and int(name) not in ours and not shared and (done := intrude(int(name))): found[name] = done
print(json.dumps([shared, found]))
"""


@check
def first_process(arena: Arena) -> None:
    """The sandbox's own processes, above all the first one, can be neither traced nor read nor written."""
    shared, found = arena.ask(program(NAMESPACE + INTRUDE + FIRST), host_namespace())
    expect(not shared, "the processes of the host and of the sandbox are in one namespace")
    expect_nothing((f"{how} of process {number}" for number, done in found.items() for how in done), "done")


LISTED = """
import json, os
print(json.dumps([os.getpid(), [int(name) for name in os.listdir("/proc") if name.isdigit()]]))
"""


@check
def processes_listed(arena: Arena) -> None:
    """Inside, /proc lists only the command and a handful of processes of the sandbox."""
    mine, listed = arena.ask(LISTED)
    expect(mine in listed, "not even the command itself is listed")
    expect(len(listed) <= 8, f"{len(listed)} processes are listed")
