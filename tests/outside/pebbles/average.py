"""The tool: an average."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from pydantic import Field

from tools.contract import Request, Result, tool
from tools.events.parquet import read_columns


class AverageRequest(Request):
    """A file of weights."""

    pebbles: str = Field(description="parquet file with a column `weight`, grams")
    trim: float = Field(0.0, ge=0, lt=0.5, description="fraction left out at either end")
    out: str = Field("average.json", description="JSON file to write")


class AverageResult(Result):
    """The average and its error, grams."""

    average: float
    error: float


@tool("pebbles.average")
def average(request: AverageRequest) -> AverageResult:
    """Average weight of the pebbles."""
    weights = np.sort(read_columns(Path(request.pebbles), ["weight"])["weight"])
    cut = int(request.trim * len(weights))
    kept = weights[cut : len(weights) - cut]
    found = {"average": float(kept.mean()), "error": float(kept.std() / len(kept) ** 0.5)}
    Path(request.out).write_text(json.dumps(found))
    return AverageResult(**found)
