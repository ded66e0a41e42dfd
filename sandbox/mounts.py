"""The mounts of the bubblewrap sandbox, as arguments of bwrap: an empty root and all that is bound into it."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from sandbox.driver import INPUTS, TOOLS_ROOT, WORKSPACE, Limits, SandboxLost

SYSTEM = ("/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32")
ETC = ("ld.so.cache", "ld.so.conf", "ld.so.conf.d", "alternatives", "fonts", "localtime")
ALIAS = f"{TOOLS_ROOT}/bin"  # provides `python` if the interpreter is only called `python3`
OF_PYTHON = ("bin", "lib", "lib32", "lib64", "share", "pyvenv.cfg")  # parts of an environment; `share`: conda's fonts
BESIDE = ("include", "etc", "man", "doc", ".gitignore", ".installed", "CACHEDIR.TAG")
HOST_ONLY = ("agents", "tasks", "sandbox")  # our packages that must not be visible inside
# Event generators. The seeds of shipped samples are public: with a generator, code inside could reproduce the events
# and find out which of those it was given are signal.
GENERATORS = ("pythia8mc", "pythia8")
# The kernel's memory and key rings, owned by root: if the operator is root, so is the user inside, by number.
MASKED = (
    *("cmdline", "kcore", "kmsg", "keys", "key-users", "kpagecgroup", "kpagecount", "kpageflags"),
    *("sched_debug", "slabinfo", "timer_list", "vmallocinfo"),
)
ACCOUNTS = {"passwd": "crew:x:65534:65534::/tmp:/bin/sh\n", "group": "crew:x:65534:\n"}


def binds(inputs: Path, workspace: Path, tools: Path, limits: Limits, gpu: bool) -> list[str]:
    """Return every mount, in order; the driver puts ACCOUNTS into /etc before them."""
    tmp = str(limits.tmp_mib << 20)
    words = ["--ro-bind", "/usr", "/usr"]
    for name in SYSTEM:
        path = Path(name)
        if path.is_symlink():
            words += ["--symlink", str(path.readlink()), name]
        elif path.is_dir():
            words += ["--ro-bind", name, name]
    words += [word for name in ETC for word in ("--ro-bind-try", f"/etc/{name}", f"/etc/{name}")]
    words += [*kernel_files(), "--dev", "/dev"]
    for device in sorted(Path("/dev").glob("nvidia*")) if gpu else ():
        words += ["--dev-bind", str(device), str(device)]
    words += ["--size", tmp, "--tmpfs", "/dev/shm", "--remount-ro", "/dev"]
    words += ["--size", tmp, "--tmpfs", "/tmp"]
    words += interpreter([Path(sys.base_prefix), Path(sys.prefix)], packages=Path(__file__).parent.parent)
    words += without(GENERATORS)
    refuse_inside(words, workspace.parent)
    words += ["--ro-bind", str(tools), f"{TOOLS_ROOT}/tools", "--ro-bind", str(inputs), INPUTS]
    words += ["--symlink", sys.executable, f"{ALIAS}/python"]
    words += ["--bind", str(workspace), WORKSPACE, "--remount-ro", "/"]
    return words


def kernel_files() -> list[str]:
    """Return the mounts of /proc, read-only: an operator who is root owns kernel settings such as /proc/sys/kernel.

    Information on the kernel is hidden, and so is the first process: it belongs to bwrap, whose memory must not be
    written, and runs as the same user as the command.
    """
    words = ["--proc", "/proc", *emptied("/proc/1")]
    for name in MASKED:
        if (path := Path("/proc", name)).exists():
            words += ["--ro-bind", "/dev/null", str(path)]
    return [*words, "--remount-ro", "/proc"]


def interpreter(prefixes: list[Path], packages: Path) -> list[str]:
    """Bind the interpreter and its virtual environment at their host paths, and nothing around them: if the environment
    is the root of a project, the rest of the project stays out.

    `packages` is the folder that holds beamcrew's packages. If it is bound too (beamcrew installed into site-packages),
    empty folders cover the packages that must stay hidden: graders, labels, samples, agents.
    """
    words: list[str] = []
    for prefix in dict.fromkeys(prefixes):
        if not prefix.is_relative_to("/usr"):
            # Every mount costs time in each command: a folder that holds nothing else is bound whole.
            whole = prefix.is_dir() and {path.name for path in prefix.iterdir()} <= {*OF_PYTHON, *BESIDE}
            for path in [prefix] if whole else [prefix / name for name in OF_PYTHON]:
                words += ["--ro-bind-try", str(path), str(path)]
    seen = [Path("/usr"), *prefixes]
    if any(packages.resolve().is_relative_to(prefix.resolve()) for prefix in seen):
        for name in HOST_ONLY:
            if (folder := packages / name).is_dir():
                words += emptied(str(folder))
    return words


def emptied(folder: str) -> list[str]:
    """Return the arguments that make the folder empty and read-only."""
    return ["--size", "4096", "--tmpfs", folder, "--remount-ro", folder]


def without(names: Sequence[str]) -> list[str]:
    """Return arguments that hide Python packages of these names wherever this interpreter finds them in a bind."""
    words: list[str] = []
    for name in names:
        spec = find_spec(name)
        for folder in spec.submodule_search_locations or () if spec else ():
            words += emptied(folder)
        if spec and not spec.submodule_search_locations and spec.origin:
            words += ["--ro-bind", "/dev/null", spec.origin]
    return words


def refuse_inside(words: Sequence[str], run: Path) -> None:
    """Raise SandboxLost for a run in a folder that every sandbox can read, as it would expose the run's labels."""
    for k, word in enumerate(words):
        if word in ("--ro-bind", "--ro-bind-try") and run.is_relative_to(bound := Path(words[k + 1]).resolve()):
            raise SandboxLost(f"{run} lies in {bound}, which every sandbox can read: keep runs elsewhere (--runs)")


def search_path() -> str:
    """Return the PATH inside, on which `python` is the interpreter that runs beamcrew itself."""
    folders = [f"{sys.prefix}/bin", f"{sys.base_prefix}/bin", "/usr/bin", "/bin"]
    if not Path(sys.prefix, "bin", "python").exists():
        folders.insert(0, ALIAS)
    return ":".join(dict.fromkeys(folders))
