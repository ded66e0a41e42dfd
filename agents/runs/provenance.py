"""Where a run's numbers come from: its inputs, the versions of what it ran with, and the memory that it took."""

from __future__ import annotations

import hashlib
import platform
import resource
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import scipy.linalg  # noqa: F401 - loads the BLAS of scipy, which is not that of numpy
from threadpoolctl import ThreadpoolController

import tools
from agents.trace.events import Executed, RunStarted
from agents.trace.store import Store

PACKAGES = ("beamcrew", "numpy", "scikit-learn", "torch", "zuko", "iminuit", "langgraph", "openai", "pydantic")


def input_hashes(run_dir: Path) -> dict[str, str]:
    """SHA-256 of what the sandboxes get to see as inputs."""
    files = sorted(p for name in ("inputs", "held_out") for p in (run_dir / name).glob("*") if p.is_file())
    return {str(p.relative_to(run_dir)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def keep_prompts(store: Store, prompts: Mapping[str, str]) -> dict[str, str]:
    """Put the prompts of a run beside its trace; prompt file -> blob."""
    return {name: store.put(text.encode()) for name, text in prompts.items()}


def kept_prompts(begun: RunStarted, store: Store) -> dict[str, str]:
    """What the agents of a run are told, whatever is installed by now: the same questions, or nothing can be played."""
    return {name: store.get(sha).decode() for name, sha in begun.prompts.items()}


def versions() -> dict[str, str]:
    """Of Python, of the packages that numbers depend on, and of the tools: a hash of their source."""
    found = {"python": platform.python_version(), "tools": tools_hash()} | kernels()
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def kernels() -> dict[str, str]:
    """The BLAS builds with the kernel each has chosen, and the vector instructions found: each rounds in its own way.

    torch chooses its own kernels by the same instructions (X86_V3 is AVX2, X86_V4 AVX-512).
    """
    builds = ThreadpoolController().select(user_api="blas").info()
    blas = {f"{build['internal_api']} {build['version']} {build.get('architecture', '')}".strip() for build in builds}
    known: Any = np.show_config(mode="dicts")
    simd = known["SIMD Extensions"]
    return {"blas": " + ".join(sorted(blas)), "simd": " ".join([*simd["baseline"], *simd.get("found", [])])}


def tools_hash() -> str:
    """The first 12 digits of a SHA-256 over the names and texts of the source files of `tools`."""
    root = Path(str(tools.__file__)).parent
    whole = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        whole.update(f"{path.relative_to(root)} {hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return whole.hexdigest()[:12]


def changed(begun: RunStarted) -> dict[str, str]:
    """What is not here as it was when the run was made: a reason why numbers may come out different."""
    here = versions()
    return {
        name: f"{name} {was} then, {here.get(name)} here"
        for name, was in begun.versions.items()
        if here.get(name) != was
    }


def peak_memory(store: Store) -> float:
    """MiB of the hungriest command of the run, or of this process if that took more (Linux counts KiB)."""
    commands = [event.peak_mib or 0.0 for event in store.events() if isinstance(event, Executed)]
    return max(*commands, 0.0, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
