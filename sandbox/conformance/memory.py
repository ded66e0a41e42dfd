"""Memory: whichever way it is taken, the run's limit holds. Every bomb ends by itself at three times the limit."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from sandbox.conformance.arena import Arena
from sandbox.conformance.calls import program
from sandbox.conformance.check import check, expect, expect_nothing
from sandbox.driver import ExecResult

LIMIT = 256  # MiB
TMP = 16


def held(result: ExecResult) -> None:
    """The bomb did not get to the end, where it says so."""
    expect("survived" not in result.stdout, f"{3 * LIMIT} MiB were taken and kept ({result.ended})")


ONE = """
import sys, time
taken = []
for _ in range(int(sys.argv[1]) // 8): taken.append(bytearray(8 << 20))
time.sleep(1)
print("survived")
"""


@check
def one_process(arena: Arena) -> None:
    """A process that takes too much memory is ended for it, and the sandbox works on."""
    box = arena.make(memory_mib=LIMIT)
    result = arena.python(ONE, 3 * LIMIT, box=box)
    held(result)
    expect(not result.ok and result.ended == "memory", f"it ended by {result.ended}, exit code {result.exit_code}")
    expect(box.exec(["true"]).ok, "the next command did not run")


SEVERAL = """
import os, sys, time
children = []
for _ in range(6):
    child = os.fork()
    if child == 0:
        taken = bytearray(int(sys.argv[1]) // 6 << 20)
        time.sleep(1)
        os._exit(0)
    children.append(child)
if all(os.waitpid(child, 0)[1] == 0 for child in children): print("survived")
"""


@check
def several_processes(arena: Arena) -> None:
    """Memory spread over several processes counts as a whole."""
    held(arena.python(SEVERAL, 3 * LIMIT, box=arena.make(memory_mib=LIMIT)))


COMMANDS = 3


@check
def several_commands(arena: Arena) -> None:
    """Memory taken by several commands at the same time counts as a whole."""
    box = arena.make(memory_mib=LIMIT)
    with ThreadPoolExecutor() as pool:
        jobs = [pool.submit(arena.python, ONE, 2 * LIMIT // COMMANDS, box=box) for _ in range(COMMANDS)]
        kept = [job for job in jobs if "survived" in job.result().stdout]
    expect(len(kept) < COMMANDS, f"{2 * LIMIT} MiB were taken and kept")


MAPPED = """
import mmap, sys, time
taken = mmap.mmap(-1, int(sys.argv[1]) << 20)
for _ in range(len(taken) >> 20): taken.write(b"x" * (1 << 20))
time.sleep(1)
print("survived")
"""


@check
def shared_mapping(arena: Arena) -> None:
    """Memory that is mapped to be shared counts like any other."""
    held(arena.python(MAPPED, 3 * LIMIT, box=arena.make(memory_mib=LIMIT)))


NAMELESS = """
import os, sys, time
try:
    file = os.memfd_create("taken")
    for _ in range(int(sys.argv[1])): os.write(file, bytes(1 << 20))
except OSError: sys.exit("refused")
time.sleep(1)
print("survived")
"""


@check
def nameless_files(arena: Arena) -> None:
    """Memory cannot be hidden in files without a name (memfd)."""
    held(arena.python(NAMELESS, 3 * LIMIT, box=arena.make(memory_mib=LIMIT)))


SEGMENTS = """
import time
segment = raw("shmget", 0, int(sys.argv[1]) << 20, 0o1600)
if segment < 0: sys.exit("refused")
address = raw("shmat", segment, None, 0)
raw("shmctl", segment, 0, None)  # gone with the last process that has it
for part in range(int(sys.argv[1])): ctypes.memset(address + (part << 20), 1, 1 << 20)
time.sleep(1)
print("survived")
"""


@check
def segments(arena: Arena) -> None:
    """Memory cannot be hidden in shared memory (System V) either."""
    held(arena.python(program(SEGMENTS), 3 * LIMIT, box=arena.make(memory_mib=LIMIT)))


FILL = """
import json, os, sys
path, written = os.path.join(sys.argv[1], f"beamcrew-{os.getpid()}"), 0
file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
os.unlink(path)
try:
    for _ in range(int(sys.argv[2])): written += os.write(file, bytes(1 << 20))
except OSError: pass
print(json.dumps(written >> 20))
"""


@check
def temporary_folder(arena: Arena) -> None:
    """No more than its size goes into /tmp, whose files are memory."""
    written = arena.ask(FILL, "/tmp", 3 * TMP, box=arena.make(tmp_mib=TMP))
    expect(written <= TMP, f"{written} MiB of {TMP}")


@check
def shared_folder(arena: Arena) -> None:
    """No more than its size goes into /dev/shm, whose files are memory."""
    written = arena.ask(FILL, "/dev/shm", 3 * TMP, box=arena.make(tmp_mib=TMP))
    expect(written <= TMP, f"{written} MiB of {TMP}")


FOLDERS = """
import json, os, sys
found = []
for line in open("/proc/mounts"):
    folder, kind = line.split()[1:3]
    if kind != "tmpfs" or not os.path.isdir(folder): continue
    status = os.statvfs(folder)
    if not status.f_flag & os.ST_RDONLY and os.access(folder, os.W_OK):
        size = status.f_blocks * status.f_frsize >> 20
        if size > int(sys.argv[1]) or not status.f_blocks: found.append(f"{folder}: {size} MiB")
print(json.dumps(found))
"""


@check
def no_other_memory_folders(arena: Arena) -> None:
    """No folder that lies in memory and can be written is larger than the limit on /tmp."""
    found = arena.ask(FOLDERS, TMP, box=arena.make(tmp_mib=TMP))
    expect_nothing(found, "larger")
