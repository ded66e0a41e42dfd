"""`report.md`, `report.html` and `result.json` of a run, finished or not, from its trace alone.

The same trace gives the same bytes. Whatever agents wrote is shown and never interpreted: HTML is escaped by default,
Markdown by filters, and the HTML file forbids scripts and content from elsewhere.
"""

from __future__ import annotations

import base64
import datetime
import hashlib
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from agents.trace import plots, words
from agents.trace.events import AnyEvent, BudgetNear, CanaryChecked, ModelCalled, ServiceAdapted, StepFinished
from agents.trace.result import ENDED, RunResult, first_event, result_of
from agents.trace.shown import page_of, run_of, task_of
from agents.trace.store import blobs_of, read_trace, trace_sha256
from agents.trace.story import Iteration, tell
from tasks.page import Page
from tasks.plotting import png
from tasks.score import Number, truth_known
from tasks.task import Task
from tasks.writing import label, measured
from tools.files import write_whole

FIGURES = "figures"
STATUS = {
    "converged": "converged",
    "exhausted": "all iterations used",
    "failed": "failed",
    "declined": "ended by a person's no",
    "budget": "budget used up",
    "waiting": "waits for an answer",
    "interrupted": "interrupted",
    "lost": "stopped by a lost service or sandbox",
    "unfinished": "not finished",
}


def write_report(run_dir: Path, into: Path | None = None) -> Path:
    """Write the three files and `figures/` into the run's folder, or into `into`; return the path of the HTML file."""
    into = into or run_dir
    events = read_trace(run_dir)
    result = result_of(events, trace_sha256(run_dir))
    iterations = tell(events, blobs_of(run_dir))
    facts = _facts(events, result, iterations)
    for data in [*facts["plots"].values(), *(f for i in iterations for s in i.steps for f in s.figures.values())]:
        write_whole(into / figure_path(data), data)
    templates = environment()
    for name in ("report.md", "report.html"):
        write_whole(into / name, templates.get_template(f"{name}.j2").render(facts).encode())
    # Last: its presence means that the report is complete; a run killed before gets its report when it is resumed.
    write_whole(into / "result.json", (result.model_dump_json(indent=2) + "\n").encode())
    return into / "report.html"


@cache  # compiled templates are kept
def environment() -> Environment:
    """Return the Jinja environment of the templates, with their filters."""
    loaded = Environment(
        loader=PackageLoader("agents.trace"),
        autoescape=lambda name: name is None or not name.endswith(".md.j2"),
        undefined=StrictUndefined,
        finalize=_seen,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    loaded.filters |= {
        "md": words.markdown,
        "fenced": words.fenced,
        "shortened": words.shortened,
        "json": words.document,
        "label": label,
        "kind": lambda block: type(block).__name__.lower(),
        "duration": words.duration,
        "moment": _moment,
        "png": lambda data: f"data:image/png;base64,{base64.b64encode(data).decode()}",
        "figure_path": figure_path,
    }
    told = (measured, words.agreement, words.review, words.outside)
    loaded.globals |= {each.__name__: each for each in told}
    return loaded


def _moment(seconds: float) -> str:
    """Return a time as `3 May 2026, 14:05 UTC`."""
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).strftime("%-d %B %Y, %H:%M UTC")


def _seen(value: Any) -> Any:
    """Make characters visible that would make the shown text look like something else."""
    if isinstance(value, Markup):
        return Markup(words.visible(value))
    return words.visible(value) if isinstance(value, str) else value


def figure_path(data: bytes) -> str:
    """Return the path of a figure in report.md, relative to the run's folder."""
    return f"{FIGURES}/{hashlib.sha256(data).hexdigest()[:16]}.png"


def _facts(events: Sequence[AnyEvent], result: RunResult, iterations: Sequence[Iteration]) -> dict[str, Any]:
    """Return the variables available to the templates."""
    started = first_event(events)
    task = task_of(started)
    page = page_of(events, task)
    return {
        "result": result,
        "started": started,
        "date": _moment(started.time),
        "status": STATUS[result.status],
        "resumable": result.status not in ENDED,
        "truthless": _truthless(result),
        "has_truth": truth_known(result.claims),
        "iterations": iterations,
        "page": page,
        "columns": list(dict.fromkeys(_head(number) for each in result.iterations for number in each.numbers)),
        "head": _head,
        "warnings": run_of(events, task).warnings() if task else [],
        "canaries": list(dict.fromkeys(line for e in events if isinstance(e, CanaryChecked) for line in e.lines)),
        "found": [event.observation for event in events if isinstance(event, StepFinished)],
        "near": [words.near(event) for event in events if isinstance(event, BudgetNear)],
        "models": sorted({event.model for event in events if isinstance(event, ModelCalled)}),
        "adapted": list(dict.fromkeys(event.text for event in events if isinstance(event, ServiceAdapted))),
        "plots": _plots(result, page),
        "missing": _missing(result, iterations, task),
    }


def _head(number: Number) -> str:
    """Return the column heading for a number: title and unit."""
    return f"{number.title} [{number.unit}]" if number.unit else number.title


def _plots(result: RunResult, page: Page) -> dict[str, bytes]:
    """Return the plots that could be drawn, by name."""
    drawn = {plot.name: plot.draw() for plot in page.plots()}
    drawn["steering"] = plots.steering(result.iterations, result.best_iteration)
    return {name: png(figure) for name, figure in drawn.items() if figure is not None}


def _missing(result: RunResult, iterations: Sequence[Iteration], task: Task | None) -> list[str]:
    """List what this report lacks."""
    lacks = {
        f"the results of the task {result.task}, which is not installed here": task is None,
        "a plan": not any(i.steps for i in iterations),
        "a submission that the grader accepted": result.steering is None and not result.null_result,
        "the crew's answer": result.claim is None,
        "sealed metrics, which are computed once after a regular end": not result.sealed and not _truthless(result),
        "a probe of the sandbox": result.canaries_held is None,
    }
    return [what for what, lacking in lacks.items() if lacking]


def _truthless(result: RunResult) -> bool:
    """Return whether a run has ended with a result for which no truth is known."""
    return result.status in ENDED and result.steering is not None and not result.sealed
