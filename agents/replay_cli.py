"""`beamcrew replay`: a run once more from its trace."""

from __future__ import annotations

import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table
from rich.text import Text

from agents.console import clear_errors, err

if TYPE_CHECKING:
    from agents.replay import Outcome

DIFFERS = 6  # exit status
STYLE = {"identical": "green", "within": "green", "flagged": "yellow", "moved": "red"}


def replay(
    run_dir: Annotated[Path, typer.Argument(metavar="RUN", help="folder of the run")],
    execute: Annotated[
        bool, typer.Option("--execute", help="run every command again and compare what comes out")
    ] = False,
    sandbox: Annotated[str | None, typer.Option(help="--execute in docker or bubblewrap; default: the run's")] = None,
    image: Annotated[str | None, typer.Option(help="--execute in this Docker image; default: the run's")] = None,
    tolerance: Annotated[float, typer.Option(min=0, help="--execute: relative; what moves by more differs")] = 1e-6,
    workers: Annotated[int, typer.Option(min=1, help="--execute: commands that run side by side")] = 2,
    out: Annotated[Path | None, typer.Option(help="new folder to leave workspace and report in")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="print the outcome on standard output")] = False,
) -> None:
    """Play a run from its record: no model, no sandbox, no key. All must come out as recorded; 6: something did not."""
    from agents.replay import replay as play
    from agents.rerun import rerun
    from agents.trace.strict import Differs

    with clear_errors(), _folder(out) as folder:
        if not execute and (sandbox or image):
            raise ValueError("sandbox, image: go with --execute")
        try:
            outcome = rerun(run_dir, folder, sandbox, image, tolerance, workers) if execute else play(run_dir, folder)
        except Differs as difference:
            err.print(Text("differs: ", style="red") + Text(str(difference), style="default"), soft_wrap=True)
            raise typer.Exit(DIFFERS) from None
    if as_json:
        sys.stdout.write(outcome.model_dump_json(indent=1) + "\n")
    _tell(outcome)
    if not outcome.agrees:
        raise typer.Exit(DIFFERS)


def _tell(outcome: Outcome) -> None:
    how = "all of it as recorded" if outcome.whole else f"as recorded up to where it was cut off ({outcome.status})"
    err.print(Text(f"{outcome.run}: {outcome.events} events played in {outcome.seconds:.1f} s, {how}"), soft_wrap=True)
    for name, compared in outcome.report.items():
        err.print(Text(f"{name}: {compared}", style="red" if compared == "differs" else ""))
    if outcome.compared is None:
        return
    table = Table("where", "what", "", "how")
    for row in outcome.compared:
        if row.verdict != "identical" or " became " in row.how:
            table.add_row(*map(Text, (row.where, row.what)), Text(row.verdict, style=STYLE[row.verdict]), Text(row.how))
    if table.rows:
        err.print(table)
    counts = Counter[str](row.verdict for row in outcome.compared)
    err.print(Text("run again: " + ", ".join(f"{counts[verdict]} {verdict}" for verdict in STYLE)))


@contextmanager
def _folder(out: Path | None) -> Iterator[Path]:
    """A new folder: the one that was asked for, or one that is gone afterwards."""
    if out:
        if out.exists():
            raise ValueError(f"out={out}: is there already; name a new folder")
        yield out
    else:
        with tempfile.TemporaryDirectory(prefix="beamcrew-replay-") as folder:
            yield Path(folder, "replay")
