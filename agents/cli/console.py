"""Shared parts of all commands: consoles, parsing of NAME=VALUE, and error messages."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import typer
from rich.console import Console
from rich.text import Text

out, err = Console(), Console(stderr=True)


def name_values(option: str, pairs: Sequence[str] | None) -> dict[str, str]:
    """Parse the values of a repeatable option NAME=VALUE. Raises ValueError for anything else."""
    values = {}
    for pair in pairs or ():
        name, sign, value = pair.partition("=")
        if not sign or not name:
            raise ValueError(f"{option} {pair!r}: must be NAME=VALUE")
        values[name] = value
    return values


def typed(value: str) -> Any:
    """Return a value that reads as JSON (number, true, list) as such, any other as text."""
    try:
        return json.loads(value)
    except ValueError:
        return value


@contextmanager
def clear_errors() -> Iterator[None]:
    """Turn errors that an operator can fix into one line and exit status 2, without a traceback."""
    from pydantic import ValidationError

    from agents.trace.store import TraceError
    from sandbox.driver import SandboxLost
    from tools.contract import problems

    try:
        yield
    except ValidationError as error:
        _error(str(problems(error)[0]))
    except (ValueError, OSError, SandboxLost, TraceError) as error:
        _error(str(error))
    except KeyboardInterrupt:
        err.print("stopped")
        raise typer.Exit(130) from None
    else:
        return
    raise typer.Exit(2)


def _error(text: str) -> None:
    err.print(Text("error: ", style="red") + Text(text, style="default"), soft_wrap=True)
