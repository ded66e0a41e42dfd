"""What the agents are told: prompts from files, and one JSON block that both people and programs can read."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from agents.backends.base import Message
from agents.digest import compact
from tasks.task import Task

PROMPTS = Path(__file__).parent / "prompts"
FILES = ("planner.md", "worker.md", "reporter.md")
FENCE = "```json\n"


def read_prompts(folder: Path = PROMPTS) -> dict[str, str]:
    """Prompt file -> its text, of the crew that is installed or of a folder. Raises ValueError when one is missing."""
    missing = [name for name in FILES if not (folder / name).is_file()]
    if missing:
        raise ValueError(f"prompts={folder}: must hold {', '.join(FILES)}; {', '.join(missing)} is not there")
    return {name: (folder / name).read_text() for name in FILES}


def advised(prompts: Mapping[str, str], task: Task) -> dict[str, str]:
    """The prompts with what the task says to each role."""
    advice = {name: task.advice(name.removesuffix(".md")) for name in prompts}
    return {name: f"{text.rstrip()}\n{advice[name]}" if advice[name] else text for name, text in prompts.items()}


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
