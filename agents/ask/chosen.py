"""Settings that somebody chose in a run: which values they had, why, and with which scores."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

from agents.ask.material import LONGEST, MOST, Material, content
from agents.backends.digest import compact, ends
from agents.trace.events import AnyEvent, Claimed, Decided, Graded, Planned, StepFinished, ToolCalled
from agents.trace.record import where_of
from agents.trace.shown import graded_of
from tasks.writing import label, measured

NUMBER = re.compile(r"(?<![\w.#])\d+(?:\.\d+)?(?:e[+-]?\d+)?", re.IGNORECASE)
COUNTED = re.compile(r"(#|\b(event|iteration|step|round)s? )\d+", re.IGNORECASE)  # numbers that count something


def settings(material: Material, question: str) -> list[str]:
    """Say where the numbers of a question were chosen, why, and what else was tried for the same settings."""
    numbers = {float(n) for n in NUMBER.findall(COUNTED.sub("", question))}
    if not numbers:
        return []
    chosen = list(_chosen(material))
    hits = [(event, path, value) for event, path, value in chosen if numbers & set(_numbers(value))]
    most = max((len(numbers & set(_numbers(value))) for _, _, value in hits), default=0)
    hits = [hit for hit in hits if len(numbers & set(_numbers(hit[2]))) == most]
    if not hits:
        named = ", ".join(f"{n:g}" for n in sorted(numbers))
        return [f"No submission, tool call, option or claim of this run has the value {named} among its settings."]
    found: list[str] = []
    for path in dict.fromkeys(path for _, path, _ in hits):
        found += _setting(material, path, chosen, {compact(value) for _, p, value in hits if p == path})
    iterations = {k for event, _, _ in hits if (k := where_of(event).iteration) is not None}
    return found + [sentence for k in sorted(iterations) for sentence in reasons(material, k)]


def names(material: Material, question: str) -> list[str]:
    """Say what is known of settings, steps and tools that a question names."""
    words = set(re.findall(r"[a-z][a-z0-9_.]+", question.lower()))
    chosen = list(_chosen(material))
    paths = dict.fromkeys(path for event, path, _ in chosen if event.index and path.rpartition(".")[2].lower() in words)
    found = [sentence for path in paths for sentence in _setting(material, path, chosen, set())]
    for event in material.events:
        if isinstance(event, StepFinished) and event.observation.step in words:
            found.append(f"Step {event.observation.step}: {ends(event.observation.summary, LONGEST)} [#{event.index}]")
        elif isinstance(event, ToolCalled) and event.tool.lower() in words and event.where.role == "worker":
            found.append(f"{event.where}: {ends(content(event), LONGEST)} [#{event.index}]")
    return found[: 2 * MOST]


def _setting(material: Material, path: str, chosen: list[tuple[AnyEvent, str, Any]], asked: set[str]) -> list[str]:
    """Say which values a setting had and where, those asked for first, with the scores of their iterations."""
    events: dict[str, list[AnyEvent]] = defaultdict(list)
    for event, at, value in chosen:
        if at == path:
            events[compact(value)].append(event)
    scores = graded_of(material.events)

    def sentence(value: str) -> str:
        where = ", ".join(f"{where_of(event)} [#{event.index}]" for event in events[value][:MOST])
        graded = [event for event in events[value] if isinstance(event, Graded)]
        scored = "".join(f"; graded: {score(scores[event.iteration])}" for event in graded)
        return f"{path} = {ends(value, 120)}: {where}{scored}."

    first = [sentence(value) for value in events if value in asked]
    others = [value for value in events if value not in asked]
    if not asked:
        return [sentence(value) for value in others[:MOST]]
    if not others:
        return [*first, f"No other value of {path} was tried in this run: the record cannot say what one would give."]
    return [*first, f"Other values of {path} in this run:", *(sentence(value) for value in others[:MOST])]


def score(event: Graded) -> str:
    of = event.score
    value = f"{label(of.metric)} {measured(of.value, of.error)}" if of.ok else "refused"
    return f"{value}, {ends(of.reason, 200)} [#{event.index}]"


def reasons(material: Material, iteration: int | None) -> Iterator[str]:
    """Yield why an iteration was done as it was, in the words of plan, submission and decision."""
    for event in material.events:
        if where_of(event).iteration != iteration:
            continue
        if isinstance(event, Planned):
            yield f"The plan of iteration {iteration} says: {ends(event.plan.reasoning, LONGEST)} [#{event.index}]"
        elif isinstance(event, StepFinished) and event.observation.submission:
            yield f"The step that handed it in says: {ends(event.observation.summary, LONGEST)} [#{event.index}]"
        elif isinstance(event, Graded) and event.submission and event.submission.get("method"):
            yield f"Its method, as handed in: {ends(str(event.submission['method']), LONGEST)} [#{event.index}]"
        elif isinstance(event, Decided):
            yield f"Then: {event.decision.action}, {event.decision.reason} [#{event.index}]"


def _chosen(material: Material) -> Iterator[tuple[AnyEvent, str, Any]]:
    """Yield every setting that somebody chose: event, path, value; a short list of numbers is one setting."""
    for event in material.events:
        if isinstance(event, Graded) and event.submission:
            yield from ((event, path, value) for path, value in _leaves(event.submission))
        elif isinstance(event, ToolCalled) and event.where.role == "worker":
            yield from ((event, f"{event.tool}: {path}", value) for path, value in _leaves(event.arguments))
        elif isinstance(event, Claimed):
            yield from ((event, path, value) for path, value in _leaves(event.claim) if path != "text")
    yield from ((material.started, path, value) for path, value in _leaves(material.started.options))


def _leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for name, part in value.items():
            yield from _leaves(part, f"{path}.{name}" if path else name)
    elif isinstance(value, list) and any(isinstance(part, dict | list) for part in value):
        for number, part in enumerate(value):
            yield from _leaves(part, f"{path}[{number}]")
    elif value is not None:
        yield path, value


def _numbers(value: Any) -> list[float]:
    parts = value if isinstance(value, list) else [value]
    return [float(part) for part in parts if isinstance(part, int | float) and not isinstance(part, bool)]
