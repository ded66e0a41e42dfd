"""Name -> task."""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError

from tasks.lhco.constituents import LhcoJets
from tasks.lhco.presets import LhcoDemo, LhcoRnd, LhcoSr
from tasks.lhco.task import LhcoTask
from tasks.showers.task import ShowersTask
from tasks.tagging.task import TaggingTask
from tasks.task import TaskError
from tasks.unfolding.task import UnfoldingTask

AnyTask = LhcoTask | UnfoldingTask | ShowersTask | TaggingTask
TASKS: dict[str, type[AnyTask]] = {
    task.name: task for task in (LhcoDemo, LhcoRnd, LhcoJets, LhcoSr, UnfoldingTask, ShowersTask, TaggingTask)
}


def make_task(name: str, options: dict[str, Any] | None = None) -> AnyTask:
    """The task of that name with its options; TaskError names what is wrong and what is allowed."""
    if name not in TASKS:
        raise TaskError("task", name, f"select from {', '.join(TASKS)}")
    try:
        return TASKS[name].model_validate(options or {})
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"]))
        allowed = first["msg"]
        if first["type"] == "extra_forbidden":
            allowed = f"{name} has no such option; it has {', '.join(TASKS[name].model_fields)}"
        raise TaskError(field, first["input"], allowed) from None
