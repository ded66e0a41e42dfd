"""The commands that the documents and the build print: each is one that the program accepts."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.core import TyperGroup

from agents.cli.console import name_values, typed
from agents.cli.main import app
from tasks.catalogue import make_task

ROOT = Path(__file__).parent.parent
DOCUMENTS = [*(path for path in sorted(ROOT.glob("*.md")) if path.name != "CHANGELOG.md")]
DOCUMENTS += [*sorted((ROOT / "docs").glob("*.md")), ROOT / "benchmarks" / "README.md"]
IN_TEXT = re.compile(r"`(beamcrew [a-z][^`]*)`|^ {4}(beamcrew [a-z].*)$", re.MULTILINE)
IN_SCRIPT = re.compile(r"(?:\.venv|\$\(BIN\)|bin)/(beamcrew [a-z].*)")


def commands() -> list[str]:
    """Return every whole command of documents and scripts, as written; sketches with an ellipsis are left out."""
    found = [next(filter(None, groups)) for path in DOCUMENTS for groups in IN_TEXT.findall(path.read_text())]
    for path in (ROOT / "Makefile", ROOT / ".ci" / "run"):
        found += IN_SCRIPT.findall(path.read_text().replace("\\\n", " "))
    return sorted({command for command in found if " ..." not in command})


def parsed(command: str) -> dict[str, Any]:
    """Return the parameters of a command; one that is only named has to exist."""
    group, args = typer.main.get_command(app), shlex.split(command)[1:]
    while isinstance(group, TyperGroup):
        name, found, args = group.resolve_command(typer.Context(group), args)
        assert found, f"no command {name}"
        group = found
    return group.make_context(command, args).params if args else {}


@pytest.mark.parametrize("command", commands())
def test_a_command_that_is_printed_is_one_that_works(command: str) -> None:
    params = parsed(re.sub(r"IN,OUT(\[,CACHED\])?", "1,2", command))
    if command.startswith("beamcrew run ") and not params["data"]:
        given = {name: typed(value) for name, value in name_values("--set", params["option"]).items()}
        given |= {name: params[name] for name in ("seed", "max_iterations") if params[name] is not None}
        make_task(params["task"] or "lhco-demo", given)


def test_there_are_commands_to_look_at() -> None:
    assert len(commands()) > 40
