"""What `replay` and `rerun` share: where a run is played, what is told about it, and the exit status."""

from __future__ import annotations

import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table
from rich.text import Text

from agents.cli.console import clear_errors, err

if TYPE_CHECKING:
    from agents.runs.replay import Outcome

DIFFERS = 6  # exit status
STYLE = {"identical": "green", "within": "green", "flagged": "yellow", "moved": "red"}
Out = Annotated[Path | None, typer.Option(help="new folder for the files that it makes; default: keep none")]
OutcomeJson = Annotated[bool, typer.Option("--json", help="print the outcome on standard output")]


def play(run_dir: Path, out: Path | None, as_json: bool, how: Callable[[Path, Path], Outcome]) -> None:
    """Play a run into a new folder as `how` does, say what came out, and end with the exit status for that."""
    from agents.runs.provenance import changed, kernels
    from agents.runs.run import beginning
    from agents.trace.strict import Differs

    with clear_errors(), _folder(out) as folder:
        others = changed(beginning(run_dir)[0])
        for other in others.values():
            say(f"made with something else: {other}")
        try:
            outcome = how(run_dir, folder)
        except Differs as difference:
            err.print(Text("differs: ", style="red") + Text(str(difference), style="default"), soft_wrap=True)
            raise typer.Exit(DIFFERS) from None
    if as_json:
        sys.stdout.write(outcome.model_dump_json(indent=1) + "\n")
    _tell(outcome)
    if any(row.verdict == "moved" for row in outcome.compared or ()):
        for name in others.keys() & kernels():
            say(f"a likely cause of what moved, rounding: {others[name]}")
    if not outcome.agrees:
        raise typer.Exit(DIFFERS)


def say(line: str) -> None:
    err.print(Text(line), soft_wrap=True)


def _tell(outcome: Outcome) -> None:
    how = "all of it as recorded" if outcome.whole else f"as recorded up to where it was cut off ({outcome.status})"
    err.print(Text(f"{outcome.run}: {outcome.events} events played in {outcome.seconds:.1f} s, {how}"), soft_wrap=True)
    for name, compared in outcome.report.items():
        err.print(Text(f"{name}: {compared}", style="red" if compared == "differs" else ""))
    if outcome.compared is None:
        return
    table = Table("where", "what", "", "how")
    for row in outcome.compared:
        if row.verdict != "identical" or row.how:
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
