"""Asks the person at the terminal where a run stops; an answer that comes another way meanwhile is taken as well."""

from __future__ import annotations

import select
import sys
import termios
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from rich.panel import Panel
from rich.text import Text

from agents.cli.console import err

if TYPE_CHECKING:
    from agents.runs.answers import Answer
    from agents.trace.events import Asked

MOMENT = 0.5  # seconds between two looks for an answer in the run's folder


class Person:
    """Asks on the terminal; if there is none, nobody is there. `accepted`: the card has been accepted already."""

    def __init__(self, run_dir: Path, view: Any = None, accepted: bool = False) -> None:
        self._run_dir, self._view, self._accepted = run_dir, view, accepted

    def __call__(self, asked: Asked) -> Answer | None:
        from agents.runs.answers import say

        here = sys.stdin.isatty()
        if asked.gate == "card" and self._accepted:
            return say(asked, "yes", via="terminal" if here else "command")
        if not here:
            return None
        pause: AbstractContextManager[None] = self._view.paused() if self._view else nullcontext()
        with pause:
            show(asked)
            return self._answer(asked)

    def _answer(self, asked: Asked) -> Answer | None:
        from agents.runs.answers import check, waiting
        from agents.trace.store import read_trace
        from agents.trace.words import visible

        termios.tcflush(sys.stdin, termios.TCIFLUSH)  # what was typed before a question is no answer to it
        change = "other dollars" if asked.gate == "spend" else "what is to change, in a sentence"
        while True:
            err.print(f"Go on? yes, no, or {change}: ", end="")
            while not select.select([sys.stdin], [], [], MOMENT)[0]:
                if found := waiting(self._run_dir, asked):
                    err.print(Text(visible(f"answered by {found.who} ({found.via}): {found.answer} {found.words}")))
                    return found
            line = sys.stdin.readline()
            if not line:
                err.print()
                return None
            try:
                answer = understood(asked, line.strip())
                if answer:
                    check(answer, asked, read_trace(self._run_dir))
                    return self._first(asked, answer)
            except ValueError as error:
                err.print(Text(str(error)), soft_wrap=True)

    def _first(self, asked: Asked, answer: Answer) -> Answer:
        """Return the answer that counts, and say so if it is not this one."""
        from agents.runs.answers import claim
        from agents.trace.words import answer as said
        from agents.trace.words import visible

        if self._view is None:  # nothing of the run is at work: the command that asks gives the answer
            return answer
        first = claim(self._run_dir, asked, answer)
        if first != answer:
            err.print(Text(visible(f"too late: {said(first)}; that answer counts, not yours")), soft_wrap=True)
        return first


def understood(asked: Asked, line: str) -> Answer | None:
    """Return the answer in a line; None for what may be a slip of the pen."""
    from agents.runs.answers import say

    if line.lower() in ("y", "yes"):
        return say(asked, "yes", via="terminal")
    if line.lower() in ("n", "no"):
        return say(asked, "no", via="terminal")
    if " " in line or (line and asked.gate == "spend"):
        return say(asked, "say", line, via="terminal")
    return None


def show(asked: Asked) -> None:
    """Print a question with what is to be approved."""
    from agents.trace.words import visible

    document = yaml.safe_dump(asked.shown, sort_keys=False, allow_unicode=True, width=100)
    err.print(Panel(Text(visible(document.rstrip())), title=Text(visible(asked.text)), title_align="left"))
