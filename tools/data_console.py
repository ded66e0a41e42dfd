"""What the commands of `beamcrew data` share: where they print, the progress bar, and how they say what went wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager

import typer
from pydantic import ValidationError
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from tools.contract import ToolError, problems

# Names come from files and must not be taken for markup.
out = Console(soft_wrap=True, markup=False, emoji=False)
err = Console(stderr=True, markup=False, emoji=False)


def shown(text: object) -> str:
    """Return text for the terminal: control characters, which could move the cursor, as escapes.

    >>> shown("m\\x1b[2J")
    'm\\\\x1b[2J'
    """
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in str(text))


def tell(text: str) -> None:
    """Print a line as it is, but for control characters."""
    out.print(shown(text), highlight=False)


@contextmanager
def bar(title: str, count: DownloadColumn | MofNCompleteColumn) -> Iterator[Callable[[int, int], None]]:
    """A progress bar, and what moves it: a function of how much is done and of how much there is in all."""
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), count, TimeRemainingColumn())
    with Progress(*columns, console=err, transient=True) as progress:
        task = progress.add_task(shown(title), total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total or None)


@contextmanager
def one_line_errors(after_interrupt: str) -> Iterator[None]:
    """What the user can mend is one line and exit code 2; Ctrl-C says what happens next, exit code 130."""
    try:
        yield
    except ValidationError as error:
        _fail(str(problems(error)[0]))
    except (ToolError, OSError, BrokenProcessPool) as error:
        _fail(str(error))
    except KeyboardInterrupt:
        err.print(f"interrupted; {after_interrupt}")
        raise typer.Exit(130) from None


def _fail(message: str) -> None:
    err.print(f"error: {shown(' '.join(message.split()))}", style="red", markup=False, highlight=False, soft_wrap=True)
    raise typer.Exit(2)
