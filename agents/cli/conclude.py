"""Shared parts of the commands that carry out a run: the live view, the final table and the exit status."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import typer
from rich.table import Table
from rich.text import Text

from agents.cli.console import err

EXIT = {
    "converged": 0,
    "exhausted": 0,
    "failed": 3,
    "budget": 4,
    "lost": 5,
    "waiting": 8,
    "declined": 9,
    "interrupted": 130,
}


@contextmanager
def watched(backend: Any) -> Iterator[list[Any]]:
    """Open the live view and return it as a list of listeners; a streaming backend also shows text as it is written."""
    from agents.cli.live import LiveView

    with LiveView() as view:
        if hasattr(backend, "watch"):
            backend.watch = view.writing
        yield [view]


def conclude(run_dir: Path, result: Any, as_json: bool) -> None:
    """Print how a run ended, and exit with the matching status."""
    if as_json:
        sys.stdout.write(result.model_dump_json(indent=1) + "\n")
    from agents.backends.select import again
    from agents.trace.words import visible
    from tasks.score import truth_known

    known = truth_known(result.claims)
    table = Table("quantity", "claimed", "computed by the harness", *(["truth"] if known else []), "agrees")
    for check in result.claims:
        agrees = Text("" if check.agrees is None else "yes" if check.agrees else "no")
        agrees.stylize("red" if check.agrees is False else "")
        agrees.append(" (not traced)" if check.traced is False else "", style="red")
        claimed = check.written(check.claimed, check.claimed_error)
        harness = check.written(check.harness, check.harness_error)
        row = (check.title, claimed, harness, *([check.written(check.truth)] if known else []))
        table.add_row(*(Text(visible(cell)) for cell in row), agrees)
    if result.claims:
        err.print(table)
    if not result.is_llm:
        err.print(f"No LLM was involved: the built-in {result.backend} follows fixed rules.", highlight=False)
    err.print(Text(visible(f"{result.status}: {result.reason}")), soft_wrap=True)
    err.print(Text(f"report: {run_dir / 'report.html'}"), soft_wrap=True)
    same = shlex.join(again(result.backend))
    if result.status in ("interrupted", "lost", "budget"):
        err.print(Text(f"continue with: beamcrew resume {run_dir} {same}"), soft_wrap=True)
    if result.status == "waiting":
        err.print(Text(f"answer with: beamcrew approve {run_dir} {same} --yes, --no, or --say WORDS"), soft_wrap=True)
    raise typer.Exit(EXIT[result.status])
