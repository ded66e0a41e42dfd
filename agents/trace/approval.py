"""Points at which a run stops and asks a person, and the question that is open.

A question and its answer are two events, `asked` and `answered`. Both belong to a gate:

| gate | asked | the answer "say" |
|---|---|---|
| card | before the first plan | words for the planner |
| plan | before a plan is carried out | words for the planner, who plans again |
| unblind | before held-out inputs are opened | words for the planner, who plans another iteration |
| spend | before a call of the model, once so many more dollars are spent | other dollars |

"yes" goes on, "no" ends the run; at `spend` it ends as at the end of any budget, and can be resumed.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, Self, get_args

import yaml
from pydantic import Field, ValidationError, field_validator

from agents.trace.events import Answered, AnyEvent, Asked, Gate
from tools.contract import Frozen, problems

GATES: tuple[Gate, ...] = get_args(Gate)
STEP = 1.0  # dollars between two questions at `spend`, unless another step is given


class Approval(Frozen):
    """The gates of a run."""

    card: bool = Field(False, description="before the first plan: how the request was understood")
    plan: Literal["never", "first", "every"] = Field("never", description="before a plan is carried out")
    unblind: bool = Field(False, description="before held-out inputs are opened")
    spend: float | None = Field(None, gt=0, allow_inf_nan=False, description="before each further so many dollars")

    @field_validator("plan", mode="before")
    @classmethod
    def _every(cls, value: Any) -> Any:
        return {True: "every", False: "never"}.get(value, value) if isinstance(value, bool) else value

    @field_validator("spend", mode="before")
    @classmethod
    def _step(cls, value: Any) -> Any:
        return {True: STEP, False: None}[value] if isinstance(value, bool) else value

    @classmethod
    def of(cls, text: str) -> Self:
        """Return the gates in a list such as `plan=first,unblind,spend=0.5`, or in a YAML file with these fields.

        Raises ValueError, which names the gate, its value and what is allowed, and for a text that names none.
        """
        where = "approve"
        if Path(text).suffix in (".yaml", ".yml"):
            where = f"approve: {text}"
            try:
                given = yaml.safe_load(Path(text).read_text())
            except yaml.YAMLError as error:
                raise ValueError(f"{where}: not YAML ({error})") from None
        else:
            parts = [part.strip().partition("=") for part in text.split(",")]
            given = {name: value if sign else True for name, sign, value in parts}
        unknown = sorted(set(given) - set(GATES), key=str) if isinstance(given, dict) else [given]
        if unknown:
            raise ValueError(f"{where}={unknown[0]!r}: allowed are {', '.join(GATES)}, or a file with these fields")
        try:
            found = cls.model_validate(given)
        except ValidationError as error:
            wrong = problems(error)[0]
            raise ValueError(f"{where}: {wrong.field}={wrong.value!r}: {wrong.said}") from None
        if not found.names:
            raise ValueError(f"{where}: stops nowhere; name one or more of {', '.join(GATES)}, or leave it out")
        return found

    @property
    def names(self) -> list[Gate]:
        """The gates at which the run stops."""
        chosen = {"card": self.card, "plan": self.plan != "never", "unblind": self.unblind, "spend": bool(self.spend)}
        return [gate for gate in GATES if chosen[gate]]


def pending(events: Sequence[AnyEvent]) -> Asked | None:
    """Return the question that waits for an answer; at most one is open at a time."""
    for event in reversed(events):
        if isinstance(event, Answered):
            return None
        if isinstance(event, Asked):
            return event
    return None


def dialogue(events: Sequence[AnyEvent]) -> list[tuple[Asked, Answered | None]]:
    """Return all questions with their answers, in order."""
    found: list[tuple[Asked, Answered | None]] = []
    for event in events:
        if isinstance(event, Asked):
            found.append((event, None))
        elif isinstance(event, Answered) and found:
            found[-1] = found[-1][0], event
    return found
