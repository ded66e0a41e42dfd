"""Fills the card by the rules of the tasks, for backends without a language model."""

from __future__ import annotations

from agents.intake.card import Card
from tasks.catalogue import catalogue, find_task
from tools.events.sight import Sight


class NotUnderstood(ValueError):  # noqa: N818 - the request is not wrong
    """No task answers the request, or several might."""


def by_rules(request: str, sight: Sight | None) -> Card:
    """Return the card of the task that most speaks for. Raises NotUnderstood, which says what is possible."""
    intakes = {name: task.intake for name, task in catalogue().items() if task.intake}
    fits = {name: intake.fit(request, sight) for name, intake in intakes.items()}
    best = max(fits.values(), default=0)
    found = [name for name, fit in fits.items() if fit == best and fit]
    if len(found) != 1:
        raise NotUnderstood(not_understood(found, sight))
    offer = intakes[found[0]].offer(request, sight)
    return Card(request=request, task=found[0], data=sight and sight.path, **offer.model_dump())


def told(name: str) -> str:
    """Return what a task is about, in a few words."""
    return str(getattr(find_task(name), "title", name))


def not_understood(found: list[str], sight: Sight | None) -> str:
    """Return what can be asked instead."""
    known = catalogue()
    names = found or [n for n, t in known.items() if t.intake and (sight is None or t.intake.accepts(sight))]
    possible = "; ".join(f"--task {name}: {told(name)}" for name in names)
    if found:
        return f"the rules cannot tell which of these is meant: {possible}"
    if not possible:
        return f"no task reads {sight.path if sight else 'this'}. See `beamcrew run --help` for the tasks"
    return (
        f"the rules do not understand this request. Possible: {possible}. A language model (--model) understands more"
    )
