"""Summary of an event file: rows, columns, ranges, and features that can be derived."""

from __future__ import annotations

import numpy as np
from pydantic import Field

from tools.arrays import load_arrays
from tools.contract import Frozen, Request, Result, tool
from tools.events.copies import count, originals
from tools.events.names import unlabelled
from tools.events.table import available, mass_column, validate


class DescribeRequest(Request):
    """Describe an event file."""

    events: str = Field("/inputs/events.parquet", description="parquet file with the event table")


class ColumnSummary(Frozen):
    """Mean, spread and quantiles (0, 5, 50, 95, 100%) of a column."""

    mean: float
    std: float
    quantiles: list[float]
    correlation_mass: float = Field(description="linear correlation with the mass: the column mass, or mjj")


class DescribeResult(Result):
    """Summary of every column."""

    rows: int
    columns: dict[str, ColumnSummary]
    features: list[str] = Field(description="all feature names that tools accept for this file")
    copies: int = Field(0, description="events that are copies of others; tools learn from and count each event once")


@tool("events.describe")
def describe(request: DescribeRequest) -> DescribeResult:
    """Summarise an event file: rows, columns, ranges, correlations with the mass, and the features usable with it."""
    columns = load_arrays(request.events, "events")
    unlabelled(columns, "events", request.events)
    validate(columns, request.events)
    mass = columns[mass_column(columns)]
    summaries = {
        name: ColumnSummary(
            mean=float(v.mean()),
            std=float(v.std()),
            quantiles=[float(q) for q in np.percentile(v, [0, 5, 50, 95, 100])],
            correlation_mass=float(np.corrcoef(v, mass)[0, 1]) if v.std() > 0 and mass.std() > 0 else 0.0,
        )
        for name, v in columns.items()
    }
    copies = count(originals(columns))
    return DescribeResult(rows=len(mass), columns=summaries, features=available(columns), copies=copies)
