"""An answer, the events that it cites, and the record of all questions to a run: `questions.jsonl` in its folder.

The run's own trace stays as it is: a question is no part of the run.
"""

from __future__ import annotations

import json
import os
import re
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import Field

from agents.ask.material import Material, title
from agents.backends.base import Usage
from agents.backends.select import again, secrets
from agents.trace.blobs import Redactor
from agents.trace.words import visible
from tools.contract import Frozen

FILE = "questions.jsonl"
CITED = re.compile(r"\[((?:#\d+(?:\s*[,;]\s*)?)+)\]")


class Cite(Frozen):
    """An event that an answer cites."""

    event: int = Field(description="its number in the trace, by which a viewer links it")
    title: str = Field(description="what it is; '' if there is no such event")


class Answer(Frozen):
    """An answer to a question about a run. In `text`, `[#12]` cites event 12 of the trace."""

    question: str
    text: str
    answered: bool = Field(description="false: it only says why there is no answer")
    cites: list[Cite]
    fork: str = Field("", description="the command that would do the new work that the question needs")
    by: str = Field(description="the model, or `analyst` for rules")
    is_llm: bool
    who: str = Field("", description="who asked")
    when: float = Field(0.0, description="when [seconds since the epoch]")
    seconds: float = Field(0.0, description="time until the answer")
    model_calls: int = 0
    usage: Usage = Usage()
    looked_at: list[dict[str, Any]] = Field(default_factory=list, description="what the model called for it")


def cited(text: str, material: Material) -> tuple[str, list[Cite]]:
    """Return the text, in which citations of events that do not exist are marked, and all citations in order."""
    known = {event.index: event for event in material.events}

    def marked(found: re.Match[str]) -> str:
        numbers = [int(number) for number in re.findall(r"\d+", found[1])]
        return f"[{', '.join(f'#{n}' if n in known else f'#{n}: no such event' for n in numbers)}]"

    numbers = [int(n) for found in CITED.finditer(text) for n in re.findall(r"\d+", found[1])]
    cites = [Cite(event=n, title=title(known[n]) if n in known else "") for n in dict.fromkeys(numbers)]
    return CITED.sub(marked, text), cites


def fork_command(material: Material, question: str, step: str = "", request: str = "") -> str:
    """Return the command for a fork that does new work; '' if the run has no place to fork from.

    `step`: a place of the planner, by default the last one; `request`: what is asked from there on.
    """
    places = material.planners()
    if not places:
        return ""
    place = step if step in places else places[-1]
    asked = visible(" ".join((request or f"{material.result.request} {question}").split()))
    words = [*again(material.started.backend), "--request", asked]
    return shlex.join(["beamcrew", "fork", str(material.run_dir), place, *words])


def keep(run_dir: Path, answer: Answer) -> None:
    """Append an answer to the record of questions; secrets never reach the disk."""
    line = json.dumps(Redactor(secrets()).tree(answer.model_dump(mode="json")), separators=(",", ":"))
    with (run_dir / FILE).open("a") as file:
        file.write(line + "\n")
        file.flush()
        os.fsync(file.fileno())


def kept(run_dir: Path) -> Sequence[Answer]:
    """Return all recorded answers; a line cut short by a crash is left out."""
    path = run_dir / FILE
    lines = path.read_text().split("\n")[:-1] if path.exists() else []
    return [Answer.model_validate_json(line) for line in lines]
