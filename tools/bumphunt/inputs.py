"""Events with their scores from files, for the tools of the bump hunt."""

from __future__ import annotations

from tools.arrays import load_arrays
from tools.contract import ToolError
from tools.events.table import unweighted
from tools.types import Floats


def load_scored(events: str, scores: str, field: str = "scores") -> tuple[Floats, Floats]:
    """(mjj [TeV], score), a number each per event. Raises ToolError for what is not, and for weighted events.

    `field` is the name under which the scores were asked for.
    """
    table = load_arrays(events, "events")
    unweighted(table)
    if "mjj" not in table:
        raise ToolError("events", events, f"needs the column mjj, has {', '.join(table)}")
    mjj, score = table["mjj"], load_arrays(scores, field, ["score"])["score"]
    if len(mjj) != len(score):
        raise ToolError(field, scores, f"has {len(score)} rows, the event file {len(mjj)}")
    return mjj, score
