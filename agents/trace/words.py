"""How the report writes numbers, times and foreign text."""

from __future__ import annotations

import json
import math
import re
import textwrap
from statistics import NormalDist
from typing import Any

from agents.trace.result import number
from tasks.score import CheckedNumber

NONE = "–"
BEYOND = 5.0  # standard deviations
WIDTH = 92  # characters of a line of JSON
SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
# Control and format characters, half characters, and ends of lines and paragraphs that are none of ours.
HIDDEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u0600-\u0605\u061c\u06dd\u070f\u0890\u0891\u08e2\u180e\u200b-\u200f\u2028-\u202e"
    "\u2060-\u206f\ud800-\udfff\ufeff\ufff9-\ufffb\U000110bd\U000110cd\U00013430-\U0001343f\U0001bca0-\U0001bca3"
    "\U0001d173-\U0001d17a\U000e0000-\U000e007f]"
)
LONGEST = 6000  # characters of one foreign text in a report; the trace has the whole


def measured(value: Any, error: Any = None, unit: str = "") -> str:
    """`3.512 ± 0.021 TeV`: two digits of the error decide how many the value gets; below zero with a minus sign."""
    value, error = number(value), number(error)
    if value is None:
        return NONE
    tail = f" {unit}" if unit else ""
    sign, value = "−" if value < 0 else "", abs(value)
    if error is None or error <= 0:
        return f"{sign}{value:.4g}{tail}"
    digits = max(0, 1 - math.floor(math.log10(error)))
    return f"{sign}{value:.{digits}f} ± {error:.{digits}f}{tail}"


def probability(p: Any) -> str:
    """`3.2 × 10⁻⁷ (5.0 σ)`, or `(> 5 σ)`; none is said where there are fewer events than background would bring."""
    p = number(p)
    if p is None:
        return NONE
    if p <= 0 or p >= 1:
        return f"{p:g}"
    if p > 0.5:
        return f"{p:.2g}"
    sigma = f"({significance(0 - NormalDist().inv_cdf(p))} σ)"
    if p >= 0.001:
        return f"{p:.2g} {sigma}"
    mantissa, _, exponent = f"{p:.1e}".partition("e")
    return f"{mantissa} × 10{str(int(exponent)).translate(SUPERSCRIPT)} {sigma}"


def significance(z: Any) -> str:
    """`3.2`, and `> 5` above five: tails beyond are those of a formula, which no pseudo-experiment has seen."""
    z = number(z)
    if z is None:
        return NONE
    return "> 5" if z > BEYOND else f"{z:.1f}".replace("-", "−")


def quantity(name: str, value: Any, error: Any = None) -> str:
    """A number of the claims table, written as its name asks for."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if name.startswith("p_"):
        return probability(value)
    # A bias is claimed / true - 1.
    unit = "TeV" if name.startswith(("mass", "window")) and not name.endswith("_bias") else ""
    return measured(value, error, unit)


def agreement(check: CheckedNumber) -> str:
    """How a claimed number stands beside the harness's, and whether anything that ran had printed it."""
    said = {None: "nothing to compare", True: "agrees", False: "differs"}[check.agrees]
    return f"{said}, not traced" if check.traced is False else said


def verdict(discovery: bool | None) -> str:
    """What a claim says, in a line; None for a task that looks for nothing new."""
    if discovery is None:
        return "A measurement is claimed"
    return "A new resonance is claimed" if discovery else "No new resonance is claimed"


def label(name: str) -> str:
    """The name of a quantity as people say it.

    >>> label("max_sic_25"), label("sic_at_0.01"), label("n_signal_bias"), label("p_value")
    ('max SIC 25', 'SIC at 0.01', 'signal events bias', 'global p-value')
    """
    if name == "p_value":
        return "global p-value"
    words = name.replace("n_signal", "signal_events").replace("_", " ")
    return re.sub(r"\b(auc|sic)\b", lambda match: match[0].upper(), words)


def duration(seconds: Any) -> str:
    """`1 h 02 min`, `3 min 20 s`, `4.2 s`."""
    seconds = number(seconds)
    if seconds is None:
        return NONE
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def document(value: Any) -> str:
    """JSON for people to read: what fits on a line stays on it, and it is cut where it gets long."""
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
    """The beginning and the end of a long text."""
    if len(text) <= LONGEST:
        return text
    half = LONGEST // 2
    return f"{text[:half]}\n[... {len(text) - 2 * half} characters, see the trace ...]\n{text[-half:]}"


def visible(text: str) -> str:
    r"""The same with every character that moves a terminal's cursor, turns the direction of reading or is not seen
    written as its number; ends of lines and tabs stay. What is marked as HTML stays so.

    >>> visible("a\u202eb\x1b[2J\n")
    'a\\u202eb\\x1b[2J\n'
    """
    return HIDDEN.sub(lambda match: match[0].encode("unicode_escape").decode(), text)


def markdown(text: Any) -> str:
    """Foreign text on one line of Markdown: shown as it is, never as mark-up, HTML or a link."""
    return re.sub(r"([\\`*_\[\]<>|#~!&])", r"\\\1", " ".join(str(text).split()))


def fenced(text: str, language: str = "") -> str:
    """Foreign text as a code block that it cannot close."""
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{text.rstrip()}\n{fence}"
