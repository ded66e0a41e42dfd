"""The data of the task: the operator's table, row by row as it is, without columns that look like truth."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasks.task import TaskError
from tools.contract import ToolError
from tools.events.anytable import read_table
from tools.events.expression import evaluate, select
from tools.events.names import is_label, weight_column
from tools.files import written

EVENTS, RESAMPLES = "events.parquet", "resamples.json"
LEAST = 50  # rows: fewer have no halves to compare

Columns = dict[str, NDArray[Any]]


def load(data: Path, cut: str | None) -> Columns:
    """Return the columns of the selected rows. Raises TaskError naming the option and what is allowed."""
    try:
        table = {name: values for name, values in read_table(data).items() if not is_label(name)}
        if not table:
            raise ToolError("path", str(data), "columns other than labels")
        if cut is not None:
            kept = select(cut, table)
            table = {name: values[kept] for name, values in table.items()}
    except ToolError as error:
        raise TaskError("data" if error.field == "path" else error.field, error.value, error.allowed) from None
    rows = len(next(iter(table.values())))
    if rows < LEAST:
        field, value = ("data", str(data)) if cut is None else ("cut", cut)
        raise TaskError(field, value, f"at least {LEAST} rows, not {rows}")
    return table


def check_column(table: Columns, column: str, groups: Mapping[str, str]) -> None:
    """Raise TaskError unless the column has numbers and each group selects some rows."""
    try:
        values = evaluate(column, table, "column")
        if values.dtype.kind not in "fiub":
            raise ToolError("column", column, f"numbers needed, not {values.dtype}")
        for name, condition in groups.items():
            kept = select(condition, table, "groups")
            if not (kept & np.isfinite(values.astype(np.float64))).any():
                raise ToolError("groups", condition, f"selects no row with a finite value of {column}, for {name!r}")
    except ToolError as error:
        raise TaskError(error.field, error.value, error.allowed) from None


def weights_of(table: Columns, data: Path, weights: str | None) -> str | None:
    """Return the column with weights: the one that is named, or the one that looks like it."""
    numeric = [name for name, values in table.items() if values.dtype.kind in "fiub"]
    if weights is not None:
        if weights not in numeric:
            raise TaskError("weights", weights, f"a column of numbers: {', '.join(numeric)}")
        return weights
    try:
        return weight_column(numeric, "weights", str(data))
    except ToolError as error:
        raise TaskError("weights", None, error.allowed) from None


def write(folder: Path, table: Columns, seed: int, bootstraps: int) -> None:
    """Write the table, and how to resample it."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    folder.mkdir(parents=True, exist_ok=True)
    with written(folder / EVENTS) as part:
        pq.write_table(pa.table({name: pa.array(values) for name, values in table.items()}), part)
    (folder / RESAMPLES).write_text(json.dumps({"seed": seed, "bootstraps": bootstraps}))
