"""The commands that the documents and the build print: each is one that the program accepts."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import click
import pytest
import typer

from agents.cli.console import name_values, typed
from agents.cli.main import app
from tasks.catalogue import make_task

ROOT = Path(__file__).parent.parent
DOCUMENTS = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("*.md")), ROOT / "benchmarks" / "README.md"]
IN_TEXT = re.compile(r"`(beamcrew [a-z][^`]*)`|^ {4}(beamcrew [a-z].*)$", re.MULTILINE)
IN_SCRIPT = re.compile(r"(?:\.venv|\$\(BIN\)|bin)/(beamcrew [a-z].*)")


def commands() -> list[str]:
    """Return every whole command of documents and scripts, as written; sketches with an ellipsis are left out."""
    found = [next(filter(None, groups)) for path in DOCUMENTS for groups in IN_TEXT.findall(path.read_text())]
    for path in (ROOT / "Makefile", ROOT / ".ci" / "run"):
        found += IN_SCRIPT.findall(path.read_text().replace("\\\n", " "))
    return sorted({command for command in found if " ..." not in command})


def parsed(command: str) -> click.Context:
    group, args = typer.main.get_command(app), shlex.split(command)[1:]
    context = click.Context(group)
    while isinstance(group, click.Group):
        name, group, args = group.resolve_command(context, args)
        assert group is not None, f"no command {name}"
    return group.make_context(command, args)


@pytest.mark.parametrize("command", commands())
def test_a_command_that_is_printed_is_one_that_works(command: str) -> None:
    context = parsed(re.sub(r"IN,OUT(\[,CACHED\])?", "1,2", command))
    if context.command.name != "run" or context.params["data"]:
        return
    given = {name: typed(value) for name, value in name_values("--set", context.params["option"]).items()}
    given |= {name: context.params[name] for name in ("seed", "max_iterations") if context.params[name] is not None}
    make_task(context.params["task"] or "lhco-demo", given)


def test_there_are_commands_to_look_at() -> None:
    assert len(commands()) > 40
