"""Checks on the host's kernel: no programs, modules, settings, devices, or memory shared with the host.

Files that would set something are only opened for writing, never written; clock and host name are only set to the
values they already have. Watchdogs are left alone, since opening one starts it.
"""

from __future__ import annotations

import ctypes
from pathlib import Path

from sandbox.conformance.arena import Arena
from sandbox.conformance.calls import numbers, program
from sandbox.conformance.check import NotApplicable, check, expect, expect_nothing, expect_refused

BPF = """
words = (ctypes.c_uint32 * 32)(2, 4, 4, 1)  # an array of one number
print(json.dumps({"bpf": call("bpf", 0, ctypes.byref(words), 72)}))
"""


@check
def kernel_programs(arena: Arena) -> None:
    """No eBPF map or program can be made."""
    expect_refused(arena.ask(program(BPF)))


PERF = """
import struct
event = ctypes.create_string_buffer(struct.pack("<IIQ24xQ", 1, 112, 0, 0x61), 128)  # the CPU clock, user side only
print(json.dumps({"perf_event_open": call("perf_event_open", event, 0, -1, -1, 0)}))
"""


@check
def performance_counters(arena: Arena) -> None:
    """No performance counter can be opened, not even for the command itself."""
    expect_refused(arena.ask(program(PERF)))


MODULES = """
print(json.dumps({"init_module": call("init_module", None, 0, b""), "swapon": call("swapon", b"/nonexistent", 0)}))
"""


@check
def modules(arena: Arena) -> None:
    """No kernel module can be loaded, and no swap file enabled."""
    expect_refused(arena.ask(program(MODULES)))


LOG = """
text = ctypes.create_string_buffer(4096)
print(json.dumps({"syslog": call("syslog", 3, text, 4096)}))
"""


@check
def kernel_log(arena: Arena) -> None:
    """The kernel's log cannot be read."""
    expect_refused(arena.ask(program(LOG)))


CLOCK = 'print(json.dumps({"settimeofday": call("settimeofday", None, None)}))'


@check
def clock(arena: Arena) -> None:
    """The clock cannot be set."""
    expect_refused(arena.ask(program(CLOCK)))


NAME = 'name = os.uname().nodename.encode()\nprint(json.dumps({"sethostname": call("sethostname", name, len(name))}))'


@check
def name_of_the_machine(arena: Arena) -> None:
    """The name of the machine cannot be set."""
    expect_refused(arena.ask(program(NAME)))


OPEN = """
import json, os, sys
opened = []
for path in sys.argv[2:]:
    try: file = os.open(path, os.O_NONBLOCK | os.O_NOCTTY | getattr(os, sys.argv[1]))
    except OSError: continue
    if os.fstat(file).st_rdev != os.makedev(1, 3): opened.append(path)  # /dev/null lies over what is hidden
print(json.dumps(opened))
"""
DEVICES = (
    "mem kmem port kmsg kvm fuse loop-control loop0 vda sda nvme0n1 dm-0 mapper/control net/tun uinput userfaultfd "
    "vhost-net vhost-vsock vsock cpu_dma_latency cuse vfio/vfio dri/card0 dri/renderD128 input/event0 ptp0 rtc0 "
    "snd/seq hwrng autofs btrfs-control console tty1"
)
BLOCK = """
import json, os, stat
found = []
for folder, _, names in os.walk("/dev"):
    for name in names:
        path = os.path.join(folder, name)
        if stat.S_ISBLK(os.lstat(path).st_mode): found.append(path)
print(json.dumps(found))
"""


@check
def devices(arena: Arena) -> None:
    """No device of the machine can be opened, its memory and its kernel's log first of all."""
    expect_nothing(arena.ask(OPEN, "O_RDONLY", *(f"/dev/{name}" for name in DEVICES.split())), "opened")


@check
def disks(arena: Arena) -> None:
    """No disk of the machine is in sight."""
    expect_nothing(arena.ask(BLOCK), "block devices")


@check
def kernel_memory(arena: Arena) -> None:
    """The kernel's memory and page tables cannot be read in /proc."""
    names = ("kcore", "kmsg", "kpagecount", "kpageflags", "kpagecgroup", "vmallocinfo", "timer_list", "sched_debug")
    expect_nothing(arena.ask(OPEN, "O_RDONLY", *(f"/proc/{name}" for name in names)), "opened")


COMMAND_LINE = """
import json
try: print(json.dumps(open("/proc/cmdline").read()))
except OSError: print(json.dumps(""))
"""


@check
def command_line_of_the_kernel(arena: Arena) -> None:
    """The kernel's command line, with disks and paths, is not revealed."""
    expect(not (told := arena.ask(COMMAND_LINE)), f"told: {told[:80]}")


SETTINGS = """
import json, os, sys
opened = []
for folder, folders, names in os.walk(sys.argv[1]):
    if folder == "/proc": folders[:] = [name for name in folders if not name.isdigit() and "self" not in name]
    for name in names:
        path = os.path.join(folder, name)
        try: file = os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_NOFOLLOW)
        except OSError: continue
        free = folder == "/proc/pressure"  # anybody may ask to be notified
        if os.fstat(file).st_rdev != os.makedev(1, 3) and not free: opened.append(path)
        os.close(file)
        if len(opened) == 3: print(json.dumps(opened)); sys.exit()
print(json.dumps(opened))
"""


@check
def kernel_settings(arena: Arena) -> None:
    """No kernel setting in /proc can be changed, above all not the handler of core dumps."""
    first = ("core_pattern", "modprobe", "hotplug", "hostname", "domainname", "shmmax")
    expect_nothing(arena.ask(OPEN, "O_WRONLY", *(f"/proc/sys/kernel/{name}" for name in first)), "opened")
    expect_nothing(arena.ask(SETTINGS, "/proc"), "opened")


@check
def magic_keys(arena: Arena) -> None:
    """The machine cannot be restarted with the magic SysRq key."""
    expect_nothing(arena.ask(OPEN, "O_WRONLY", "/proc/sysrq-trigger", "/proc/sys/kernel/sysrq"), "opened")


@check
def system_tree(arena: Arena) -> None:
    """Nothing in /sys can be changed."""
    folders = ("kernel", "power", "module", "class/net", "devices/system")
    for folder in folders:
        expect_nothing(arena.ask(SETTINGS, f"/sys/{folder}"), "opened")


CGROUPS = """
import json, os
opened = []
for folder, folders, names in os.walk("/sys/fs/cgroup"):
    if folder.count("/") > 5: folders.clear()
    path = os.path.join(folder, f"beamcrew-{os.getpid()}")
    try: os.mkdir(path)
    except OSError: pass
    else: os.rmdir(path); opened.append(path)
    for name in {"cgroup.procs", "release_agent", "memory.max", "memory.limit_in_bytes", "pids.max"} & set(names):
        try: os.close(os.open(os.path.join(folder, name), os.O_WRONLY))
        except OSError: continue
        opened.append(os.path.join(folder, name))
    if len(opened) > 3: break
print(json.dumps(opened))
"""


@check
def control_groups(arena: Arena) -> None:
    """No control group can be made, left or changed."""
    expect_nothing(arena.ask(CGROUPS), "opened or made")


SHARED = """
segment = raw("shmget", int(sys.argv[1]), 0, 0)
address = raw("shmat", segment, None, 0o10000) if segment >= 0 else 0
print(json.dumps(ctypes.string_at(address, 32).decode() if address > 0 else ""))
"""


@check
def shared_memory(arena: Arena) -> None:
    """Shared memory of the host (System V) cannot be read."""
    code = program(SHARED)
    libc = ctypes.CDLL(None, use_errno=True)
    libc.syscall.restype = ctypes.c_long
    call = {name: ctypes.c_long(number) for name, number in numbers().items()}
    name = int(arena.secret[:7], 16)
    create = ctypes.c_long(0o1000 | 0o2000 | 0o666)  # IPC_CREAT | IPC_EXCL
    segment = libc.syscall(call["shmget"], ctypes.c_long(name), ctypes.c_long(4096), create)
    if segment < 0:
        raise NotApplicable("the host has no System V shared memory")
    try:
        address = libc.syscall(call["shmat"], ctypes.c_long(segment), None, ctypes.c_long(0))
        ctypes.memmove(address, arena.secret.encode(), 32)
        try:
            expect(arena.ask(code, name) != arena.secret, "read")
        finally:
            libc.syscall(call["shmdt"], ctypes.c_long(address))  # a held segment stays even after removal
    finally:
        libc.syscall(call["shmctl"], ctypes.c_long(segment), ctypes.c_long(0), None)  # IPC_RMID


READ = """
import json, sys
try: print(json.dumps(open(sys.argv[1]).read()))
except OSError: print(json.dumps(""))
"""


@check
def shared_memory_files(arena: Arena) -> None:
    """Shared memory of the host (POSIX, a file in /dev/shm) cannot be read."""
    path = Path("/dev/shm", f"beamcrew-{arena.secret}")
    try:
        path.write_text(arena.secret)
    except OSError as error:
        raise NotApplicable("the host has no POSIX shared memory") from error
    try:
        expect(arena.ask(READ, path) != arena.secret, "read")
    finally:
        path.unlink()
