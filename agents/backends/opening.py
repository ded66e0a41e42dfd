"""The opening of a conversation: the prompt, and one JSON block that both people and programs can read."""

from __future__ import annotations

import json
from typing import Any

from agents.backends.base import Message
from agents.backends.digest import compact

FENCE = "```json\n"


def opening(prompt: str, brief: str, context: dict[str, Any]) -> tuple[Message, Message]:
    """Return the system message and the first user message of a conversation.

    The JSON has one line per field, in the order given: put fields that stay the same from call to call first, since
    services cache the beginnings of prompts.
    """
    lines = ",\n".join(f"{json.dumps(name)}: {compact(value)}" for name, value in context.items())
    block = f"{{\n{lines}\n}}"
    return (
        Message(role="system", content=prompt),
        Message(role="user", content=f"{brief}\n{FENCE}{block}\n```\n"),
    )


def read_context(message: Message) -> dict[str, Any]:
    """Return the JSON block of an opening message."""
    start = message.content.index(FENCE) + len(FENCE)
    context: dict[str, Any] = json.loads(message.content[start : message.content.rindex("\n```")])
    return context
