"""Outside tools as the crew sees them: in the prompts, and what a call brought, marked as text of others."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from agents.backends.digest import ends
from agents.crew.context import PROMPTS
from agents.trace.events import OutsideCalled
from agents.trace.outside import RecordedOutside
from agents.trace.words import visible

SHOWN = 8000  # characters of a result that a model sees
LONGEST = 10_000  # characters of the arguments of a call
ROLES = ("planner.md", "worker.md")
NO_ANSWER = {
    "timeout": "it did not answer in time: ask for less, or go on without it",
    "lost": "its server does not work: go on without it",
    "limit": "the run has made all the calls of this server that it may make: go on without it",
}


def with_outside(prompts: Mapping[str, str]) -> dict[str, str]:
    """Return the prompts with what planner and workers have to know of outside tools."""
    advice = (PROMPTS / "outside.md").read_text()
    return {name: text.rstrip() + "\n" + advice if name in ROLES else text for name, text in prompts.items()}


def too_long(arguments: Mapping[str, Any]) -> str:
    """Return why arguments cannot be sent; '' if they can."""
    size = len(json.dumps(arguments))
    return f"{size} characters, at most {LONGEST} can be sent" if size > LONGEST else ""


def told(outside: RecordedOutside, event: OutsideCalled) -> dict[str, Any]:
    """Return what a model is told of a call. What the server said stands in `untrusted_text` and nowhere else."""
    if event.ended in NO_ANSWER:
        return {"error": {"field": "tool", "value": event.tool, "allowed": NO_ANSWER[event.ended]}}
    cut = f"\n[... {event.cut} characters were not kept ...]" if event.cut else ""
    said = {"outside_tool": event.tool, "untrusted_text": visible(ends(outside.text(event), SHOWN) + cut)}
    if event.ended == "refused":
        return {"error": {"field": "arguments", "value": "", "allowed": "see untrusted_text"}} | said
    return said
