"""Provenance of a run's numbers: hashes of inputs and prompts, versions, BLAS kernels, and peak memory."""

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
    """Return the SHA-256 of each input file of the sandboxes: path -> hash."""
    files = sorted(p for name in ("inputs", "held_out") for p in (run_dir / name).glob("*") if p.is_file())
    return {str(p.relative_to(run_dir)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def keep_prompts(store: Store, prompts: Mapping[str, str]) -> dict[str, str]:
    """Store the prompts of a run as blobs; return prompt file -> blob."""
    return {name: store.put(text.encode()) for name, text in prompts.items()}


def kept_prompts(begun: RunStarted, store: Store) -> dict[str, str]:
    """Return the prompts recorded with a run, not those installed now: replay needs identical requests."""
    return {name: store.get(sha).decode() for name, sha in begun.prompts.items()}


def versions() -> dict[str, str]:
    """Return the versions of Python, of packages that numbers depend on, and of the tools (a hash of their source)."""
    found = {"python": platform.python_version(), "tools": tools_hash()} | kernels()
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def kernels() -> dict[str, str]:
    """Return the BLAS builds with their kernels, and the vector instructions found: rounding depends on both.

    torch chooses its own kernels by the same instructions (X86_V3 is AVX2, X86_V4 AVX-512).
    """
    builds = ThreadpoolController().select(user_api="blas").info()
    blas = {f"{build['internal_api']} {build['version']} {build.get('architecture', '')}".strip() for build in builds}
    known: Any = np.show_config(mode="dicts")
    simd = known["SIMD Extensions"]
    return {"blas": " + ".join(sorted(blas)), "simd": " ".join([*simd["baseline"], *simd.get("found", [])])}


def tools_hash() -> str:
    """Return the first 12 digits of a SHA-256 over names and contents of the source files of `tools`."""
    root = Path(str(tools.__file__)).parent
    whole = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        whole.update(f"{path.relative_to(root)} {hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return whole.hexdigest()[:12]


def changed(begun: RunStarted) -> dict[str, str]:
    """Return the versions that differ from those of the run: possible reasons for different numbers."""
    here = versions()
    return {
        name: f"{name} {was} then, {here.get(name)} here"
        for name, was in begun.versions.items()
        if here.get(name) != was
    }


def peak_memory(store: Store) -> float:
    """Return the largest memory use of any command of the run or of this process [MiB]."""
    commands = [event.peak_mib or 0.0 for event in store.events() if isinstance(event, Executed)]
    return max(*commands, 0.0, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)  # Linux reports KiB
