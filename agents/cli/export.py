"""`beamcrew export`: a run's answer for people who do not use this project."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from agents.cli import options
from agents.cli.console import clear_errors, err


def export(
    run_dir: options.RunDir,
    out: Annotated[Path | None, typer.Option(help="new folder for the files; default: RUN/export")] = None,
) -> None:
    """Write the report as PDF, figures with their numbers, tables for HEPData, models, and a script to run it again."""
    from agents.trace.publish import FOLDER
    from agents.trace.publish import export as written

    with clear_errors():
        if out and out.exists():
            raise ValueError(f"out={out}: is there already; name a new folder")
        into = out or run_dir / FOLDER
        left_out = written(run_dir, into)
    for path in sorted(each for each in into.rglob("*") if each.is_file()):
        err.print(Text(str(path)), soft_wrap=True)
    for line in left_out:
        err.print(Text(f"left out: {line}"), soft_wrap=True)
