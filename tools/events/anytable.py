"""Reads tables as people have them: CSV, parquet, npz, ROOT trees, HDF5 (frames of pandas, or data sets as columns)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tools.contract import ToolError
from tools.events.frame import open_frame
from tools.hdf5 import nodes, open_hdf5

SUFFIXES = (".csv", ".csv.gz", ".txt", ".parquet", ".h5", ".hdf5", ".npz", ".root")


def read_table(path: Path) -> dict[str, NDArray[Any]]:
    """Return the columns of a table by name: numbers (n,) or text. Raises ToolError for a file that is none.

    Jagged or nested columns are left out.
    """
    if not path.is_file():
        raise ToolError("path", str(path), "no such file")
    if not path.name.lower().endswith(SUFFIXES):
        raise ToolError("path", str(path), f"a table in a file ending in {', '.join(SUFFIXES)}")
    try:
        columns = _read(path)
    except ToolError:
        raise
    except Exception as error:  # each library has its own exceptions
        raise ToolError("path", str(path), f"cannot be read as a table: {error}") from None
    found = {str(name): values for name, values in columns.items() if values.ndim == 1 and values.dtype != object}
    if not found or not len(next(iter(found.values()))):
        raise ToolError("path", str(path), "the table has no rows" if found else "no column of plain numbers or text")
    return found


def _read(path: Path) -> dict[str, NDArray[Any]]:
    import pandas as pd

    suffix = path.suffix.lower()
    if suffix == ".npz":
        with np.load(path, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files}
    if suffix == ".root":
        return _root(path)
    if suffix in (".h5", ".hdf5"):
        return _hdf5(path)
    frame = pd.read_parquet(path) if suffix == ".parquet" else pd.read_csv(path, sep=_separator(path), comment="#")
    return {name: _plain(frame[name]) for name in frame.columns}


def _plain(column: Any) -> NDArray[Any]:
    """Return a column of a frame as an array of numbers, or of text if it holds nothing else."""
    values = column.to_numpy()
    if values.dtype == object and all(isinstance(value, str) for value in values):
        return np.asarray(values, dtype=np.str_)
    return np.asarray(values)


def _separator(path: Path) -> str:
    """Return what separates the columns of a text file: the first of comma, semicolon, tab in its header; or space."""
    import gzip

    with gzip.open(path, "rt") if path.suffix == ".gz" else path.open() as file:
        header = next((line for line in file if line.strip() and not line.startswith("#")), "")
    return next((each for each in (",", ";", "\t") if each in header), r"\s+")


def _hdf5(path: Path) -> dict[str, NDArray[Any]]:
    """Return the data sets of one dimension in the file, or the columns of its frame."""
    found: dict[str, NDArray[Any]] = {}
    with open_hdf5(path) as file:
        frames = [name for name, group in nodes(path, file) if hasattr(group, "keys") and "axis0" in group]
        if "axis0" not in file and not frames:
            file.visititems(lambda name, data: found.update({name: data[:]}) if _is_column(data) else None)
            if len({len(values) for values in found.values()}) > 1:
                raise ToolError("path", str(path), "data sets of different lengths are no table")
            short = {name.rpartition("/")[2]: values for name, values in found.items()}
            return short if len(short) == len(found) else found
    with open_frame(path) as frame:
        return dict(zip(frame.names, frame.read().T, strict=True))


def _is_column(data: Any) -> bool:
    return getattr(data, "ndim", 0) == 1 and data.dtype.kind in "fiub"


def _root(path: Path) -> dict[str, NDArray[Any]]:
    """Return the columns of the only tree of a ROOT file, or of its largest."""
    try:
        import uproot
    except ImportError:
        raise ToolError("path", str(path), "ROOT files need uproot: pip install 'beamcrew[tools]'") from None
    with uproot.open(path) as file:
        trees = [file[name] for name, kind in file.classnames().items() if kind in ("TTree", "ROOT::RNTuple")]
        if not trees:
            raise ToolError("path", str(path), "holds no tree")
        tree = max(trees, key=lambda tree: tree.num_entries)
        return dict(tree.arrays(library="np").items())
