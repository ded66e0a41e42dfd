"""What comes back from a step, for planner, reporter and the steps after it."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, Field

from tools.contract import Frozen

# A claim or a submission as it is recorded: a document of the task's own form.
Form = Annotated[
    dict[str, Any], BeforeValidator(lambda it: it.model_dump(mode="json") if isinstance(it, BaseModel) else it)
]


class Observation(Frozen):
    """How a step ended, as planner and reporter see it."""

    iteration: int
    step: str
    ok: bool
    summary: str = Field(description="the worker's own words, or the error")
    results: list[dict[str, Any]] = Field(default_factory=list, description="tool results, without arrays")
    submission: Form | None = Field(None, description="what was handed in")
