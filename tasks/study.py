"""What a stability study asks of a task that can be studied: a search, with a truth to be right about."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from pydantic import Field

from tasks.page import Run
from tasks.score import CheckedNumber
from tasks.writing import number
from tools.contract import Frozen


class Success(Frozen):
    """When a run counts as a success.

    With signal: a discovery is claimed, the harness's p-value is below the task's alpha, and the claimed mass is near
    the true one. Without: none is claimed. A run without a valid answer is no success, whatever the data hold.
    """

    mass_within: float | None = Field(0.1, gt=0, description="TeV; null: the mass does not matter")
    primary_at_least: float | None = Field(
        None, description="with signal: the primary metric has to reach this as well"
    )


class Value(Frozen):
    """A number with its uncertainty, where it has one."""

    value: float
    error: float | None = None


def value_of(value: float | None, error: float | None) -> Value | None:
    """None for what is no finite number: it could not be written as JSON and read again."""
    finite = number(value)
    return None if finite is None else Value(value=finite, error=number(error))


class Truth(Frozen):
    """What was in the data set."""

    mass: float | None = Field(None, description="TeV; null without signal")
    n_signal: int = Field(description="signal events put into the data; 0: signal-free")


class Answer(Frozen):
    """What the crew claimed, and what the harness says to the same."""

    discovery: bool
    p_value: float | None = Field(None, description="the harness's, where it judged; of what the crew handed in")
    claimed_p_value: float | None = None
    mass: Value | None = Field(None, description="TeV, as claimed")
    n_signal: Value | None = Field(None, description="as claimed")
    agrees: bool | None = Field(None, description="every claimed number agrees with the harness's; null: none compared")


class Misused(NamedTuple):
    """Claims against better knowledge: what is wrong, and the claimed numbers that are explained by it."""

    texts: Sequence[str]
    names: frozenset[str]


class Judge(Protocol):
    """A task's part in a study. `options` are those of the task."""

    def answer(self, claim: Mapping[str, Any], checks: Sequence[CheckedNumber]) -> Answer: ...

    def truth(self, sealed_folder: Path, options: Mapping[str, Any]) -> Truth:
        """From the sealed folder; of a run that was lost before it had one, as the options have it."""
        ...

    def succeeded(
        self, rule: Success, options: Mapping[str, Any], answer: Answer | None, truth: Truth, primary: Value | None
    ) -> bool: ...

    def misused(self, run: Run, options: Mapping[str, Any]) -> Misused:
        """What is claimed against the rules of statistics, of a run with a claim."""
        ...
