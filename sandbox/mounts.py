"""What can be seen inside the bubblewrap sandbox: a root of nothing and what is bound into it, as bwrap's words."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from sandbox.driver import INPUTS, TOOLS_ROOT, WORKSPACE, Limits, SandboxLost

SYSTEM = ("/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32")
ETC = ("ld.so.cache", "ld.so.conf", "ld.so.conf.d", "alternatives", "fonts", "localtime")
ALIAS = f"{TOOLS_ROOT}/bin"  # where `python` is found when the interpreter only goes by `python3`
OF_PYTHON = ("bin", "lib", "lib32", "lib64", "share", "pyvenv.cfg")  # of an environment; conda's has fonts in `share`
BESIDE = ("include", "etc", "man", "doc", ".gitignore", ".installed", "CACHEDIR.TAG")
HOST_ONLY = ("agents", "tasks", "sandbox")  # our packages that must not be seen inside
# Event generators. The seeds of shipped samples are public: with these, code inside could make the events again, and
# would know which of those it was given are signal.
GENERATORS = ("pythia8mc", "pythia8")
# The kernel's memory and key rings; their owner is root, whose number the user inside has when the operator is root.
MASKED = (
    *("cmdline", "kcore", "kmsg", "keys", "key-users", "kpagecgroup", "kpagecount", "kpageflags"),
    *("sched_debug", "slabinfo", "timer_list", "vmallocinfo"),
)
ACCOUNTS = {"passwd": "crew:x:65534:65534::/tmp:/bin/sh\n", "group": "crew:x:65534:\n"}


def binds(inputs: Path, workspace: Path, tools: Path, limits: Limits, gpu: bool) -> list[str]:
    """Every mount, in order; the driver puts ACCOUNTS into /etc before them."""
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
    """/proc, read-only: where the operator is root, so is the owner of the kernel's settings, /proc/sys/kernel say.

    Hidden in it is what tells of the kernel, and the first process: it belongs to bwrap, whose memory is not to be
    written, and is of the same user as the command.
    """
    words = ["--proc", "/proc", *emptied("/proc/1")]
    for name in MASKED:
        if (path := Path("/proc", name)).exists():
            words += ["--ro-bind", "/dev/null", str(path)]
    return [*words, "--remount-ro", "/proc"]


def interpreter(prefixes: list[Path], packages: Path) -> list[str]:
    """Bind the interpreter and its virtual environment where they are on the host, and nothing around them: what a
    project has beside its environment, when that lies at its root, stays out.

    `packages` is the folder that holds beamcrew's packages. When it lies in what is bound (beamcrew installed into
    site-packages), empty folders lie over those that judge and decide: graders, labels, samples, agents.
    """
    words: list[str] = []
    for prefix in dict.fromkeys(prefixes):
        if not prefix.is_relative_to("/usr"):
            # One mount is cheaper than several, for every command: what holds nothing else is bound whole.
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
    """Nothing is in the folder, nor can be."""
    return ["--size", "4096", "--tmpfs", folder, "--remount-ro", folder]


def without(names: Sequence[str]) -> list[str]:
    """Hide Python packages of these names, wherever this interpreter finds them: they lie in what is bound."""
    words: list[str] = []
    for name in names:
        spec = find_spec(name)
        for folder in spec.submodule_search_locations or () if spec else ():
            words += emptied(folder)
        if spec and not spec.submodule_search_locations and spec.origin:
            words += ["--ro-bind", "/dev/null", spec.origin]
    return words


def refuse_inside(words: Sequence[str], run: Path) -> None:
    """Raises SandboxLost for a run in a folder that all sandboxes see: labels of others lie there."""
    for k, word in enumerate(words):
        if word in ("--ro-bind", "--ro-bind-try") and run.is_relative_to(bound := Path(words[k + 1]).resolve()):
            raise SandboxLost(f"{run} lies in {bound}, which every sandbox can read: keep runs elsewhere (--runs)")


def search_path() -> str:
    """PATH inside, on which `python` is the interpreter that runs beamcrew itself."""
    folders = [f"{sys.prefix}/bin", f"{sys.base_prefix}/bin", "/usr/bin", "/bin"]
    if not Path(sys.prefix, "bin", "python").exists():
        folders.insert(0, ALIAS)
    return ":".join(dict.fromkeys(folders))
