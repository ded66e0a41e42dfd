"""Generators of showers. Importing them loads no torch."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tools.calorimeter.generators import base, flow, frozen, points_flow_matching, tokens
from tools.calorimeter.generators.base import BeyondTraining, Generator, Stored
from tools.calorimeter.generators.flow import Flow
from tools.calorimeter.generators.frozen import FrozenShowers
from tools.calorimeter.generators.points_flow_matching import PointsFlowMatching
from tools.calorimeter.generators.tokens import Adapter, Expert, Tokens
from tools.contract import ToolError

Settings = Flow | PointsFlowMatching | Tokens | Expert | Adapter | FrozenShowers
RESTORE: dict[str, Callable[[Stored], Generator]] = {
    "flow": flow.restore,
    "points_flow_matching": points_flow_matching.restore,
    "tokens": tokens.restore,
    "frozen": frozen.restore,
}

__all__ = [
    "Adapter",
    "BeyondTraining",
    "Expert",
    "Flow",
    "FrozenShowers",
    "Generator",
    "PointsFlowMatching",
    "Settings",
    "Tokens",
    "load",
]


def load(path: Path | str) -> Generator:
    """Return the generator in a file written by `save`; ToolError if it holds none."""
    stored = base.read(Path(path))
    if stored.kind not in RESTORE:
        raise ToolError("generator", stored.kind, f"a kind of generator: {', '.join(RESTORE)}")
    try:
        return RESTORE[stored.kind](stored)
    except (KeyError, ValueError, TypeError, RuntimeError) as error:
        raise ToolError("generator", str(path), f"a complete {stored.kind} generator: {error}"[:300]) from None
