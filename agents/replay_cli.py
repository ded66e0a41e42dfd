"""`beamcrew replay`: a run once more from its trace."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from agents.console import clear_errors, err

DIFFERS = 6  # exit status


def replay(
    run_dir: Annotated[Path, typer.Argument(metavar="RUN", help="folder of the run")],
    out: Annotated[Path | None, typer.Option(help="new folder to leave workspace and report in")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="print the outcome on standard output")] = False,
) -> None:
    """Play a run from its record: no model, no sandbox, no key. All must come out as recorded; 6: something did not."""
    from agents.replay import replay as play
    from agents.trace.strict import Differs

    with clear_errors(), _folder(out) as folder:
        try:
            outcome = play(run_dir, folder)
        except Differs as difference:
            err.print(Text("differs: ", style="red") + Text(str(difference), style="default"), soft_wrap=True)
            raise typer.Exit(DIFFERS) from None
    if as_json:
        sys.stdout.write(outcome.model_dump_json(indent=1) + "\n")
    how = "all of it as recorded" if outcome.whole else f"as recorded up to where it was cut off ({outcome.status})"
    err.print(Text(f"{outcome.run}: {outcome.events} events played in {outcome.seconds:.1f} s, {how}"), soft_wrap=True)
    for name, compared in outcome.report.items():
        err.print(Text(f"{name}: {compared}", style="red" if compared == "differs" else ""))
    if not outcome.agrees:
        raise typer.Exit(DIFFERS)


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
