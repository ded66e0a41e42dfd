"""The interface between a stability study and a task whose truth is known: what a task says of its own runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Protocol

from pydantic import Field

from tasks.page import Run
from tasks.score import CheckedNumber, Quantity
from tasks.writing import number
from tools.contract import Frozen


class Primary(Frozen):
    """The metric that decides between backends, and its value for failed runs. What is not given, the task gives."""

    metric: str = Field("", description="name of a sealed metric")
    failure: float = Field(1.0, description="value for a failed run on data with signal")


class Success(Frozen):
    """When a run counts as a success; each task adds conditions of its own.

    A run without a valid answer is never a success.
    """

    primary_at_least: float | None = Field(
        None, description="with signal: the primary metric must also reach this value"
    )

    def words(self, metric: str) -> str:
        """Return the rule in words; `metric` is the primary one."""
        raise NotImplementedError


class Value(Frozen):
    """A number with its uncertainty, if it has one."""

    value: float
    error: float | None = None


def value_of(value: float | None, error: float | None) -> Value | None:
    """Return the number with its error; None if it is not finite, as JSON could not hold it."""
    finite = number(value)
    return None if finite is None else Value(value=finite, error=number(error))


class Truth(Frozen):
    """What there is to be found in a data set."""

    signal: bool = Field(description="false: there is nothing to be found, and any claim is false")
    text: str = Field(description="what the data set contains, in a few words")
    numbers: dict[str, float] = Field(default_factory=dict, description="true values, by the names of quantities")


class Answer(Frozen):
    """The crew's claim, and the harness's verdict on it."""

    signal: bool = Field(description="the crew claims to have found something")
    p_value: float | None = Field(None, description="the harness's, for the crew's submission; null if none was judged")
    claimed_p_value: float | None = None
    numbers: dict[str, Value] = Field(default_factory=dict, description="claimed values, by the names of quantities")
    agrees: bool | None = Field(None, description="every claimed number agrees with the harness's; null: none compared")


class Misused(NamedTuple):
    """Claims that misuse statistics: what is wrong, and the names of the claimed numbers it explains."""

    texts: Sequence[str]
    names: frozenset[str]


class Judge(Protocol):
    """A task's part in a study. `options` are those of the task; `rule` is always of the task's own type."""

    primary: ClassVar[Primary]  # unless the study names another
    success: ClassVar[type[Success]]  # when a run succeeds; a study sets its fields
    quantities: ClassVar[Sequence[Quantity]]  # the numbers that are claimed and have a true value

    def answer(self, claim: Mapping[str, Any], checks: Sequence[CheckedNumber]) -> Answer: ...

    def truth(self, sealed_folder: Path, options: Mapping[str, Any]) -> Truth:
        """Return the truth from the sealed folder; for a run lost before it had one, from the options."""
        ...

    def succeeded(
        self, rule: Any, options: Mapping[str, Any], answer: Answer | None, truth: Truth, primary: Value | None
    ) -> bool: ...

    def misused(self, run: Run, options: Mapping[str, Any]) -> Misused:
        """Return what a run with a claim claims against the rules of statistics."""
        ...
