"""What planner and workers are told of time and budget when they begin: the only source of these facts.

Nothing else in a run determines them, so they are recorded, and played when the run is resumed or replayed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from agents.crew.shared import Crew
from agents.trace.events import AnyEvent, Executed, Told, ToolCalled
from agents.trace.where import Where
from tasks.convergence import Rule, progress
from tasks.score import Score

LONG = 30.0  # seconds; shorter durations fluctuate with the load, would change requests, and need no planning


def standing(crew: Crew, where: Where, scores: Sequence[Score]) -> dict[str, Any]:
    """Return what the agent at `where` is told. `scores`: the verdicts so far, one for each iteration that has ended.

    Iterations and budget that are left (only what is limited), how many steps run at once, and how long calls of each
    tool took so far, if they took long [s].
    """
    event = crew.record.take(Told, "", where, {})
    if event is None:
        now = iterations(scores, crew.task.rule) | crew.meter.left() | {"steps_at_once": crew.workers}
        event = crew.store.append(Told(where=where, facts=now | took(crew.store.events())))
    return event.facts


def iterations(scores: Sequence[Score], rule: Rule) -> dict[str, Any]:
    """Return how many iterations are left, and after how many more without gain the run ends."""
    best, since = progress(scores, rule)
    left = {"iterations_done": len(scores), "iterations_left": rule.max_iterations - len(scores)}
    return left if best is None else left | {"ends_after_more_without_gain": rule.patience - since}


def took(events: Sequence[AnyEvent]) -> dict[str, Any]:
    """Return the shortest and longest duration of the calls of each tool so far [s]."""
    seconds: dict[str, list[float]] = {}
    for event in events:
        if isinstance(event, Executed) and event.where.role == "worker" and event.seconds >= LONG:
            name = event.tool if isinstance(event, ToolCalled) else "run_python"
            seconds.setdefault(name, []).append(event.seconds)
    shown = {name: list(dict.fromkeys(map(rounded, (min(each), max(each))))) for name, each in seconds.items()}
    return {"seconds_per_call": shown} if shown else {}


def rounded(seconds: float) -> float:
    """Return a duration to one digit."""
    return float(f"{seconds:.0e}")
