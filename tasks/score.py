"""A grader's score (a number with its error, the reason and the graded file), and numbers as tables show them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal

from pydantic import Field

from tasks.writing import label, measured, probability, significance
from tools.contract import Frozen


class Score(Frozen):
    """A steering metric, computed by the harness from data alone. `value` is None when the submission was refused."""

    metric: str
    value: float | None
    error: float | None = None
    reason: str = Field(description="what was measured, or why the submission was refused")
    artefact: str | None = Field(None, description="SHA-256 of the graded file")
    details: dict[str, Any] = Field(default_factory=dict, description="further results, in the task's own form")
    resampled: list[float] = Field(
        default_factory=list,
        description="the value on resampled inputs, the same for each submission: what two scores have in common "
        "cancels in their difference",
    )

    @property
    def ok(self) -> bool:
        return self.value is not None


class Quantity(Frozen):
    """A named quantity, and how its values are written."""

    name: str
    label: str = Field("", description="what people call it; default: its name in words")
    unit: str = ""
    kind: Literal["number", "probability", "significance"] = "number"

    @property
    def title(self) -> str:
        return self.label or label(self.name)

    def written(self, value: float | bool | None, error: float | None = None) -> str:
        """Return a value of the quantity as text."""
        if isinstance(value, bool):
            return "yes" if value else "no"
        if self.kind == "probability":
            return probability(value)
        return significance(value) if self.kind == "significance" else measured(value, error, self.unit)


class Number(Quantity):
    """A number with its error."""

    value: float | None
    error: float | None = None

    @property
    def text(self) -> str:
        return self.written(self.value, self.error)


class CheckedNumber(Quantity):
    """A claimed number compared with the harness's own, and with the truth once the run has ended."""

    claimed: float | bool | None
    claimed_error: float | None = None
    harness: float | bool | None
    harness_error: float | None = None
    agrees: bool | None = Field(description="None: nothing to compare")
    truth: float | bool | None = None
    traced: bool | None = Field(None, description="false: no output of this run contains the claimed number")
    scales: tuple[float, ...] = Field((1.0,), description="factors of the units in which tools and scripts print it")


def truth_known(checks: Iterable[CheckedNumber]) -> bool:
    """Return whether there is a truth for any of the claimed numbers: tables have a column for it only then."""
    return any(check.truth is not None for check in checks)


class Metric(Number):
    """A sealed metric: it needs the truth and is computed once, after the run has ended."""

    note: str = ""
