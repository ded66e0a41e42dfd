"""What the agents are told: prompts from files, and one JSON block that both people and programs can read."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from agents.backends.base import Message

PROMPTS = Path(__file__).parent / "prompts"
FENCE = "```json\n"


def prompt(name: str) -> str:
    return (PROMPTS / f"{name}.md").read_text()


def prompt_hashes() -> dict[str, str]:
    """Prompt file -> SHA-256, for the trace."""
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(PROMPTS.glob("*.md"))}


def opening(role: str, brief: str, context: dict[str, Any]) -> tuple[Message, Message]:
    """System and first user message of a conversation."""
    block = json.dumps(context, indent=1, sort_keys=True)
    return (
        Message(role="system", content=prompt(role)),
        Message(role="user", content=f"{brief}\n{FENCE}{block}\n```\n"),
    )


def read_context(message: Message) -> dict[str, Any]:
    """The JSON block of an opening message."""
    start = message.content.index(FENCE) + len(FENCE)
    context: dict[str, Any] = json.loads(message.content[start : message.content.rindex("\n```")])
    return context
