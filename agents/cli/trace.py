"""`beamcrew trace`: commands on the trace of a run."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from agents.cli.console import clear_errors, err

app = typer.Typer(help="Traces of runs: export.", no_args_is_help=True)


class Format(StrEnum):
    otel = "otel"
    inspect = "inspect"


@app.callback()
def trace() -> None:
    """Traces of runs."""


@app.command()
def export(
    run_dir: Annotated[Path, typer.Argument(metavar="RUN", help="folder of the run")],
    target: Annotated[Path, typer.Option("--out", help="JSON file to write")],
    form: Annotated[
        Format, typer.Option("--format", help="OpenTelemetry spans as OTLP/JSON, or an Inspect AI log")
    ] = Format.otel,
    force: Annotated[bool, typer.Option("--force", help="replace an existing file; never a part of a run")] = False,
) -> None:
    """Export a trace for other tools: with prompts and replies, without labels, truth and task options."""
    from agents.trace.export import compact, exported
    from agents.trace.export_inspect import inspect_log
    from agents.trace.export_otel import otel
    from tools.files import new_file, write_whole

    with clear_errors():
        new_file("--out", target, (".json",), force=force)
        known = exported(run_dir)
        data = compact(otel(known) if form is Format.otel else inspect_log(known)).encode(errors="replace")
        write_whole(target, data)
    err.print(Text(f"{target}: {len(data):,} bytes"), soft_wrap=True)
