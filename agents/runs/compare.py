"""Comparison of two runs: what was planned, run, measured, claimed and paid, and where they differ."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import Field

from agents.trace import words
from agents.trace.bench import step_folder
from agents.trace.report import environment
from agents.trace.result import RunResult, build_result, first_event
from agents.trace.store import blobs_of, read_trace
from agents.trace.story import Iteration, tell
from tasks.writing import NONE, measured
from tools.contract import Frozen

LONGEST = 400  # lines of one diff
SECTIONS = ("run", "plan", "metrics", "claims", "cost")


class Row(Frozen):
    """One quantity of both runs, formatted for people."""

    section: str = Field(description="run, plan, metrics, claims or cost")
    name: str
    a: str
    b: str

    @property
    def same(self) -> bool:
        return self.a == self.b


class CodeDiff(Frozen):
    """A file that agents wrote, in both runs; identical ones are left out."""

    path: str
    lines: list[str] = Field(description="unified diff, without its header")


class Comparison(Frozen):
    """The schema of `beamcrew compare --json`."""

    format: int = 1
    a: RunResult
    b: RunResult
    rows: list[Row]
    code: list[CodeDiff]


def compare(a: Path, b: Path) -> Comparison:
    """Compare two runs, finished or not, from their traces. Raises TraceError."""
    sides = [_Side(path) for path in (a, b)]
    named = [dict(side.rows()) for side in sides]
    # In the order of the first run; rows of the second run only come at the end of their section.
    names = sorted(dict.fromkeys([*named[0], *named[1]]), key=lambda name: SECTIONS.index(name[0]))
    rows = [
        Row(section=section, name=name, a=named[0].get((section, name), NONE), b=named[1].get((section, name), NONE))
        for section, name in names
    ]
    return Comparison(a=sides[0].result, b=sides[1].result, rows=rows, code=list(_diffs(*sides)))


def to_html(comparison: Comparison) -> str:
    """Return the comparison as one self-contained HTML page without scripts, e.g. to send by e-mail."""
    return environment().get_template("compare.html.j2").render(c=comparison)


class _Side:
    """One of the two runs, read from its trace."""

    def __init__(self, run_dir: Path) -> None:
        events = read_trace(run_dir)
        self.started, self.result = first_event(events), build_result(run_dir)
        self.iterations: list[Iteration] = tell(events, blobs_of(run_dir))
        self.code = {
            f"{step_folder(iteration.number, step.step.id)}/{path}": text
            for iteration in self.iterations
            for step in iteration.steps
            for path, text in step.code.items()
        }

    def rows(self) -> Iterator[tuple[tuple[str, str], str]]:
        yield from ((("run", name), text) for name, text in self._run())
        for iteration in self.iterations:
            yield ("plan", f"iteration {iteration.number}"), iteration.reasoning or NONE
            for step in iteration.steps:
                yield ("plan", f"iteration {iteration.number}, {step.step.id}"), _step(step)
        yield from ((("metrics", name), text) for name, text in self._metrics())
        for check in self.result.claims:
            claimed = check.written(check.claimed, check.claimed_error)
            harness = check.written(check.harness, check.harness_error)
            truth = "" if check.truth is None else f", truth {check.written(check.truth)}"
            yield ("claims", check.title), f"{claimed} (harness {harness}{truth})"
        if self.result.claim:
            yield ("claims", "text"), self.result.claim.get("text", "")
        cost = self.result.cost
        yield ("cost", "model calls"), str(cost.model_calls)
        yield ("cost", "tokens"), f"{cost.prompt_tokens} sent, {cost.completion_tokens} received"
        yield ("cost", "dollars"), f"{cost.dollars:.4g}"
        yield ("cost", "wall time"), words.duration(self.result.seconds)

    def _run(self) -> Iterator[tuple[str, str]]:
        result = self.result
        for name in ("request", "task", "backend", "seed"):
            yield name, str(getattr(result, name))
        for name, value in result.options.items():
            yield f"option {name}", str(value)
        yield "sandbox", " ".join(filter(None, (result.sandbox.driver, result.sandbox.image)))
        if parent := self.started.parent:
            yield "forked from", f"{parent.run}, before {parent.step}"
        for name, sha in (*self.started.inputs.items(), *self.started.prompts.items()):
            yield f"SHA-256 of {name}", sha[:16]
        yield "ended", f"{result.status}: {result.reason}"

    def _metrics(self) -> Iterator[tuple[str, str]]:
        for one in self.result.iterations:
            value = measured(one.value, one.error) if one.value is not None else f"refused: {one.reason}"
            yield f"iteration {one.iteration}, {one.metric}", value
        if confirmed := self.result.confirmed:
            yield f"confirmed, {confirmed.metric}", measured(confirmed.value, confirmed.error)
        for metric in self.result.sealed:
            yield f"sealed, {metric.title}", measured(metric.value, metric.error)


def _step(step: Any) -> str:
    """Summarise a step: its goal, the tools it called and its outcome."""
    calls = ", ".join(call.tool for call in step.calls)
    ended = step.observation.summary if step.observation else "not finished"
    return f"{step.step.goal} [{calls or 'no tools'}] {ended}"


def _diffs(a: _Side, b: _Side) -> Iterator[CodeDiff]:
    for path in sorted(a.code.keys() | b.code.keys()):
        old, new = (side.code.get(path, "").splitlines() for side in (a, b))
        if old != new:
            lines = list(difflib.unified_diff(old, new, lineterm=""))[2:]
            rest = [f"... {len(lines) - LONGEST} more lines"] if len(lines) > LONGEST else []
            yield CodeDiff(path=path, lines=lines[:LONGEST] + rest)
