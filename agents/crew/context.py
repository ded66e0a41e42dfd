"""What the roles of the crew are told: prompts from files, and the advice of the task."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from tasks.task import Task

PROMPTS = Path(__file__).parent / "prompts"
FILES = ("planner.md", "worker.md", "reporter.md")


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
