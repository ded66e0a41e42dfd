"""`beamcrew doctor`: what this machine offers, and building the image of the container sandbox."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from agents.console import clear_errors, err, name_values, out


def doctor(
    build: Annotated[bool, typer.Option("--build", help="build the Docker image of the sandbox first")] = False,
    build_arg: Annotated[
        list[str] | None, typer.Option(metavar="NAME=VALUE", help="for --build, e.g. BASE=...; repeatable")
    ] = None,
    certificates: Annotated[Path | None, typer.Option(help="CA bundle for pip during --build, a build secret")] = None,
) -> None:
    """What this machine offers: sandbox engines, GPU, limits, keys, packages, data."""
    from agents.doctor import report

    with clear_errors():
        if build:
            _build(name_values("--build-arg", build_arg), certificates)
        checks = report()
    table = Table("check", "", "detail")
    for check in checks:
        table.add_row(check.name, "[green]ok[/]" if check.ok else "[yellow]no[/]", Text(check.detail))
    out.print(table)


def _build(build_args: dict[str, str], certificates: Path | None) -> None:
    from sandbox.image import build_image

    build_image(Path(__file__).parent.parent, build_args=build_args, certificates=certificates, say=err.print)
