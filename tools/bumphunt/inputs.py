"""Reading events and their scores from files, for the bump-hunt tools."""

from __future__ import annotations

import sys

from tools.arrays import load_arrays
from tools.contract import ToolError
from tools.events.copies import is_first, originals, said
from tools.events.table import mass_column, validate
from tools.events.weights import drawn, of_rows, weights_of
from tools.types import Floats

DRAWN = 1  # seed


def load_scored(events: str, scores: str, field: str = "scores") -> tuple[Floats, Floats]:
    """Return (mass, score), one number each per event, as `load_weighted`; of weighted events a part is drawn."""
    mjj, score, weight = load_weighted(events, scores, field)
    if weight is None:
        return mjj, score
    rows = drawn(weight, DRAWN)
    print(f"note: {len(rows)} of {len(mjj)} weighted events are drawn, by weight", file=sys.stderr)
    return mjj[rows], score[rows]


def load_weighted(events: str, scores: str, field: str = "scores") -> tuple[Floats, Floats, Floats | None]:
    """Return (mass, score, weight), one number each per event; copies of events are left out.

    `field` is the request field of `scores`, named in errors. Weights are None if events are counted. Raises ToolError
    for files that do not hold this, for an `mjj` that is not in TeV, and for negative weights.
    """
    table = load_arrays(events, "events")
    name = mass_column(table)
    if name not in table:
        raise ToolError("events", events, f"needs the column mjj, or mass, has {', '.join(table)}")
    validate(table, events)
    weight = weights_of(table)
    mjj, score = table[name], load_arrays(scores, field, ["score"])["score"]
    if len(mjj) != len(score):
        raise ToolError(field, scores, f"has {len(score)} rows, the event file {len(mjj)}")
    original = originals(table)
    if text := said(original):
        print(f"note: {text}: each is counted once", file=sys.stderr)
    once = is_first(original)
    return mjj[once], score[once], of_rows(weight, once)
