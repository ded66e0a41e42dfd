"""Confines a command to its own folder of the workspace with the kernel's Landlock: unprivileged, and inherited.

Steps of a plan work in parallel, each in its own folder. Each may read the whole workspace but write only to its own
folder and to temporary files. Nor can it reach processes of other commands, by signals or through their memory.
The source is sent along, like `sandbox.entry`, and works the same in both drivers. Without support (a kernel before
5.19, or an engine whose call filter does not know Landlock) there is no such protection: see docs/threat_model.md.
"""

from __future__ import annotations

import ctypes
import os

CREATE, ADD, RESTRICT = 444, 445, 446  # the numbers are the same on x86_64 and aarch64
VERSION, BENEATH = 1, 1
NO_NEW_PRIVS = 38  # prctl's PR_SET_NO_NEW_PRIVS
# LANDLOCK_ACCESS_FS_*: bit 1 writes a file; 4 and 5 remove; 6 to 12 make; 13 moves between folders; 14 truncates.
WRITE = 1 << 1 | sum(1 << bit for bit in range(4, 14))
TRUNCATE = 1 << 14
TO_FILES = 1 << 1 | TRUNCATE  # what is allowed in DEVICES: Apptainer's /dev is a folder that belongs to the user
SIGNALS_AND_SOCKETS = 3  # LANDLOCK_SCOPE_*: abstract Unix sockets, signals
OLDEST, TRUNCATES, SCOPES = 2, 3, 6  # versions; version 1 forbids all moves between folders
LIBC = ctypes.CDLL(None, use_errno=True)  # loaded once, not by every command
SHARED, DEVICES = ("/tmp", "/dev/shm", "/proc"), "/dev"  # bounded by the sandbox itself


class Rules(ctypes.Structure):
    _fields_ = (("files", ctypes.c_uint64), ("ports", ctypes.c_uint64), ("scopes", ctypes.c_uint64))


class Beneath(ctypes.Structure):
    _pack_ = 1
    _fields_ = (("allowed", ctypes.c_uint64), ("folder", ctypes.c_int32))


def version() -> int:
    """Return the version of the kernel's Landlock; 0 if there is none."""
    return max(0, int(LIBC.syscall(CREATE, None, ctypes.c_size_t(0), VERSION)))


def confine(*folders: str) -> bool:
    """Let this process, and all that it starts, write only under `folders` and SHARED, and to DEVICES.

    Returns False if there is no Landlock. Raises OSError if there is one and it refuses.
    """
    if (known := version()) < OLDEST:
        return False
    writes = WRITE | (TRUNCATE if known >= TRUNCATES else 0)
    rules = Rules(writes, 0, SIGNALS_AND_SOCKETS if known >= SCOPES else 0)
    size = ctypes.sizeof(Rules) if known >= SCOPES else ctypes.sizeof(ctypes.c_uint64)
    made = _did(LIBC.syscall(CREATE, ctypes.byref(rules), ctypes.c_size_t(size), 0))
    try:
        for path in (*folders, *SHARED, DEVICES):
            try:
                opened = os.open(path, os.O_PATH | os.O_CLOEXEC)
            except FileNotFoundError:
                continue
            try:
                rule = Beneath(writes & TO_FILES if path == DEVICES else writes, opened)
                _did(LIBC.syscall(ADD, made, BENEATH, ctypes.byref(rule), 0))
            finally:
                os.close(opened)
        _did(LIBC.prctl(NO_NEW_PRIVS, 1, 0, 0, 0))
        _did(LIBC.syscall(RESTRICT, made, 0))
    finally:
        os.close(made)
    return True


def _did(answer: int) -> int:
    if answer < 0:
        raise OSError(ctypes.get_errno(), "Landlock: " + os.strerror(ctypes.get_errno()))
    return answer
