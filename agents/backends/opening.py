"""How a conversation opens: the prompt, and one JSON block that both people and programs can read."""

from __future__ import annotations

import json
from typing import Any

from agents.backends.base import Message
from agents.backends.digest import compact

FENCE = "```json\n"


def opening(prompt: str, brief: str, context: dict[str, Any]) -> tuple[Message, Message]:
    """System and first user message of a conversation.

    A line a field, in the order given: what stays the same from call to call goes first, since a service's cache holds
    what prompts begin with.
    """
    lines = ",\n".join(f"{json.dumps(name)}: {compact(value)}" for name, value in context.items())
    block = f"{{\n{lines}\n}}"
    return (
        Message(role="system", content=prompt),
        Message(role="user", content=f"{brief}\n{FENCE}{block}\n```\n"),
    )


def read_context(message: Message) -> dict[str, Any]:
    """The JSON block of an opening message."""
    start = message.content.index(FENCE) + len(FENCE)
    context: dict[str, Any] = json.loads(message.content[start : message.content.rindex("\n```")])
    return context
