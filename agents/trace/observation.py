"""The outcome of a step, as given to planner, reporter and later steps."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, Field

from tools.contract import Frozen

# A claim or a submission as recorded: a document of the task's own schema.
Form = Annotated[
    dict[str, Any], BeforeValidator(lambda it: it.model_dump(mode="json") if isinstance(it, BaseModel) else it)
]


class Observation(Frozen):
    """The outcome of a step, as planner and reporter see it."""

    iteration: int
    step: str
    ok: bool
    summary: str = Field(description="the worker's own words, or the error")
    results: list[dict[str, Any]] = Field(default_factory=list, description="tool results, without arrays")
    submission: Form | None = Field(None, description="what was submitted")
    null_result: str = Field("", description="what was handed in instead of a submission")
