"""`report.md`, `report.html` and `result.json` of a run, finished or not, from its trace alone.

The same trace gives the same bytes. Whatever agents wrote is shown and never interpreted: HTML is escaped by default,
Markdown by filters, and the HTML file forbids scripts and content from elsewhere.
"""

from __future__ import annotations

import base64
import datetime
import hashlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from agents.trace import plots, words
from agents.trace.events import AnyEvent, CanaryChecked, Confirmed, ModelCalled, Sealed, ServiceAdapted
from agents.trace.result import RunResult, best_of, first_event, graded_of, last, result_of
from agents.trace.store import TRACE, blobs_of, read_trace
from agents.trace.story import Iteration, tell

FIGURES = "figures"
ENDED = ("converged", "exhausted", "failed")  # a regular end: nothing is left to resume
STATUS = {
    "converged": "converged",
    "exhausted": "all iterations used",
    "failed": "failed",
    "budget": "budget used up",
    "interrupted": "interrupted",
    "lost": "stopped by a lost service or sandbox",
    "unfinished": "not finished",
}


def write_report(run_dir: Path, into: Path | None = None) -> Path:
    """Write the three files and `figures/` into the folder of the run, or `into` another; the path of the HTML file."""
    into = into or run_dir
    events = read_trace(run_dir)
    result = result_of(events, hashlib.sha256((run_dir / TRACE).read_bytes()).hexdigest())
    iterations = tell(events, blobs_of(run_dir))
    facts = _facts(events, result, iterations)
    for data in [*facts["plots"].values(), *(f for i in iterations for s in i.steps for f in s.figures.values())]:
        _write(into / figure_path(data), data)
    templates = environment()
    for name in ("report.md", "report.html"):
        _write(into / name, templates.get_template(f"{name}.j2").render(facts).encode())
    # Last: where it is, all is there, and a run that was killed before gets its report when it is resumed.
    _write(into / "result.json", (result.model_dump_json(indent=2) + "\n").encode())
    return into / "report.html"


def environment() -> Environment:
    """The templates with their filters."""
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
        "label": words.label,
        "p": words.probability,
        "sigma": words.significance,
        "duration": words.duration,
        "png": lambda data: f"data:image/png;base64,{base64.b64encode(data).decode()}",
        "figure_path": figure_path,
    }
    told = (words.measured, words.quantity, words.verdict, words.agreement)
    loaded.globals |= {each.__name__: each for each in told}
    return loaded


FITTED = ("width", "width_error", "passing", "passing_error", "delta")  # what the table of the claim shows besides


def _seen(value: Any) -> Any:
    """Whatever a template shows, without characters that make it look like something else."""
    if isinstance(value, Markup):
        return Markup(words.visible(value))
    return words.visible(value) if isinstance(value, str) else value


def figure_path(data: bytes) -> str:
    """Where a picture of report.md lies, below the folder of the run."""
    return f"{FIGURES}/{hashlib.sha256(data).hexdigest()[:16]}.png"


def _facts(events: Sequence[AnyEvent], result: RunResult, iterations: Sequence[Iteration]) -> dict[str, Any]:
    """What the templates may use."""
    started, sealed, best = first_event(events), last(events, Sealed), best_of(events)
    details = graded_of(events)[best].score.details if best is not None else {}
    confirmed = last(events, Confirmed)
    unseen = confirmed.score.details if confirmed else {}
    return {
        "result": result,
        "started": started,
        "date": datetime.datetime.fromtimestamp(started.time, datetime.UTC).strftime("%-d %B %Y, %H:%M UTC"),
        "status": STATUS[result.status],
        "resumable": result.status not in ENDED,
        "iterations": iterations,
        "search": result.search,
        "cuts": [cut for cut in _list(details.get("cuts")) if isinstance(cut, Mapping)],
        "best_cut": details.get("best"),
        "trials": details.get("trials"),
        "warnings": _warnings(iterations, best, details, unseen),
        "closures": _closures(iterations, best),
        "canaries": list(dict.fromkeys(line for e in events if isinstance(e, CanaryChecked) for line in e.lines)),
        "models": sorted({event.model for event in events if isinstance(event, ModelCalled)}),
        "adapted": list(dict.fromkeys(event.text for event in events if isinstance(event, ServiceAdapted))),
        "fraction": unseen.get("fraction"),
        "tested_mass": unseen.get("tested_mass"),
        "searched": {name: details.get(name) for name in FITTED},
        "unseen": {name: unseen.get(name) for name in FITTED},
        "audit": _audit(unseen),
        "limit": unseen.get("upper_limit") if result.claim and not result.claim.discovery else None,
        "expected_limits": _list(unseen.get("upper_limit_expected")),
        "plots": _plots(result, best, details, unseen, sealed),
        "missing": _missing(result, iterations),
    }


def _warnings(
    iterations: Sequence[Iteration], best: int | None, details: dict[str, Any], unseen: dict[str, Any]
) -> list[tuple[str, str]]:
    """(who says it, why the best result must not be trusted): the harness of what it tested, tools of the iteration."""
    found = [("The harness", each.get("warning")) for each in (details, unseen)]
    calls = [c for i in iterations if i.number == best for s in i.steps for c in s.calls]
    found += [(f"{call.tool} in its step", call.result.get("warning")) for call in calls if call.result]
    return list(dict.fromkeys((who, text) for who, text in found if isinstance(text, str) and text))


def _audit(unseen: Mapping[str, Any]) -> str:
    """What the task says of an audit that was passed."""
    audit = unseen.get("audit")
    said = audit.get("said") if isinstance(audit, Mapping) else None
    return said if isinstance(said, str) else ""


def _closures(iterations: Sequence[Iteration], best: int | None) -> list[tuple[str, dict[str, float]]]:
    """(tool, its closure test): of classifiers that tested their own score, in the best iteration."""
    calls = [c for i in iterations if i.number == best for s in i.steps for c in s.calls]
    numbers = ("auc", "auc_error", "p_closure", "p_sculpting")
    found: list[tuple[str, dict[str, float]]] = []
    for call in calls:
        closure = call.result.get("closure") if call.result else None
        if isinstance(closure, Mapping) and all(isinstance(closure.get(name), (int, float)) for name in numbers):
            each = (call.tool, {name: float(closure[name]) for name in numbers})
            found += [each] * (each not in found)
    return found


def _plots(
    result: RunResult, best: int | None, details: dict[str, Any], unseen: dict[str, Any], sealed: Sealed | None
) -> dict[str, bytes]:
    drawn = {
        "steering": plots.steering(result.iterations, best),
        "spectrum": plots.spectrum(details),
        "scores": plots.scores(details),
        "claim": plots.spectrum(unseen),
        "sic": plots.sic(sealed.curves) if sealed else None,
        "unfolded": plots.unfolded(sealed.curves) if sealed else None,
    }
    return {name: data for name, data in drawn.items() if data is not None}


def _missing(result: RunResult, iterations: Sequence[Iteration]) -> list[str]:
    """What a reader would look for in vain."""
    lacks = {
        "a plan": not any(i.steps for i in iterations),
        "a submission that the grader accepted": result.steering is None,
        "the crew's answer": result.claim is None,
        "sealed metrics, which are computed once after a regular end": not result.sealed,
        "a probe of the sandbox": result.canaries_held is None,
    }
    return [what for what, lacking in lacks.items() if lacking]


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _write(path: Path, data: bytes) -> None:
    """As a whole or not at all: a report may be open in a browser while it is written again."""
    path.parent.mkdir(exist_ok=True)
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    fresh.write_bytes(data)
    fresh.replace(path)
