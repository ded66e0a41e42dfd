"""The environment, kernel limits and first process that every driver gives a command inside."""

from __future__ import annotations

import json
import marshal
import math
import os
import stat
from binascii import b2a_base64
from collections.abc import Sequence
from functools import cache
from pathlib import Path, PurePosixPath
from types import ModuleType
from typing import Any

from sandbox import capture, entry, landlock, seccomp, warm
from sandbox.driver import TOOLS_ROOT, WORKSPACE, Limits, SandboxLost

BOOT = """
import sys, types
for name, code in %s:
    module = sys.modules[name] = types.ModuleType(name)
    exec(code, module.__dict__)
    setattr(sys.modules["sandbox"], name.rpartition(".")[2], module)
module.main()
"""
SOURCES = "__import__('json').loads(sys.argv[1])"
COMPILED = "__import__('marshal').loads(__import__('binascii').a2b_base64(sys.argv[1]))"
LONGEST_WORD = (128 << 10) - 1  # Linux: MAX_ARG_STRLEN, its final zero byte left out


def environment(limits: Limits, gpu: bool) -> dict[str, str]:
    """Return all environment variables inside except PATH, which the driver sets; none come from the host."""
    threads = str(max(1, math.floor(limits.cpus)))
    fixed = {
        "HOME": "/tmp",
        "USER": "crew",  # the user's number need not have an account
        "LOGNAME": "crew",
        "LANG": "C.UTF-8",
        "PYTHONPATH": TOOLS_ROOT,
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONHASHSEED": "0",
        "PYTHONNOUSERSITE": "1",  # user site-packages would lie where commands write
        "MPLCONFIGDIR": "/tmp",
        "MPLBACKEND": "Agg",
        "HDF5_USE_FILE_LOCKING": "FALSE",  # network disks often have no locks, and inputs never change
        "OMP_NUM_THREADS": threads,
        "OPENBLAS_NUM_THREADS": threads,
        # Workers share the cores: with threads that spin while they wait, two workers are ten times slower than one.
        "OMP_WAIT_POLICY": "PASSIVE",
    }
    return fixed if gpu else {**fixed, "CUDA_VISIBLE_DEVICES": ""}


def kernel_limits(limits: Limits) -> dict[str, int]:
    """Return the limits that the kernel enforces in each process, by RLIMIT name."""
    return {
        "CORE": 0,
        "NOFILE": limits.open_files,
        "FSIZE": limits.file_mib << 20,
    }


def check(argv: Sequence[str], cwd: str) -> None:
    """Raise ValueError for a folder outside the workspace, or for a command that no kernel would start."""
    path = PurePosixPath(cwd)
    if ".." in path.parts or not path.is_relative_to(WORKSPACE):
        raise ValueError(f"cwd {cwd!r} is not in {WORKSPACE}")
    if not argv:
        raise ValueError("no command given")
    if longest := max((len(word.encode()) for word in argv if len(word.encode()) > LONGEST_WORD), default=0):
        raise ValueError(f"an argument has {longest} bytes, {LONGEST_WORD} are possible: write it to a file")


def one_command(argv: Sequence[str], cwd: str, limits: dict[str, int], ready_fd: int) -> list[str]:
    """Return the arguments for Python to run `sandbox.entry` inside, which becomes `argv`. Raises as `check` does."""
    check(argv, cwd)
    settings = {"cwd": cwd, "limits": limits, "ready_fd": ready_fd}
    return [*_compiled(), _packed(settings), *argv]


def warm_process() -> list[str]:
    """Return the arguments for Python to run `sandbox.warm` inside, which then takes commands."""
    return ["-I", "-S", "-c", BOOT % SOURCES, json.dumps(_sources(capture, landlock, entry, seccomp, warm))]


@cache
def _compiled() -> tuple[str, ...]:
    """Return the code compiled for this interpreter, which saves two milliseconds per bubblewrap command."""
    code = [(name, compile(text, name, "exec")) for name, text in _sources(landlock, entry)]
    return "-I", "-S", "-c", BOOT % COMPILED, _packed(code)


def _packed(value: Any) -> str:
    """As one word; reading it takes no module that is slow to start."""
    return b2a_base64(marshal.dumps(value), newline=False).decode()


def _sources(*modules: ModuleType) -> list[tuple[str, str]]:
    return [("sandbox", ""), *((module.__name__, Path(str(module.__file__)).read_text()) for module in modules)]


def own(workspace: Path, uid: int, gid: int) -> None:
    """Give the workspace to this user alone: a set-uid file made inside must be of no use to anybody else.

    The parent folder is closed as well, since a command can open its own. Raises SandboxLost if the parent is shared.
    """
    around = workspace.parent.stat()
    if around.st_mode & stat.S_ISVTX or around.st_uid != os.geteuid():
        raise SandboxLost(f"{workspace.parent}: the workspace must lie in a folder that the operator owns")
    workspace.parent.chmod(stat.S_IMODE(around.st_mode) & ~(stat.S_IRWXG | stat.S_IRWXO))
    workspace.chmod(0o700)
    if workspace.stat().st_uid != uid:
        os.chown(workspace, uid, gid)
        for folder, folders, files in os.walk(workspace):
            for name in folders + files:
                os.chown(Path(folder, name), uid, gid, follow_symlinks=False)
