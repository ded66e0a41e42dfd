"""What a task makes of a request and of a look at the data: whether it fits, its options, and what it has to ask.

These rules understand little and say so: what they cannot tell becomes a question, never a guess. A language model
fills the same card with the same options, and both are checked by the task itself.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from pydantic import Field

from tools.contract import Frozen
from tools.events.sight import Sight


class Question(Frozen):
    """Something that must be known before anything is spent."""

    about: str = Field(description="option of the task that answers it")
    text: str


class Offer(Frozen):
    """How a task would take on a request."""

    options: dict[str, Any] = Field(default_factory=dict, description="options of the task")
    questions: list[Question] = Field(default_factory=list)
    remarks: list[str] = Field(default_factory=list, description="what was assumed or left out")


class Intake:
    """The rules of one task.

    `words`: patterns, each of which, found in a request, speaks for the task. `parts`: names of files that a folder of
    its data has, or of arrays in a file; without any, the task takes no data from the operator.
    """

    def __init__(self, words: Sequence[str], parts: Sequence[str] = (), needs_data: bool = False) -> None:
        self._words = [re.compile(word, re.IGNORECASE) for word in words]
        self._parts, self._needs_data = tuple(parts), needs_data

    def fit(self, request: str, sight: Sight | None) -> int:
        """Return how much speaks for the task; 0: it is not this one, or it cannot take this data."""
        if self._needs_data if sight is None else not self.accepts(sight):
            return 0
        said = sum(bool(word.search(request)) for word in self._words)
        return said and said + (sight is not None)

    def accepts(self, sight: Sight) -> bool:
        """Return whether the task can read what lies there."""
        return any(part.startswith(each) for part in sight.parts for each in self._parts)

    def offer(self, request: str, sight: Sight | None) -> Offer:
        """Return options and questions."""
        return Offer(remarks=[] if sight else ["No data were given: the task's own sample is used."])
