"""False and true findings of the reviewer's numeric gates, on good and spoilt runs: `python -m benchmarks.reviewer`.

The built-in analyst carries out `open` (means in two groups of made-up rows) and `spectrum` (made-up resonances), once
a seed, with itself as reviewer, which applies the gates alone. In the spoilt runs one thing is changed in what it says:

    quoted      the step that submits reports a number that nothing computed
    plan        the plan quotes one
    errors      the errors of the script are too small by a factor of five (`open`)
    refused     what is submitted cannot be graded, and the step says that all is well

No language model takes part: what a live one would find, or find wrongly, has not been measured. The last line is one
JSON object:

    good_runs, false_findings   runs as they are, and those of them in which a gate found something
    bad_runs, found             spoilt runs, and those of them in which the right gate found it
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from agents.backends.base import Message, Reply, Request, ToolCall
from agents.backends.built_in import BuiltIn
from agents.runs.run import Settings, start
from agents.trace.events import GatesChecked
from agents.trace.store import read_trace
from tasks.review import Finding

TASKS = ("open", "spectrum")
ROWS = 2000
MADE_UP = "A closer look gives 0.41738."
Spoil = Callable[[Request, Message], Message]


def quoted(request: Request, said: Message) -> Message:
    return _in_call(said, "finish", lambda given: given | {"summary": f"{given['summary']} {MADE_UP}"})


def plan(request: Request, said: Message) -> Message:
    if request.role != "planner":
        return said
    document = json.loads(said.content)
    changed = document | {"reasoning": f"{document['reasoning']} {MADE_UP}"}
    return said.model_copy(update={"content": json.dumps(changed)})


def errors(request: Request, said: Message) -> Message:
    smaller = ("float(error)", "float(error) / 5")
    return _in_call(said, "run_python", lambda given: given | {"code": given["code"].replace(*smaller)})


def refused(request: Request, said: Message) -> Message:
    """Name a file that is not there, or masses without events."""

    def elsewhere(given: dict[str, Any]) -> dict[str, Any]:
        nowhere = {"fit_range": [1e8, 2e8]} if "fit_range" in given else {"answer": "none.json"}
        return given | nowhere

    return _in_call(said, "submit", elsewhere)


def _in_call(said: Message, name: str, change: Callable[[dict[str, Any]], dict[str, Any]]) -> Message:
    """Change the arguments of calls of one name."""

    def changed(call: ToolCall) -> ToolCall:
        if call.name != name:
            return call
        return call.model_copy(update={"arguments": json.dumps(change(json.loads(call.arguments)))})

    return said.model_copy(update={"tool_calls": tuple(map(changed, said.tool_calls))})


SPOILS: dict[str, tuple[Spoil, str, tuple[str, ...]]] = {  # name -> what is changed, the gate, the tasks
    "quoted": (quoted, "quoted", ("open", "spectrum")),
    "plan": (plan, "quoted", ("open", "spectrum")),
    "errors": (errors, "errors", ("open",)),
    "refused": (refused, "conclusion", ("open", "spectrum")),
}


class Spoilt(BuiltIn):
    """The analyst, with one thing changed in its planner's and workers' replies."""

    def __init__(self, spoil: Spoil | None) -> None:
        super().__init__("analyst")
        self._spoil = spoil

    def complete(self, request: Request) -> Reply:
        reply = super().complete(request)
        if self._spoil is None or request.role not in ("planner", "worker"):
            return reply
        return reply.model_copy(update={"message": self._spoil(request, reply.message)})


def options(task: str, seed: int, folder: Path) -> dict[str, Any]:
    """Return the options of a task; for `open` its rows are written first, whose groups differ by 1 in 20."""
    if task == "spectrum":
        return {"seed": seed, "width": 0.015, "max_iterations": 2}
    rng, data = np.random.default_rng(seed), folder / "rows.csv"
    side = rng.integers(0, 2, ROWS)
    pd.DataFrame({"x": rng.normal(20 + side, 3), "side": side}).to_csv(data, index=False)
    groups = {"left": "side == 0", "right": "side == 1"}
    return {"data": str(data), "column": "x", "unit": "cm", "groups": groups, "seed": seed, "max_iterations": 2}


def findings(task: str, seed: int, spoil: Spoil | None) -> list[Finding]:
    """Carry out a run with a reviewer, and return what the gates found in it."""
    with tempfile.TemporaryDirectory(prefix="beamcrew-reviewer-") as name:
        folder = Path(name)
        chosen = Settings(request="?", task=task, options=options(task, seed, folder), salt="", reviewer=True)
        start(chosen, Spoilt(spoil), folder / "run")
        events = read_trace(folder / "run")
    return [found for event in events if isinstance(event, GatesChecked) for found in event.findings]


def rows(sets: int, chosen: Sequence[str]) -> Iterator[tuple[str, str, int, list[Finding]]]:
    """Yield spoil ('' for none), task, seed and findings of every run."""
    for seed in range(1, sets + 1):
        for task in chosen:
            yield "", task, seed, findings(task, seed, None)
            for name, (spoil, _, tasks) in SPOILS.items():
                if task in tasks:
                    yield name, task, seed, findings(task, seed, spoil)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", type=int, default=5, help="seeds of each task")
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=TASKS)
    parser.add_argument("--quick", action="store_true", help="one seed")
    choices = parser.parse_args()
    counts = {"good_runs": 0, "false_findings": 0, "bad_runs": 0, "found": 0}
    for name, task, seed, found in rows(1 if choices.quick else choices.sets, choices.tasks):
        named = {each.gate for each in found}
        if name:
            counts["bad_runs"] += 1
            counts["found"] += SPOILS[name][1] in named
        else:
            counts["good_runs"] += 1
            counts["false_findings"] += bool(named)
        said = "; ".join(f"{each.gate}: {each.text}" for each in found) or "nothing"
        print(f"{name or 'good':8} {task:9} {seed:4}  {said[:200]}", flush=True)
    print(json.dumps(counts))


if __name__ == "__main__":
    main()
