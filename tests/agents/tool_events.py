"""Recorded tool calls, with no more said than a test is about."""

from __future__ import annotations

import hashlib
from typing import Any

from agents.trace.events import OutsideCalled, ToolCalled

NOTHING = hashlib.sha256(b"").hexdigest()


def called(tool: str, arguments: dict[str, Any] | None = None, where: str = "worker/0/a", **more: Any) -> ToolCalled:
    """A call that answered `result=` or `error=`; its output is empty."""
    said: dict[str, Any] = {
        "key": "k",
        "argv": ["python", "-P", "-m", "tools.call", tool, "call_1.json"],
        "cwd": "/workspace",
        "given": {},
        "exit_code": 2 if more.get("error") else 0,
        "ended": "exit",
        "seconds": 1.0,
        "stdout": NOTHING,
        "stderr": NOTHING,
        "dropped_bytes": 0,
        "files": {},
    }
    return ToolCalled(where=where, tool=tool, arguments=arguments or {}, **said | more)


def asked_outside(tool: str, text: str = NOTHING, **more: Any) -> OutsideCalled:
    """A call of an outside tool that was answered by the blob `text`."""
    said: dict[str, Any] = {"key": "k", "where": "worker/0/a", "arguments": {}, "ended": "answered", "seconds": 1.0}
    return OutsideCalled(tool=tool, text=text, **said | more)
