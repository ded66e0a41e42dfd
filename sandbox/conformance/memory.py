"""Checks that the run's memory limit holds, however memory is taken. Bombs end themselves at three times the limit."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from sandbox.conformance.arena import Arena
from sandbox.conformance.calls import program
from sandbox.conformance.check import check, expect, expect_nothing
from sandbox.driver import ExecResult

LIMIT = 256  # MiB
TMP = 16
SMALL = 64  # MiB, for tests where the kernel takes twice what is counted here


def held(result: ExecResult) -> None:
    """Expect that the bomb did not reach its end, where it prints 'survived'."""
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
    """A process that takes too much memory is ended for it, and the sandbox keeps working."""
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
    """Shared mappings count like any other memory."""
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
raw("shmctl", segment, 0, None)  # removed with the last process that has it attached
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
    """/tmp, whose files are memory, holds no more than its size."""
    written = arena.ask(FILL, "/tmp", 3 * TMP, box=arena.make(tmp_mib=TMP))
    expect(written <= TMP, f"{written} MiB of {TMP}")


@check
def shared_folder(arena: Arena) -> None:
    """/dev/shm, whose files are memory, holds no more than its size."""
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
    """No writable folder in memory is larger than the limit on /tmp."""
    found = arena.ask(FOLDERS, TMP, box=arena.make(tmp_mib=TMP))
    expect_nothing(found, "larger")


SEMAPHORES = """
made, goal = [], int(sys.argv[1]) * 16  # 64 bytes each, with their locks
while len(made) < goal and (one := raw("semget", 0, 1000, 0o1600)) >= 0: made.append(one)
for one in made: raw("semctl", one, 0, 0)  # they outlive their process, and the host has a limited number
print("survived" if len(made) >= goal // 2 else "refused")
"""


@check
def semaphores(arena: Arena) -> None:
    """Memory cannot be hidden in semaphores (System V)."""
    held(arena.python(program(SEMAPHORES), 3 * LIMIT, box=arena.make(memory_mib=LIMIT)))


BUFFERS = """
import os, socket, sys, time
pairs, taken, goal = [], 0, int(sys.argv[1]) << 20
def fill(one):
    global taken
    one.setblocking(False)
    one.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 30)
    try:
        while True: taken += one.send(bytes(1 << 14))
    except (BlockingIOError, OSError): pass
for _ in range(20):
    if taken >= goal: break
    if os.fork() == 0:  # each process may have only so many files
        kept = []
        for _ in range(100):
            pair = socket.socketpair()
            kept.append(pair)
            for one in pair: fill(one)
        time.sleep(4)
        os._exit(0)
    taken += 100 * 2 * 160 << 10
time.sleep(3)
alive = 0
try:
    while os.waitpid(-1, os.WNOHANG) == (0, 0): alive = 1; break
except ChildProcessError: pass
print("survived" if alive and taken >= goal else "stopped")
"""


@check
def socket_buffers(arena: Arena) -> None:
    """Memory that sockets hold for unread data counts."""
    held(arena.python(BUFFERS, 3 * SMALL, box=arena.make(memory_mib=SMALL)))


TABLES = """
import mmap, sys, time
size = int(sys.argv[1]) << 29  # one page of every 2 MiB needs a table of its own
flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | 0x4000  # MAP_NORESERVE
taken = mmap.mmap(-1, size, flags=flags, prot=mmap.PROT_READ)
for place in range(0, size, 2 << 20): taken[place]
time.sleep(1)
print("survived")
"""


@check
def page_tables(arena: Arena) -> None:
    """The kernel's page tables of a sparsely read mapping count."""
    held(arena.python(TABLES, 3 * LIMIT, box=arena.make(memory_mib=LIMIT)))


NAMES = """
import os, shutil, sys, tempfile, time
folder = tempfile.mkdtemp(dir="/dev/shm")
try:
    for number in range(int(sys.argv[1])): os.mkdir(f"{folder}/{number}")
except OSError: sys.exit("refused")
time.sleep(1)
print("survived", flush=True)
shutil.rmtree(folder)
"""


@check
def names_in_memory(arena: Arena) -> None:
    """Folders and empty files in /dev/shm, which are memory too, are limited."""
    held(arena.python(NAMES, SMALL << 10, box=arena.make(memory_mib=SMALL)))


WALK = """
import os, sys, time
for number in range(int(sys.argv[2])): open(f"empty-{number}", "w").close()
taken = []
for _ in range(int(sys.argv[1]) // 8): taken.append(bytearray(8 << 20))
time.sleep(1)
print("survived")
"""


@check
def behind_many_files(arena: Arena) -> None:
    """Memory is checked however long it takes to count the files in the workspace."""
    held(arena.python(WALK, 3 * LIMIT, 30_000, box=arena.make(memory_mib=LIMIT)))
