"""Summary of a run: a card for the list, and the page's head with claim, held-out events, metrics and cost."""

from __future__ import annotations

from typing import Any

from agents.trace import words
from agents.trace.events import AnyEvent, Confirmed, Graded, Parent, RunStarted, Sealed, Trouble
from agents.trace.report import STATUS
from agents.trace.result import RunResult, first_event, result_of
from agents.trace.shown import last, page_of, run_of, task_of
from agents.view.blocks import checks_table, document, shown, table
from agents.view.library import Library, Stamp, Trace
from tasks.page import Confirmation, Page, Plot
from tasks.writing import NONE, label, measured

Card = dict[str, Any]
DAMAGED = "damaged"


class Cards:
    """The cards of all runs; a card is remade when its trace has changed."""

    def __init__(self, library: Library) -> None:
        self._library = library
        self._made: dict[str, tuple[Stamp, Card]] = {}

    def all(self) -> list[Card]:
        """Return a card for each run in the folder. Raises OSError when the folder cannot be read."""
        return [self._card(name) for name in self._library.names()]

    def _card(self, name: str) -> Card:
        made = self._made.get(name)
        if made is None or made[0] != self._library.stamp(name):
            trace = self._library.trace(name)
            made = self._made[name] = trace.stamp, card_of(trace)
        return made[1]


def card_of(trace: Trace) -> Card:
    """Return a run's card: the fields by which the list shows, searches and sorts."""
    result = result_from(trace)
    if result is None:
        return {"name": trace.name, "status": DAMAGED, "status_text": DAMAGED, "request": "", "damage": trace.damage}
    best, held = result.steering, result.confirmed
    return {
        "name": trace.name,
        "request": result.request,
        "task": result.task,
        "backend": result.backend,
        "is_llm": result.is_llm,
        "status": result.status,
        "status_text": STATUS[result.status],
        "date": trace.events[0].time,
        "last": trace.events[-1].time,
        "metric": best.value if best else None,
        "metric_text": measured(best.value, best.error) if best else NONE,
        "metric_name": label(best.metric) if best else "",
        "held": held.value if held else None,
        "held_text": measured(held.value, held.error) if held else NONE,
        "result_text": _result(result),
        "dollars": result.cost.dollars,
        "tokens": result.cost.prompt_tokens + result.cost.completion_tokens,
        "seconds": result.seconds,
        "iterations": len(result.iterations),
        "damage": trace.damage,
    }


def overview_of(trace: Trace) -> dict[str, Any]:
    """Return the head of a run's page."""
    result = result_from(trace)
    if result is None:
        return {"card": card_of(trace)}
    claim, started = result.claim, first_event(trace.events)
    task = task_of(started)
    page = page_of(trace.events, task)
    return {
        "card": card_of(trace),
        "reason": result.reason,
        "facts": [[name, value] for name, value in _facts(result, started.parent)],
        "claim": {"verdict": result.headline, "text": str(claim.get("text", ""))} if claim else None,
        "answer": shown([*page.answer, *(run_of(trace.events, task).warnings() if task else [])]),
        "checks": checks_table(result.claims) if result.claims else None,
        "confirmed": _confirmed(trace, result, page.confirmation),
        "steering": steering_of(result),
        "iterations": _iterations(result),
        "best": shown(page.best),
        "sealed": _sealed(trace, result, page),
        "troubles": [[e.index, e.who, e.where, e.text[:400]] for e in trace.events if isinstance(e, Trouble)],
        "options": document("task options", result.options),
    }


def result_from(trace: Trace) -> RunResult | None:
    """Return the result so far; None for a trace without a valid beginning."""
    if not trace.events or not isinstance(trace.events[0], RunStarted):
        return None
    return result_of(trace.events, "")


def steering_of(result: RunResult) -> dict[str, Any]:
    """Return the points of the steering plot; a null value is a refused submission."""
    points = [{"x": it.iteration, "y": it.value, "error": it.error or 0.0} for it in result.iterations]
    name = label(result.iterations[-1].metric) if result.iterations else ""
    return {"metric": name, "points": points, "best": result.best_iteration}


def _facts(result: RunResult, parent: Parent | None) -> list[tuple[str, str]]:
    cost, canaries = result.cost, {None: "not probed", True: "held", False: "did not hold"}[result.canaries_held]
    image = f" · {result.sandbox.image}" if result.sandbox.image else ""
    return [
        ("wall time", words.duration(result.seconds)),
        ("model calls", str(cost.model_calls)),
        ("tokens", f"{cost.prompt_tokens:,} sent · {cost.completion_tokens:,} received"),
        ("cost", f"${cost.dollars:.4f}"),
        ("memory", f"{result.peak_memory_mib:.0f} MiB at most" if result.peak_memory_mib else NONE),
        ("sandbox", f"{result.sandbox.driver} {result.sandbox.version}{image}"),
        ("canaries", canaries),
        ("seed", str(result.seed)),
        *([("forked from", f"{parent.run}, at {parent.step}")] if parent else []),
    ]


def plots_of(trace: Trace, event: AnyEvent | None) -> list[Plot]:
    """Return the plots of one verdict, or those of the whole run."""
    task = task_of(first_event(trace.events))
    if task is None:
        return []
    if event is None:
        return page_of(trace.events, task).plots()
    blocks = task.shown(event.score) if isinstance(event, Graded | Confirmed) else []
    return [block for block in blocks if isinstance(block, Plot)]


def _result(result: RunResult) -> str:
    """Return the first number of the confirmation, or of the best iteration, as text."""
    chosen = result.confirmed or next((it for it in result.iterations if it.iteration == result.best_iteration), None)
    first = next((number for number in chosen.numbers if number.value is not None), None) if chosen else None
    return f"{first.title} {first.text}" if first else NONE


def _iterations(result: RunResult) -> dict[str, Any] | None:
    if not result.iterations:
        return None
    columns = list(dict.fromkeys(number.title for it in result.iterations for number in it.numbers))
    rows = []
    for it in result.iterations:
        found = {number.title: number.text for number in it.numbers}
        value = "refused" if it.value is None else measured(it.value, it.error)
        rows.append([str(it.iteration), value, *(found.get(name, NONE) for name in columns), it.reason])
    marked = [k for k, it in enumerate(result.iterations) if it.iteration == result.best_iteration]
    return table("", ["iteration", "metric", *columns, "why"], rows, marked[0] if marked else None)


def _confirmed(trace: Trace, result: RunResult, page: Confirmation | None) -> dict[str, Any] | None:
    held, event = result.confirmed, last(trace.events, Confirmed)
    if held is None or event is None:
        return None
    return {
        "n": event.index,
        "ok": held.value is not None,
        "reason": held.reason,
        "title": page.title if page else "Confirmation",
        "value": "not confirmed" if held.value is None else f"{label(held.metric)}: {measured(held.value, held.error)}",
        "basis": page.lead if page else "",
        "facts": [[number.title, number.text] for number in page.numbers] if page else [],
        "blocks": shown(page.blocks) if page else [],
    }


def _sealed(trace: Trace, result: RunResult, page: Page) -> dict[str, Any] | None:
    event = last(trace.events, Sealed)
    if event is None:
        return None
    rows = [[m.title, m.text, m.note] for m in result.sealed]
    return table("", ["metric", "value", "note"], rows) | {"n": event.index, "blocks": shown(page.sealed)}
