"""Checks that processes, threads, CPUs, open files and file sizes are limited, and no limit can be lifted inside."""

from __future__ import annotations

import os

from sandbox.conformance.arena import Arena
from sandbox.conformance.check import NotApplicable, check, expect, expect_nothing

PROCESSES = 32
MANY = 300

FORKS = """
import os, sys, time
made = 0
for _ in range(int(sys.argv[1])):
    try: child = os.fork()
    except OSError: break
    if child == 0:
        time.sleep(3)
        os._exit(0)
    made += 1
time.sleep(2)
print(made)
"""
THREADS = """
import sys, threading, time
made = 0
for _ in range(int(sys.argv[1])):
    try: threading.Thread(target=time.sleep, args=(3,), daemon=True).start()
    except RuntimeError: break
    made += 1
time.sleep(2)
print(made)
"""


def bounded(arena: Arena, bomb: str) -> None:
    """Expect that the bomb is ended for its number of processes, or that the kernel lets it make no more."""
    box = arena.make(processes=PROCESSES)
    result = arena.python(bomb, MANY, box=box)
    made = result.stdout.strip()
    few = made.isdigit() and int(made) <= PROCESSES
    expect(result.ended == "processes" or few, f"{made or 'unknown'} were made, {PROCESSES} are the limit: {result}")
    expect(box.exec(["true"]).ok, "the next command did not run")


@check
def fork_bomb(arena: Arena) -> None:
    """A command cannot have more processes than the limit, and the sandbox works on."""
    bounded(arena, FORKS)


@check
def thread_bomb(arena: Arena) -> None:
    """Threads count as processes do."""
    bounded(arena, THREADS)


BUSY = """
import json, os, time
def busy(seconds):
    end = time.monotonic() + seconds
    while time.monotonic() < end: pass
try: os.sched_setaffinity(0, range(os.cpu_count()))
except OSError: pass
children, start = [], time.monotonic()
for _ in range(2):
    child = os.fork()
    if child == 0:
        busy(2)
        os._exit(0)
    children.append(child)
used = 0
for child in children:
    usage = os.wait4(child, 0)[2]
    used += usage.ru_utime + usage.ru_stime
print(json.dumps(used / (time.monotonic() - start)))
"""


@check
def cpus(arena: Arena) -> None:
    """Two busy processes together get one CPU if one is the limit, even if they ask for more."""
    if len(os.sched_getaffinity(0)) < 2:
        raise NotApplicable("this machine has one CPU")
    share = arena.ask(BUSY, box=arena.make(cpus=1))
    expect(share < 1.35, f"they got {share:.2f} CPUs")


OPEN = """
import json, os, sys
opened = 0
try:
    while opened < int(sys.argv[1]): os.open("/dev/null", os.O_RDONLY); opened += 1
except OSError: pass
print(json.dumps(opened))
"""


@check
def open_files(arena: Arena) -> None:
    """A process cannot have more files open than the limit."""
    opened = arena.ask(OPEN, 3 * 64, box=arena.make(open_files=64))
    expect(opened <= 64, f"{opened} were open, 64 are the limit")


LARGE = """
import json, os, signal, sys
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
file = os.open("large", os.O_WRONLY | os.O_CREAT)
try:
    for _ in range(int(sys.argv[1])): os.write(file, bytes(1 << 20))
except OSError: pass
try: os.ftruncate(file, int(sys.argv[1]) << 20)
except OSError: pass
print(json.dumps(os.fstat(file).st_size))
"""


@check
def size_of_a_file(arena: Arena) -> None:
    """A file cannot grow beyond the limit, neither by writing nor by a hole."""
    size = arena.ask(LARGE, 3, box=arena.make(file_mib=1))
    expect(size <= 1 << 20, f"{size} bytes, 1 MiB is the limit")


@check
def size_of_a_file_ends(arena: Arena) -> None:
    """A program that ignores the limit on file size is ended by the kernel."""
    box = arena.make(file_mib=1)
    result = box.exec(["sh", "-c", "head -c 3145728 /dev/zero > large"])
    expect(not result.ok, f"{(box.workspace / 'large').stat().st_size} bytes were written")


CORE = """
import json, resource
try: resource.setrlimit(resource.RLIMIT_CORE, (1 << 20, 1 << 20))
except (ValueError, OSError): pass
print(json.dumps(resource.getrlimit(resource.RLIMIT_CORE)))
"""


@check
def core_dumps(arena: Arena) -> None:
    """A program that crashes leaves no memory dump, even when it asks for one."""
    box = arena.make()
    expect((size := arena.ask(CORE, box=box)) == [0, 0], f"one of {size} bytes is allowed")
    box.exec(["sh", "-c", "ulimit -c unlimited; kill -SEGV $$"])
    expect_nothing((path.name for path in box.workspace.glob("*core*")), "left behind")


LIFT = """
import json, resource
lifted = []
for name, value in (("NOFILE", 512), ("FSIZE", 512 << 20), ("CORE", 1), ("NOFILE", -1), ("FSIZE", -1)):
    kind = getattr(resource, f"RLIMIT_{name}")
    for how, change in (("setrlimit", resource.setrlimit), ("prlimit", lambda k, v: resource.prlimit(0, k, v))):
        try: change(kind, (value, value))
        except (ValueError, OSError): continue
        lifted.append(f"{name} to {value} by {how}")
print(json.dumps(lifted))
"""


@check
def limits_stay(arena: Arena) -> None:
    """No limit can be lifted from inside."""
    expect_nothing(arena.ask(LIFT), "lifted")
