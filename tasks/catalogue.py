"""Catalogue of tasks by name. Other distributions add theirs as entry points of the group `beamcrew.tasks`.

Ours are given by import path, as entry points are, so that a command that only lists them loads no physics.
"""

from __future__ import annotations

from functools import cache
from importlib.metadata import entry_points
from pkgutil import resolve_name
from typing import Any

from pydantic import ValidationError

from tasks.task import Task, TaskBase, TaskError
from tools.contract import problems

GROUP = "beamcrew.tasks"
DEFAULT = "lhco-demo"  # needs nothing but what comes with the project
OURS = {
    "lhco-demo": "tasks.lhco.presets:LhcoDemo",
    "lhco-rnd": "tasks.lhco.presets:LhcoRnd",
    "lhco-jets": "tasks.lhco.constituents:LhcoJets",
    "lhco-sr": "tasks.lhco.presets:LhcoSr",
    "lhco-blackbox": "tasks.lhco.blackbox:LhcoBlackBox",
    "search": "tasks.lhco.own:OwnSearch",
    "spectrum": "tasks.spectrum.task:SpectrumTask",
    "open": "tasks.open.task:OpenTask",
    "unfolding": "tasks.unfolding.task:UnfoldingTask",
    "showers": "tasks.showers.task:ShowersTask",
    "tagging": "tasks.tagging.task:TaggingTask",
}


@cache
def catalogue() -> dict[str, type[TaskBase]]:
    """Return all tasks by name, ours first. Raises TaskError if an installed one cannot be loaded or reuses a name."""
    found: dict[str, type[TaskBase]] = {name: resolve_name(place) for name, place in OURS.items()}
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
    """Return the task class of that name. The TaskError for an unknown name lists the known ones."""
    if name not in catalogue():
        raise TaskError("task", name, f"select from {', '.join(catalogue())}")
    return catalogue()[name]


def make_task(name: str, options: dict[str, Any] | None = None) -> Task:
    """Return the task of that name with its options. TaskError says what is wrong and what is allowed."""
    task = find_task(name)
    try:
        return task.model_validate(options or {})  # type: ignore[return-value]
    except ValidationError as error:
        wrong = problems(error)[0]
        allowed = wrong.said
        if wrong.unknown:
            allowed = f"{name} has no such option; it has {', '.join(task.model_fields)}"
        raise TaskError(wrong.field, wrong.value, allowed) from None
