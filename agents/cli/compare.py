"""`beamcrew compare`: two runs side by side."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from agents.cli.console import clear_errors, err, out

SHOWN = 300  # characters of one cell
COLOUR = {"+": "green", "-": "red", "@": "cyan"}


def compare(
    a: Annotated[Path, typer.Argument(metavar="A", help="folder of a run")],
    b: Annotated[Path, typer.Argument(metavar="B", help="folder of another run")],
    html: Annotated[Path | None, typer.Option(help="also write an HTML file")] = None,
    force: Annotated[bool, typer.Option("--force", help="replace an existing file; never a part of a run")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="print the comparison as JSON instead")] = False,
) -> None:
    """Show two runs side by side: plan, code, metrics, claims, cost. Differences are bold."""
    from agents.runs.compare import compare as compared
    from agents.runs.compare import to_html
    from agents.trace.words import visible
    from tools.files import new_file

    with clear_errors():
        if html:
            new_file("--html", html, (".html",), force=force)
        found = compared(a, b)
        if html:
            html.write_text(to_html(found))
            err.print(Text(f"comparison: {html}"), soft_wrap=True)
    if as_json:
        sys.stdout.write(found.model_dump_json(indent=1, ensure_ascii=True) + "\n")
        return
    section, table = (
        "",
        Table("", *(f"{side} {escape(visible(run))}" for side, run in (("A", found.a.run), ("B", found.b.run)))),
    )
    for row in found.rows:
        if row.section != section:
            section = row.section
            table.add_section()
            table.add_row(Text(section, style="cyan"))
        style = "" if row.same else "bold"
        table.add_row(*(Text(visible(text[:SHOWN]), style=style) for text in (row.name, row.a, row.b)))
    out.print(table)
    for diff in found.code:
        out.print(Text(f"\n{visible(diff.path)}", style="bold"))
        for line in diff.lines:
            out.print(Text(visible(line), style=COLOUR.get(line[:1], "")), soft_wrap=True)
