"""Reading events and their scores from files, for the bump-hunt tools."""

from __future__ import annotations

import sys

from tools.arrays import load_arrays
from tools.contract import ToolError
from tools.events.copies import is_first, originals, said
from tools.events.table import mass_column, unweighted, validate
from tools.types import Floats


def load_scored(events: str, scores: str, field: str = "scores") -> tuple[Floats, Floats]:
    """Return (mass, score), one number each per event; copies of events are left out.

    `field` is the request field of `scores`, named in errors. Raises ToolError for files that do not hold this, for an
    `mjj` that is not in TeV, and for weighted events.
    """
    table = load_arrays(events, "events")
    name = mass_column(table)
    if name not in table:
        raise ToolError("events", events, f"needs the column mjj, or mass, has {', '.join(table)}")
    validate(table, events)
    unweighted(table)
    mjj, score = table[name], load_arrays(scores, field, ["score"])["score"]
    if len(mjj) != len(score):
        raise ToolError(field, scores, f"has {len(score)} rows, the event file {len(mjj)}")
    original = originals(table)
    if text := said(original):
        print(f"note: {text}: each is counted once", file=sys.stderr)
    once = is_first(original)
    return mjj[once], score[once]
