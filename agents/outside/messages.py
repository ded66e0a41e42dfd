"""What beamcrew and the process between say to each other: one JSON document a line."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from agents.backends.base import ToolSchema
from agents.outside.servers import Server
from tools.contract import Frozen


class Order(Frozen):
    """Which server to reach, and the names that the crew's own tools have."""

    name: str
    server: Server
    folder: Path
    taken: list[str]


class Hello(Frozen):
    """What a server offers."""

    version: str = Field(description="what the server calls itself")
    tools: list[ToolSchema]
    left_out: dict[str, str] = Field(description="tool -> why it is not offered")


class Call(Frozen):
    """One call of a tool, by the server's own name for it."""

    tool: str
    arguments: dict[str, Any]
    seconds: float


class Said(Frozen):
    """What came of a call."""

    ended: Literal["answered", "refused", "timeout", "lost"]
    text: str = ""
    cut: int = Field(0, description="characters left out of `text`")
    why: str = Field("", description="of `lost`, for the operator")
