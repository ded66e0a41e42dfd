"""Name -> task. Other distributions add theirs as entry points of the group `beamcrew.tasks`."""

from __future__ import annotations

from functools import cache
from importlib.metadata import entry_points
from typing import Any

from pydantic import ValidationError

from tasks.lhco.constituents import LhcoJets
from tasks.lhco.presets import LhcoDemo, LhcoRnd, LhcoSr
from tasks.showers.task import ShowersTask
from tasks.tagging.task import TaggingTask
from tasks.task import Task, TaskBase, TaskError
from tasks.unfolding.task import UnfoldingTask

GROUP = "beamcrew.tasks"
DEFAULT = "lhco-demo"  # needs nothing but what comes with the project
OURS: tuple[type[TaskBase], ...] = (LhcoDemo, LhcoRnd, LhcoJets, LhcoSr, UnfoldingTask, ShowersTask, TaggingTask)


@cache
def catalogue() -> dict[str, type[TaskBase]]:
    """All tasks by name, ours first. Raises TaskError for an installed one that cannot be loaded or takes a name."""
    found: dict[str, type[TaskBase]] = {task.name: task for task in OURS}
    for entry in entry_points(group=GROUP):
        try:
            task = entry.load()
        except Exception as error:
            raise TaskError(
                "task", entry.name, f"{entry.value} of another distribution cannot be loaded: {error!r}"
            ) from error
        if not (isinstance(task, type) and issubclass(task, TaskBase)) or found.get(task.name, task) is not task:
            raise TaskError("task", entry.name, f"{entry.value}: must be a subclass of TaskBase with a name of its own")
        found[task.name] = task
    return found


def find_task(name: str) -> type[TaskBase]:
    """The task of that name; TaskError lists the names there are."""
    if name not in catalogue():
        raise TaskError("task", name, f"select from {', '.join(catalogue())}")
    return catalogue()[name]


def make_task(name: str, options: dict[str, Any] | None = None) -> Task:
    """The task of that name with its options; TaskError names what is wrong and what is allowed."""
    task = find_task(name)
    try:
        return task.model_validate(options or {})  # type: ignore[return-value]
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"]))
        allowed = first["msg"]
        if first["type"] == "extra_forbidden":
            allowed = f"{name} has no such option; it has {', '.join(task.model_fields)}"
        raise TaskError(field, first["input"], allowed) from None
