"""The interface between a stability study and a task: a search whose truth is known."""

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

    With signal: a discovery is claimed, the harness's p-value is below the task's alpha, and the claimed mass is close
    to the true one. Without signal: no discovery is claimed. A run without a valid answer is never a success.
    """

    mass_within: float | None = Field(0.1, gt=0, description="TeV; null: the mass does not matter")
    primary_at_least: float | None = Field(
        None, description="with signal: the primary metric must also reach this value"
    )


class Value(Frozen):
    """A number with its uncertainty, if it has one."""

    value: float
    error: float | None = None


def value_of(value: float | None, error: float | None) -> Value | None:
    """Return the number with its error; None if it is not finite, as JSON could not hold it."""
    finite = number(value)
    return None if finite is None else Value(value=finite, error=number(error))


class Truth(Frozen):
    """The signal in the data set."""

    mass: float | None = Field(None, description="TeV; null without signal")
    n_signal: int = Field(description="signal events put into the data; 0: signal-free")


class Answer(Frozen):
    """The crew's claim, and the harness's verdict on it."""

    discovery: bool
    p_value: float | None = Field(None, description="the harness's, for the crew's submission; null if none was judged")
    claimed_p_value: float | None = None
    mass: Value | None = Field(None, description="TeV, as claimed")
    n_signal: Value | None = Field(None, description="as claimed")
    agrees: bool | None = Field(None, description="every claimed number agrees with the harness's; null: none compared")


class Misused(NamedTuple):
    """Claims that misuse statistics: what is wrong, and the names of the claimed numbers it explains."""

    texts: Sequence[str]
    names: frozenset[str]


class Judge(Protocol):
    """A task's part in a study. `options` are those of the task."""

    def answer(self, claim: Mapping[str, Any], checks: Sequence[CheckedNumber]) -> Answer: ...

    def truth(self, sealed_folder: Path, options: Mapping[str, Any]) -> Truth:
        """Return the truth from the sealed folder; for a run lost before it had one, from the options."""
        ...

    def succeeded(
        self, rule: Success, options: Mapping[str, Any], answer: Answer | None, truth: Truth, primary: Value | None
    ) -> bool: ...

    def misused(self, run: Run, options: Mapping[str, Any]) -> Misused:
        """Return what a run with a claim claims against the rules of statistics."""
        ...
