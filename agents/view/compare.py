"""Comparison of two runs: numbers, plans, and a line-by-line diff of each step's code."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from itertools import zip_longest
from typing import Any

from agents.trace import words
from agents.trace.blobs import TraceError
from agents.trace.events import Executed, Planned
from agents.trace.result import RunResult
from agents.view.library import Trace
from agents.view.overview import card_of, result_from, steering_of
from tasks.writing import NONE, label, measured

LINES_MAX = 1500  # lines of a file that are compared
BYTES_MAX = 256 << 10
FILES_MAX = 60
EQUAL_KEPT = 3  # unchanged lines around a change


def compare(left: Trace, right: Trace) -> dict[str, Any]:
    """Compare two runs. Numbers of a trace without a valid beginning are left out."""
    runs, results = (left, right), (result_from(left), result_from(right))
    columns = [dict(_numbers(result)) if result else {} for result in results]
    names = list(dict.fromkeys(name for column in columns for name in column))
    return {
        "runs": [card_of(run) for run in runs],
        "numbers": [[name, *(column.get(name, NONE) for column in columns)] for name in names],
        "steering": [steering_of(result) if result else None for result in results],
        "plans": _plans(left, right),
        "code": _code(left, right),
    }


def _numbers(result: RunResult) -> Iterator[tuple[str, str]]:
    best, held, cost = result.steering, result.confirmed, result.cost
    yield "status", f"{result.status}: {result.reason}"
    yield "task", result.task
    yield "backend", result.backend if result.is_llm else f"{result.backend}, no LLM"
    yield "seed", str(result.seed)
    yield "iterations", str(len(result.iterations))
    if best:
        yield "best steering metric", f"{measured(best.value, best.error)} ({label(best.metric)})"
    if held:
        yield f"confirmed {label(held.metric)}", measured(held.value, held.error)
        for number in held.numbers:
            yield f"confirmed {number.title}", number.text
    for check in result.claims:
        yield f"claimed {check.title}", check.written(check.claimed, check.claimed_error)
        if check.truth is not None:
            yield f"true {check.title}", check.written(check.truth)
    for metric in result.sealed:
        yield f"sealed {metric.title}", metric.text
    yield "wall time", words.duration(result.seconds)
    yield "model calls", str(cost.model_calls)
    yield "tokens", f"{cost.prompt_tokens + cost.completion_tokens:,}"
    yield "cost", f"${cost.dollars:.4f}"
    yield "troubles", str(len(result.troubles))
    for name, value in result.options.items():
        yield f"option {name}", str(value)


def _plans(left: Trace, right: Trace) -> list[dict[str, Any]]:
    sides = [{e.iteration: e for e in run.events if isinstance(e, Planned)} for run in (left, right)]
    return [
        {"iteration": k, "plans": [_plan(side.get(k)) for side in sides]} for k in sorted(sides[0].keys() | sides[1])
    ]


def _plan(event: Planned | None) -> dict[str, Any] | None:
    if event is None:
        return None
    steps = [[step.id, step.goal] for step in event.plan.steps]
    return {"n": event.index, "reasoning": words.shortened(event.plan.reasoning), "steps": steps}


def _code(left: Trace, right: Trace) -> list[dict[str, Any]]:
    """Compare the input files of commands, by step and name; the last version of each."""
    sides = [
        {
            f"{event.where}/{path}": sha
            for event in run.events
            if isinstance(event, Executed)
            for path, sha in event.given.items()
        }
        for run in (left, right)
    ]
    paths = sorted(sides[0].keys() | sides[1])
    return [_file(path, left, right, sides[0].get(path), sides[1].get(path)) for path in paths[:FILES_MAX]]


def _file(path: str, left: Trace, right: Trace, a: str | None, b: str | None) -> dict[str, Any]:
    if a == b:
        return {"path": path, "same": True, "rows": []}
    try:
        return {"path": path, "same": False, "rows": _diff(_lines(left, a), _lines(right, b))}
    except TraceError as error:
        return {"path": path, "same": False, "rows": [["note", str(error), ""]]}


def _lines(run: Trace, sha: str | None) -> list[str]:
    if sha is None:
        return []
    if run.blobs.size(sha) > BYTES_MAX:
        raise TraceError(f"{run.blobs.size(sha)} bytes: too big to compare here")
    return run.blobs.get(sha).decode(errors="replace").splitlines()[:LINES_MAX]


def _diff(a: list[str], b: list[str]) -> list[list[str]]:
    rows: list[list[str]] = []
    for group in difflib.SequenceMatcher(None, a, b, autojunk=False).get_grouped_opcodes(EQUAL_KEPT):
        rows += [["gap", "", ""]] if rows else []
        for tag, i, j, k, m in group:
            rows += [[tag, old, new] for old, new in zip_longest(a[i:j], b[k:m], fillvalue="")]
    return rows
