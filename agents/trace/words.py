"""Formatting of durations and of untrusted text in reports."""

from __future__ import annotations

import json
import re
import textwrap
from typing import Any, Protocol

from agents.trace.events import BudgetNear, OutsideCalled, Reviewed
from tasks.score import CheckedNumber
from tasks.writing import NONE, number

WIDTH = 92  # characters of a line of JSON
# Control and format characters, lone surrogates, and Unicode line and paragraph separators.
HIDDEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u0600-\u0605\u061c\u06dd\u070f\u0890\u0891\u08e2\u180e\u200b-\u200f\u2028-\u202e"
    "\u2060-\u206f\ud800-\udfff\ufeff\ufff9-\ufffb\U000110bd\U000110cd\U00013430-\U0001343f\U0001bca0-\U0001bca3"
    "\U0001d173-\U0001d17a\U000e0000-\U000e007f]"
)
LONGEST = 6000  # characters of one untrusted text in a report; the trace has all of it


def agreement(check: CheckedNumber) -> str:
    """Say whether a claimed number agrees with the harness's, and whether it was traced to any output of the run."""
    said = {None: "nothing to compare", True: "agrees", False: "differs"}[check.agrees]
    return f"{said}, not traced" if check.traced is False else said


def review(event: Reviewed) -> str:
    """Say what came of a review."""
    if event.skipped:
        return f"Review of the {event.where.step}: skipped, {event.skipped}."
    verdict = "sent back" if event.send_back else "may stay"
    return f"Review of the {event.where.step}: {verdict}{':' if event.reasons else '.'}"


class Said(Protocol):
    """An answer, given or recorded."""

    @property
    def who(self) -> str: ...
    @property
    def via(self) -> str: ...
    @property
    def answer(self) -> str: ...
    @property
    def words(self) -> str: ...


def answer(event: Said) -> str:
    """Say what a person answered."""
    words = f": {event.words}" if event.words else ""
    return f"{event.who} ({event.via}) said {event.answer}{words}"


def outside(event: OutsideCalled) -> str:
    """Say how a call of an outside tool ended."""
    said = {
        "answered": "answered",
        "refused": "refused by its server",
        "timeout": "no answer in time",
        "lost": "its server does not work",
        "limit": "not made: the run has made all its calls of this server",
    }
    return said[event.ended] + (f", {event.cut} characters not kept" if event.cut else "")


def near(event: BudgetNear) -> str:
    """Say how much of a limit is used."""
    name = event.name.replace("_", " ")
    return f"{event.used / event.limit:.0%} of the limit is used: {event.used:.4g} of {event.limit:.4g} {name}"


def duration(seconds: Any) -> str:
    """Format a duration: `1 h 02 min`, `3 min 20 s`, `4.2 s`."""
    seconds = number(seconds)
    if seconds is None:
        return NONE
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def document(value: Any) -> str:
    """Format JSON for people: values that fit on a line stay on it, and the middle of a long text is cut."""
    return shortened(_laid_out(value))


def _laid_out(value: Any, indent: str = "") -> str:
    flat, inner = json.dumps(value, ensure_ascii=False), indent + "  "
    if len(indent) + len(flat) <= WIDTH or not isinstance(value, dict | list):
        return flat
    if isinstance(value, dict):
        items = [f"{json.dumps(name, ensure_ascii=False)}: {_laid_out(item, inner)}" for name, item in value.items()]
    elif all(isinstance(item, int | float) for item in value):
        return textwrap.fill(flat, WIDTH, subsequent_indent=inner)
    else:
        items = [_laid_out(item, inner) for item in value]
    body = ",\n".join(inner + item for item in items)
    return f"{{\n{body}\n{indent}}}" if isinstance(value, dict) else f"[\n{body}\n{indent}]"


def shortened(text: str) -> str:
    """Cut the middle out of a long text."""
    if len(text) <= LONGEST:
        return text
    half = LONGEST // 2
    return f"{text[:half]}\n[... {len(text) - 2 * half} characters, see the trace ...]\n{text[-half:]}"


def visible(text: str) -> str:
    r"""Escape every character that moves a terminal's cursor, reverses the reading direction or is invisible;
    newlines and tabs stay.

    >>> visible("a\u202eb\x1b[2J\n")
    'a\\u202eb\\x1b[2J\n'
    """
    return HIDDEN.sub(lambda match: match[0].encode("unicode_escape").decode(), text)


def markdown(text: Any) -> str:
    """Escape untrusted text for one line of Markdown: shown literally, never as mark-up, HTML or a link."""
    return re.sub(r"([\\`*_\[\]<>|#~!&])", r"\\\1", " ".join(str(text).split()))


def fenced(text: str, language: str = "") -> str:
    """Return untrusted text as a code block that it cannot close."""
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{text.rstrip()}\n{fence}"
