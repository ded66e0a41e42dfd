"""Numbers of a result in a neutral form, written as CSV and as a HEPData submission (hepdata_lib, extra `publish`)."""

from __future__ import annotations

import contextlib
import csv
import io
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Column:
    """A quantity: numbers, texts or bins (low, high). `errors` are symmetric, by the name of their source."""

    name: str
    values: Sequence[Any]
    unit: str = ""
    errors: Mapping[str, Sequence[float]] = field(default_factory=dict)

    @property
    def binned(self) -> bool:
        return bool(self.values) and isinstance(self.values[0], tuple)


@dataclass(frozen=True)
class Data:
    """A table: the columns at each point or bin of the axes. All have the same length."""

    name: str
    caption: str
    axes: Sequence[Column]
    columns: Sequence[Column]


def bins(name: str, edges: Sequence[float], unit: str = "") -> Column:
    """Return the axis of a histogram with these edges.

    >>> bins("m", [1, 2, 4]).values
    [(1.0, 2.0), (2.0, 4.0)]
    """
    return Column(name, [(float(a), float(b)) for a, b in pairwise(edges)], unit)


def table_of(
    name: str,
    caption: str,
    axis: tuple[str, str],
    arrays: Mapping[str, Any],
    columns: Mapping[str, str],
    counted: Collection[str] = (),
    points: str = "",
) -> Data | None:
    """Return a table of named `arrays`, over `axis` (name, unit) with their `edges`, or at `points`; None without them.

    `columns`: the table's column -> name of its array; those missing or of another length are left out. `counted`
    columns get their Poisson errors; for sums of weights `arrays` has `per`, the effective counts per unit.
    """
    at = arrays.get(points or "edges") or []
    known = Column(axis[0], list(at), axis[1]) if points else bins(axis[0], at, axis[1])
    kept = {to: values for to, of in columns.items() if len(values := arrays.get(of) or []) == len(known.values) > 0}
    if not kept:
        return None
    per = arrays.get("per") or [1.0] * len(known.values)
    errors = {
        to: {"statistical": [math.sqrt(v / p) for v, p in zip(kept[to], per, strict=True)]}
        for to in counted
        if to in kept
    }
    return Data(name, caption, [known], [Column(to, list(v), errors=errors.get(to, {})) for to, v in kept.items()])


def csv_text(data: Data) -> str:
    """Return the table as CSV: a bin has two columns, an error one of its own.

    >>> print(csv_text(Data("t", "", [bins("m", [1, 2], "GeV")], [Column("n", [9.0], errors={"stat": [3.0]})])), end="")
    m low [GeV],m high [GeV],n,n error (stat)
    1.0,2.0,9.0,3.0
    """
    named: dict[str, Sequence[Any]] = {}
    for column in [*data.axes, *data.columns]:
        unit = f" [{column.unit}]" if column.unit else ""
        if column.binned:
            named |= {
                f"{column.name} {end}{unit}": [v[i] for v in column.values] for i, end in enumerate(("low", "high"))
            }
        else:
            named[f"{column.name}{unit}"] = column.values
        for source, values in column.errors.items():
            named[f"{column.name} error{f' ({source})' if source else ''}{unit}"] = values
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(named)
    writer.writerows(zip(*named.values(), strict=True))
    return out.getvalue()


def hepdata(tables: Sequence[Data], folder: Path, comment: str) -> Path:
    """Write a submission; return the path of `submission.tar.gz`, which HEPData takes and whose schema it follows."""
    from hepdata_lib import Submission

    submission = Submission()
    submission.comment = comment
    for table in tables:
        submission.add_table(_table(table))
    folder.mkdir(parents=True, exist_ok=True)
    said = io.StringIO()
    try:
        # The library writes the archive to the working directory.
        with contextlib.chdir(folder), contextlib.redirect_stdout(said):
            submission.create_files("tables", validate=True, remove_old=True)
    except AssertionError as error:
        raise ValueError(f"tables {[table.name for table in tables]}: {said.getvalue().strip() or error}") from None
    return folder / "submission.tar.gz"


def _table(data: Data) -> Any:
    from hepdata_lib import Table

    table = Table(data.name)
    table.description = data.caption
    table.keywords["observables"] = [axis.name for axis in data.axes]
    for axis in data.axes:
        table.add_variable(_variable(axis, True))
    for column in data.columns:
        table.add_variable(_variable(column, False))
    return table


def _variable(column: Column, independent: bool) -> Any:
    from hepdata_lib import Uncertainty, Variable

    made = Variable(
        column.name,
        is_independent=independent,
        is_binned=column.binned,
        units=column.unit,
        values=list(column.values),
        zero_uncertainties_warning=False,
    )
    for source, values in column.errors.items():
        error = Uncertainty(source, is_symmetric=True)
        error.values = list(values)
        made.add_uncertainty(error)
    return made
