"""A small system-call filter: the only one of bubblewrap, and in a container an addition to the engine's own, which
depends on its version (engines before 23 allow sockets from a virtual machine to its host).

Four kinds of calls fail with EPERM inside: those that hold memory visible neither in the resident size of a process nor
in a sized tmpfs (memfd; System V shared memory, queues and semaphores; POSIX queues; io_uring); the one with which a
process could leave the CPUs of its run; those that take over another process (the first one inside is bwrap itself);
and those that reach parts of the kernel that an analysis never needs (keyrings, which are shared with the operator's
session, eBPF, namespaces, mounts, the kernel log, sockets from a virtual machine to its host). All others are allowed,
except that `clone` makes no namespaces, and `clone3`, whose flags no filter can read, does not exist: C libraries then
use `clone`. The program is classic BPF with 8-byte instructions: code, jump if true, jump if false, operand.
"""

from __future__ import annotations

import ctypes
import errno
import platform
import struct
from collections.abc import Mapping
from types import MappingProxyType

Numbers = tuple[int, int]
# name: (x86_64, aarch64)
DENIED: dict[str, Numbers] = {
    "memfd_create": (319, 279),
    "memfd_secret": (447, 447),
    "shmget": (29, 194),
    "msgget": (68, 186),
    "semget": (64, 190),
    "mq_open": (240, 180),
    "io_uring_setup": (425, 425),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "keyctl": (250, 219),
    "bpf": (321, 280),
    "perf_event_open": (298, 241),
    "userfaultfd": (323, 282),
    "syslog": (103, 116),
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "pidfd_getfd": (438, 438),
    "open_by_handle_at": (304, 265),
    "sched_setaffinity": (203, 122),
    "unshare": (272, 97),
    "setns": (308, 268),
    "mount": (165, 40),
    "umount2": (166, 39),
    "pivot_root": (155, 41),
    "open_tree": (428, 428),
    "move_mount": (429, 429),
    "fsopen": (430, 430),
    "mount_setattr": (442, 442),
}
NONE = -1  # a call that this architecture does not have
# Also not needed to parse a file: other files, programs, the network, other processes of the same user.
PARSING: dict[str, Numbers] = {
    **{"open": (2, NONE), "openat": (257, 56), "openat2": (437, 437), "creat": (85, NONE), "truncate": (76, 45)},
    **{"execve": (59, 221), "execveat": (322, 281), "fork": (57, NONE), "vfork": (58, NONE), "clone": (56, 220)},
    **{"clone3": (435, 435), "kill": (62, 129), "tkill": (200, 130), "pidfd_open": (434, 434)},
    **{"tgkill": (234, 131), "rt_sigqueueinfo": (129, 138), "rt_tgsigqueueinfo": (297, 240)},
    **{"pidfd_send_signal": (424, 424), "prlimit64": (302, 261), "setpriority": (141, 140)},
    **{"socket": (41, 198), "socketpair": (53, 199), "connect": (42, 203), "sendmsg": (46, 211), "sendto": (44, 206)},
    **{"unlink": (87, NONE), "unlinkat": (263, 35), "rmdir": (84, NONE), "rename": (82, NONE)},
    **{"renameat": (264, 38), "renameat2": (316, 276), "link": (86, NONE), "linkat": (265, 37)},
    **{"symlink": (88, NONE), "symlinkat": (266, 36), "mkdir": (83, NONE), "mkdirat": (258, 34)},
    **{"chmod": (90, NONE), "fchmodat": (268, 53), "chown": (92, NONE), "fchownat": (260, 54), "chdir": (80, 49)},
}
SOCKET, CLONE, CLONE3 = (41, 198), (56, 220), 435
NAMESPACES = 0x7E020000  # CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET
FAMILIES = (1, 2, 10, 16)  # Unix, IPv4, IPv6, netlink: the network namespace confines these, but not others (vsock)
AUDIT_ARCH = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
X32_BIT = 0x40000000  # x86_64 only: the same calls under other numbers

LOAD, EQUAL, AT_LEAST, ANY_OF, RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
NUMBER, ARCH, FIRST = 0, 4, 16  # offsets in struct seccomp_data; FIRST: lower half of the first argument
ALLOW, REFUSE, ABSENT, KILL = 0x7FFF0000, 0x00050000 | errno.EPERM, 0x00050000 | errno.ENOSYS, 0x80000000


SET_NO_NEW_PRIVS, SET_SECCOMP, FILTER = 38, 22, 2  # prctl's PR_SET_..., and SECCOMP_MODE_FILTER


def program(machine: str | None = None, more: Mapping[str, Numbers] = MappingProxyType({})) -> bytes | None:
    """Return the filter for this machine, with `more` calls denied; None if the table lacks its call numbers."""
    machine = machine or platform.machine()
    if machine not in AUDIT_ARCH:
        return None
    column = list(AUDIT_ARCH).index(machine)
    numbers = sorted({row[column] for row in (DENIED | dict(more)).values()} - {NONE})
    lines = [(LOAD, 0, 0, ARCH), (EQUAL, 1, 0, AUDIT_ARCH[machine]), (RETURN, 0, 0, KILL), (LOAD, 0, 0, NUMBER)]
    # A jump counts the instructions it skips. After the call numbers come the three calls below, ALLOW, REFUSE, ABSENT,
    # then the check of a socket's family and that of a clone's flags.
    count, families = len(numbers), len(FAMILIES)
    lines.append((AT_LEAST, count + 4, 0, X32_BIT))
    lines += [(EQUAL, count + 3 - k, 0, number) for k, number in enumerate(numbers)]
    lines += [(EQUAL, 5, 0, SOCKET[column]), (EQUAL, families + 7, 0, CLONE[column]), (EQUAL, 2, 0, CLONE3)]
    lines += [(RETURN, 0, 0, ALLOW), (RETURN, 0, 0, REFUSE), (RETURN, 0, 0, ABSENT), (LOAD, 0, 0, FIRST)]
    lines += [(EQUAL, families - k, 0, family) for k, family in enumerate(FAMILIES)]
    lines += [(RETURN, 0, 0, REFUSE), (RETURN, 0, 0, ALLOW)]
    lines += [(LOAD, 0, 0, FIRST), (ANY_OF, 0, 1, NAMESPACES), (RETURN, 0, 0, REFUSE), (RETURN, 0, 0, ALLOW)]
    return b"".join(struct.pack("=HBBI", *line) for line in lines)


def install(more: Mapping[str, Numbers] = MappingProxyType({})) -> None:
    """Apply the filter, which sets NoNewPrivs, to this process and all that it will start. Raises OSError."""
    if not (rules := program(more=more)):
        return
    libc = ctypes.CDLL(None, use_errno=True)
    held = ctypes.create_string_buffer(rules, len(rules))
    header = struct.pack("@HP", len(rules) // 8, ctypes.addressof(held))  # struct sock_fprog
    libc.prctl(SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    if libc.prctl(SET_SECCOMP, ctypes.c_ulong(FILTER), header, 0, 0):
        raise OSError(ctypes.get_errno(), "the kernel rejects the call filter")
