"""What a run came to: a card for the list, and the page's head with claim, held-out events, metrics and cost."""

from __future__ import annotations

from typing import Any

from agents.trace import words
from agents.trace.events import Audited, Confirmed, Parent, RunStarted, Sealed, Trouble
from agents.trace.report import STATUS
from agents.trace.result import IterationResult, RunResult, first_event, last, number, result_of
from agents.view.blocks import checks_table, document, table
from agents.view.library import Library, Stamp, Trace

Card = dict[str, Any]
DAMAGED = "damaged"


class Cards:
    """The list of runs; a card is made again when its trace has changed."""

    def __init__(self, library: Library) -> None:
        self._library = library
        self._made: dict[str, tuple[Stamp, Card]] = {}

    def all(self) -> list[Card]:
        """A card for each run in the folder. Raises OSError when the folder cannot be read."""
        return [self._card(name) for name in self._library.names()]

    def _card(self, name: str) -> Card:
        made = self._made.get(name)
        if made is None or made[0] != self._library.stamp(name):
            trace = self._library.trace(name)
            made = self._made[name] = trace.stamp, card_of(trace)
        return made[1]


def card_of(trace: Trace) -> Card:
    """What the list shows, searches and sorts by."""
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
        "metric_text": words.measured(best.value, best.error) if best else words.NONE,
        "metric_name": words.label(best.metric) if best else "",
        "held": held.value if held else None,
        "held_text": words.measured(held.value, held.error) if held else words.NONE,
        "mass_text": _mass(result),
        "dollars": result.cost.dollars,
        "tokens": result.cost.prompt_tokens + result.cost.completion_tokens,
        "seconds": result.seconds,
        "iterations": len(result.iterations),
        "damage": trace.damage,
    }


def overview_of(trace: Trace) -> dict[str, Any]:
    """The head of a run's page."""
    result = result_from(trace)
    if result is None:
        return {"card": card_of(trace)}
    claim, started = result.claim, first_event(trace.events)
    return {
        "card": card_of(trace),
        "reason": result.reason,
        "facts": [[name, value] for name, value in _facts(result, started.parent)],
        "claim": {
            "verdict": words.verdict(claim.discovery),
            "numbers": [
                text
                for text in (
                    claim.mass is not None and f"m = {words.measured(claim.mass, claim.mass_error, 'TeV')}",
                    claim.n_signal is not None
                    and f"{words.measured(claim.n_signal, claim.n_signal_error)} signal events",
                    claim.p_value is not None and f"p = {words.probability(claim.p_value)}",
                    not claim.discovery and _limit(trace),
                )
                if text
            ],
            "text": claim.text,
        }
        if claim
        else None,
        "checks": checks_table(result.claims) if result.claims else None,
        "confirmed": _confirmed(trace, result),
        "steering": steering_of(result),
        "iterations": _iterations(result),
        "sealed": _sealed(trace, result),
        "troubles": [[e.index, e.who, e.where, e.text[:400]] for e in trace.events if isinstance(e, Trouble)],
        "options": document("task options", result.options),
    }


def result_from(trace: Trace) -> RunResult | None:
    """The result, as far as it can be told; None for a trace without a beginning."""
    if not trace.events or not isinstance(trace.events[0], RunStarted):
        return None
    return result_of(trace.events, "")


def steering_of(result: RunResult) -> dict[str, Any]:
    """The points of the plot of the steering metric; a value of null is a refused submission."""
    points = [{"x": it.iteration, "y": it.value, "error": it.error or 0.0} for it in result.iterations]
    name = words.label(result.iterations[-1].metric) if result.iterations else ""
    return {"metric": name, "points": points, "best": result.best_iteration}


def _facts(result: RunResult, parent: Parent | None) -> list[tuple[str, str]]:
    cost, canaries = result.cost, {None: "not probed", True: "held", False: "did not hold"}[result.canaries_held]
    image = f" · {result.sandbox.image}" if result.sandbox.image else ""
    return [
        ("wall time", words.duration(result.seconds)),
        ("model calls", str(cost.model_calls)),
        ("tokens", f"{cost.prompt_tokens:,} sent · {cost.completion_tokens:,} received"),
        ("cost", f"${cost.dollars:.4f}"),
        ("memory", f"{result.peak_memory_mib:.0f} MiB at most" if result.peak_memory_mib else words.NONE),
        ("sandbox", f"{result.sandbox.driver} {result.sandbox.version}{image}"),
        ("canaries", canaries),
        ("seed", str(result.seed)),
        *([("forked from", f"{parent.run}, at {parent.step}")] if parent else []),
    ]


def _mass(result: RunResult) -> str:
    chosen = result.confirmed or next((it for it in result.iterations if it.iteration == result.best_iteration), None)
    return words.measured(chosen.mass, chosen.mass_error, "TeV") if chosen else words.NONE


def _numbers(it: IterationResult) -> list[str]:
    return [
        "refused" if it.value is None else words.measured(it.value, it.error),
        f"{it.window[0]:.3g} – {it.window[1]:.3g}" if it.window else words.NONE,
        words.measured(it.mass, it.mass_error),
        words.measured(it.n_signal, it.n_signal_error),
    ]


def _iterations(result: RunResult) -> dict[str, Any] | None:
    if not result.iterations:
        return None
    rows = [[str(it.iteration), *_numbers(it), words.probability(it.p_global), it.reason] for it in result.iterations]
    marked = [k for k, it in enumerate(result.iterations) if it.iteration == result.best_iteration]
    if not result.search:
        short = [[row[0], row[1], row[-1]] for row in rows]
        return table("", ["iteration", "metric", "why"], short, marked[0] if marked else None)
    head = ["iteration", "metric", "window [TeV]", "mass [TeV]", "signal events", "global p", "why"]
    return table("", head, rows, marked[0] if marked else None)


def _confirmed(trace: Trace, result: RunResult) -> dict[str, Any] | None:
    held, event = result.confirmed, last(trace.events, Confirmed)
    if held is None or event is None:
        return None
    said = {"n": event.index, "ok": held.value is not None, "reason": held.reason}
    if not result.search:
        return said | {
            "title": "Closure",
            "value": "failed" if held.value is None else words.measured(held.value, held.error),
            "basis": "What was chosen, run again by the harness on other data, whose truth is known.",
            "facts": [],
        }
    fraction = event.score.details.get("fraction")
    share = f"{100 * fraction:.0f} %" if isinstance(fraction, float) else "part"
    return said | {
        "title": "Held-out events",
        "value": "not confirmed" if held.value is None else f"{words.measured(held.value, held.error)} σ",
        "basis": f"On the {share} of the events that no choice had seen: one test, nothing to correct for.",
        "facts": [
            ["p, one test", words.probability(held.p_local)],
            ["mass", words.measured(held.mass, held.mass_error, "TeV")],
            ["signal events in all data, extrapolated", words.measured(held.n_signal, held.n_signal_error)],
            *([["audit", "passed"]] if isinstance(event, Audited) else []),
        ],
    }


def _limit(trace: Trace) -> str:
    event = last(trace.events, Confirmed)
    limit = number(event.score.details.get("upper_limit")) if event else None
    return "" if limit is None else f"at most {limit:.0f} signal events behind the cut (95% CL)"


def _sealed(trace: Trace, result: RunResult) -> dict[str, Any] | None:
    event = last(trace.events, Sealed)
    if event is None:
        return None
    rows = [[words.label(m.name), words.quantity(m.name, m.value, m.error), m.note] for m in result.sealed]
    return table("", ["metric", "value", "note"], rows) | {"n": event.index}
