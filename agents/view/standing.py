"""Where a run stands now: what it has spent and may still spend, what it asks, and what a person can do about it."""

from __future__ import annotations

import shlex
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from agents.ask.answers import kept
from agents.backends.built_in import FOLLOWS
from agents.batch.job import job_of
from agents.runs.answers import waiting
from agents.trace.approval import pending
from agents.trace.events import AnyEvent, Asked, ModelCalled, RunStarted
from agents.trace.record import limits_of, wall_seconds
from agents.trace.result import ENDED
from agents.trace.store import at_work
from agents.trace.words import duration
from agents.view.blocks import document
from agents.view.handles import Handle, Handles
from agents.view.library import Trace
from agents.view.overview import result_from

QUESTIONS = 50  # the newest that are shown
NAMES = {"dollars": "cost", "tokens": "tokens", "seconds": "time", "model_calls": "model calls"}


def standing(handles: Handles, handle: Handle) -> dict[str, Any]:
    """Return where a run stands. Raises TraceError when its folder cannot be read."""
    if not handle.begun:
        return {"begun": False, "alive": handle.alive, "said": handles.said(handle)}
    trace = handles.library.trace(handle.name)
    result = result_from(trace)
    if result is None:
        return {
            "begun": True,
            "alive": handle.alive,
            "meters": [],
            "asked": None,
            "can": [],
            "steps": [],
            "answers": [],
        }
    asked = pending(trace.events)
    alive = handle.alive or (result.status == "unfinished" and at_work(handle.run_dir))
    rests = not alive and not asked
    steps = _steps(trace.events)
    can = {
        "stop": handle.alive and not asked,
        "resume": rests and result.status not in ENDED,
        "fork": not alive and bool(steps) and not trace.damage,
        "ask": not trace.damage,
    }
    spent = {
        "dollars": result.cost.dollars,
        "tokens": result.cost.prompt_tokens + result.cost.completion_tokens,
        "seconds": wall_seconds(trace.events)[-1] + (_since(trace.events) if alive and not asked else 0.0),
        "model_calls": result.cost.model_calls,
    }
    return {
        "begun": True,
        "alive": alive,
        "meters": meters(limits_of(trace.events), spent),
        "asked": _asked(asked, trace, handle) if asked else None,
        "can": [what for what, possible in can.items() if possible],
        "steps": steps,
        "answers": _answers(handle),
        "said": "" if alive or result.status != "unfinished" else handles.said(handle),
    }


def meters(limits: dict[str, float], spent: dict[str, float]) -> list[dict[str, Any]]:
    """Return what was spent and what is left of each limit, as text, and the share that is spent."""
    found = []
    for name, used in spent.items():
        limit = limits.get(name)
        left = None if limit is None else max(0.0, limit - used)
        meter = {"name": NAMES[name], "used": _text(name, used), "share": limit and min(1.0, used / limit)}
        if limit is not None and left is not None:
            meter |= {"limit": _text(name, limit), "left": _text(name, left)}
        found.append(meter)
    return found


def _text(name: str, amount: float) -> str:
    if name == "dollars":
        return f"${amount:.4f}"
    return duration(amount) if name == "seconds" else f"{amount:,.0f}"


def _since(events: Sequence[AnyEvent]) -> float:
    return max(0.0, time.time() - events[-1].time)


def _asked(asked: Asked, trace: Trace, handle: Handle) -> dict[str, Any]:
    """Return an open question; `given`: it was answered, and the run has not yet read it."""
    begun = trace.events[0]
    given = None
    with suppress(ValueError):
        given = waiting(handle.run_dir, asked)
    words = asked.gate == "spend" or not (isinstance(begun, RunStarted) and begun.backend in FOLLOWS)
    shown = document("", asked.shown)["text"]
    return {
        "n": asked.index,
        "gate": asked.gate,
        "text": asked.text,
        "shown": shown,
        "words": words,
        "given": bool(given),
        "job": shlex.join(job.submit) if (job := job_of(handle.run_dir)) else "",
    }


def _steps(events: Sequence[AnyEvent]) -> list[str]:
    """Return the places at which a fork can begin, in order."""
    return list(dict.fromkeys(str(event.where) for event in events if isinstance(event, ModelCalled)))


def _answers(handle: Handle) -> list[dict[str, Any]]:
    """Return questions to the run with their answers, the newest first."""
    with suppress(ValueError, OSError):  # written by another version, or damaged
        shown = {"question", "text", "answered", "fork", "by", "is_llm", "who", "when"}
        return [{**each.model_dump(include=shown), "dollars": each.usage.dollars} for each in kept(handle.run_dir)][
            : -QUESTIONS - 1 : -1
        ]
    return []
