"""A first look at a file or folder: what it holds, by name, kind and range. Labels are named, never shown."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from tools.contract import Frozen, ToolError
from tools.events.anytable import SUFFIXES, read_table
from tools.events.lhco import HDF5, UNLABELLED, magic_of, particle_rows
from tools.events.names import is_label
from tools.hdf5 import open_hdf5

FEW = 8  # distinct texts or numbers that are listed
QUICK = (".csv", ".csv.gz", ".txt", ".parquet", ".npz", ".root")
LARGE = 200 * 2**20  # bytes of a table in a folder, above which it is not looked at
MOST = 200  # names of columns, files or data sets that are listed
PARTICLES = "particles"  # the part of a file of events with all their particles


class Column(Frozen):
    """One column of a table."""

    name: str
    kind: Literal["number", "text", "label"]
    low: float | None = Field(None, description="smallest finite value")
    high: float | None = Field(None, description="largest finite value")
    not_finite: int = Field(0, description="rows without a finite value")
    values: list[str] = Field(default_factory=list, description="all values, if they are few texts")


class Sight(Frozen):
    """What lies at a path: a table with columns, arrays of an HDF5 or npy file by shape, or the files of a folder."""

    path: str
    kind: Literal["table", "arrays", "folder"]
    rows: int = 0
    columns: list[Column] = Field(default_factory=list)
    parts: list[str] = Field(default_factory=list, description="files, or arrays with their shapes")
    tables: dict[str, list[Column]] = Field(
        default_factory=dict, description="columns of a folder's tables, by file, of the first few that are not large"
    )

    def column(self, name: str) -> Column | None:
        return next((column for column in self.columns if column.name == name), None)


def look(path: Path) -> Sight:
    """Return what lies at `path`. Raises ToolError if nothing does, or nothing that can be read."""
    if path.is_dir():
        parts = sorted(each.name for each in path.iterdir() if not each.name.startswith("."))[:MOST]
        return Sight(path=str(path), kind="folder", parts=parts, tables=_tables(path, parts))
    if path.is_file() and (rows := particle_rows(path)) is not None:
        # Read as a table, a black box would take 17 GB.
        return Sight(path=str(path), kind="arrays", rows=rows, parts=[f"{PARTICLES} ({rows}, {UNLABELLED // 3}, 3)"])
    if path.name.lower().endswith(SUFFIXES):
        try:
            table = read_table(path)
        except ToolError:
            if path.suffix.lower() not in (".h5", ".hdf5"):
                raise
        else:
            columns = [_column(name, values) for name, values in list(table.items())[:MOST]]
            return Sight(path=str(path), kind="table", rows=len(next(iter(table.values()))), columns=columns)
    return Sight(path=str(path), kind="arrays", parts=_arrays(path))


def _tables(folder: Path, parts: list[str]) -> dict[str, list[Column]]:
    """Return the columns of tables in a folder that take no time to read, by file."""
    found: dict[str, list[Column]] = {}
    for path in (folder / part for part in parts):
        if len(found) == FEW or not path.name.lower().endswith(QUICK) or path.stat().st_size > LARGE:
            continue
        try:
            table = read_table(path)
        except ToolError:
            continue  # whoever needs it says what is wrong with it
        found[path.name] = [_column(name, values) for name, values in list(table.items())[:MOST]]
    return found


def _column(name: str, values: NDArray[Any]) -> Column:
    if is_label(name):
        return Column(name=name, kind="label")
    if values.dtype.kind not in "fiub":
        distinct = np.unique(values)
        return Column(name=name, kind="text", values=[str(v)[:40] for v in distinct] if len(distinct) <= FEW else [])
    finite = np.isfinite(values)
    kept = values[finite].astype(np.float64)
    low, high = (float(kept.min()), float(kept.max())) if len(kept) else (None, None)
    return Column(name=name, kind="number", low=low, high=high, not_finite=int((~finite).sum()))


def _arrays(path: Path) -> list[str]:
    """Return the arrays of an HDF5 or npy file, `name (shape)`."""
    if not path.is_file():
        raise ToolError("path", str(path), "no such file or folder")
    if path.suffix == ".npy":
        try:
            return [f"{path.stem} {np.load(path, mmap_mode='r', allow_pickle=False).shape}"]
        except (OSError, ValueError, EOFError) as error:
            raise ToolError("path", str(path), f"not a readable npy file ({error})") from None
    if magic_of(path) != HDF5:
        raise ToolError("path", str(path), f"neither a table ({', '.join(SUFFIXES)}) nor HDF5")
    found: list[str] = []
    with open_hdf5(path) as file:
        file.visititems(lambda name, data: found.append(f"{name} {data.shape}") if hasattr(data, "shape") else None)
    return found[:MOST]
