"""The instructions to each role of the crew: prompts from files, and the task's advice."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from tasks.task import Task

PROMPTS = Path(__file__).parent / "prompts"
FILES = ("planner.md", "worker.md", "reporter.md")
REVIEWER = "reviewer.md"


def read_prompts(folder: Path = PROMPTS, reviewer: bool = False) -> dict[str, str]:
    """Read the prompts in `folder`, by default the installed ones: file name -> text. Raises ValueError.

    `reviewer`: with that of the reviewer.
    """
    files = (*FILES, REVIEWER) if reviewer else FILES
    missing = [name for name in files if not (folder / name).is_file()]
    if missing:
        raise ValueError(f"prompts={folder}: must contain {', '.join(files)}; missing: {', '.join(missing)}")
    return {name: (folder / name).read_text() for name in files}


def advised(prompts: Mapping[str, str], task: Task) -> dict[str, str]:
    """Return the prompts with the task's advice to each role appended."""
    advice = {name: task.advice(name.removesuffix(".md")) for name in prompts}
    return {name: f"{text.rstrip()}\n{advice[name]}" if advice[name] else text for name, text in prompts.items()}
