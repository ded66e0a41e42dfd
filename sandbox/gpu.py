"""Whether the host's GPU is handed into a container."""

from __future__ import annotations

from typing import Any

from sandbox.driver import Gpu


def hand_in(gpu: Gpu, facts: dict[str, Any]) -> bool:
    """The operator wants it, and the engine (`facts` is what it says about itself) knows how."""
    return gpu != "none" and "nvidia" in facts.get("Runtimes", {})
