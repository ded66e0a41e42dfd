"""System calls for hostile programs, by number: the C library lacks some and refuses others itself."""

from __future__ import annotations

import ctypes
import platform
from pathlib import Path

from sandbox.conformance.check import NotApplicable

# name: (x86_64, aarch64)
NUMBERS = {
    "add_key": (248, 217),
    "bpf": (321, 280),
    "chroot": (161, 51),
    "clone": (56, 220),
    "clone3": (435, 435),
    "fsopen": (430, 430),
    "init_module": (175, 105),
    "keyctl": (250, 219),
    "mount": (165, 40),
    "name_to_handle_at": (303, 264),
    "open_by_handle_at": (304, 265),
    "open_tree": (428, 428),
    "perf_event_open": (298, 241),
    "pidfd_getfd": (438, 438),
    "pivot_root": (155, 41),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "ptrace": (101, 117),
    "request_key": (249, 218),
    "sethostname": (170, 161),
    "semctl": (66, 191),
    "semget": (64, 190),
    "setns": (308, 268),
    "settimeofday": (164, 170),
    "shmat": (30, 196),
    "shmctl": (31, 195),
    "shmdt": (67, 197),
    "shmget": (29, 194),
    "swapon": (167, 224),
    "syslog": (103, 116),
    "umount2": (166, 39),
    "unshare": (272, 97),
}

PRELUDE = '''
import ctypes, errno, json, os, sys
NUMBERS = %r
libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long

def raw(name, *words):
    """Return the kernel's answer, errors as negative numbers."""
    words = [ctypes.c_long(word) if isinstance(word, int) else word for word in words]
    answer = libc.syscall(ctypes.c_long(NUMBERS[name]), *words)
    return answer if answer >= 0 else -ctypes.get_errno()

def call(name, *words):
    """Return 'ok', or the name of the error."""
    answer = raw(name, *words)
    return "ok" if answer >= 0 else errno.errorcode[-answer]

def apart(name, *words):
    """Do the same in a child, for a call that would change this process."""
    mine, its = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(its, call(name, *words).encode())
        os._exit(0)
    os.close(its)
    os.waitpid(child, 0)
    with open(mine) as answer:
        return answer.read()

def attempt(function, *words):
    """Return 'ok', or the name of the error that a Python function raises."""
    try:
        function(*words)
        return "ok"
    except OSError as error:
        return errno.errorcode[error.errno]
'''


def numbers() -> dict[str, int]:
    """Return the call numbers of this machine."""
    machines = ("x86_64", "aarch64")
    if platform.machine() not in machines:
        raise NotApplicable(f"no table of system calls for {platform.machine()}")
    column = machines.index(platform.machine())
    return {name: row[column] for name, row in NUMBERS.items()}


def program(code: str) -> str:
    """Return a hostile program that can use `call`, `apart` and `attempt`."""
    return PRELUDE % numbers() + code


def file_handle(path: Path) -> bytes:
    """Return the kernel's handle of a file, with which a privileged process can open it without any path."""
    handle = ctypes.create_string_buffer(8 + 128)
    ctypes.memmove(handle, (128).to_bytes(4, "little"), 4)
    mount = ctypes.c_int()
    libc = ctypes.CDLL(None, use_errno=True)
    number = ctypes.c_long(numbers()["name_to_handle_at"])
    where = ctypes.c_long(-100)  # AT_FDCWD
    if libc.syscall(number, where, str(path).encode(), handle, ctypes.byref(mount), ctypes.c_long(0)) != 0:
        raise NotApplicable("this file system gives no file handles")
    return handle.raw
