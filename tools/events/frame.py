"""Pandas DataFrames in HDF5 ("fixed" format of DataFrame.to_hdf), read and written with h5py alone.

pandas itself would need PyTables, with a second build of the HDF5 library, and would unpickle whatever objects a
downloaded file holds. h5py reads only numbers, piece by piece; a test reads with pandas what is written here.

A frame is an HDF5 group with the column names `axis0`, the row index `axis1` and, for each data type, a block of
columns, `blockN_items` (names) and `blockN_values` (rows x names). Bare 2-d data sets can be read too, as frames
without names.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tools.contract import ToolError
from tools.files import written
from tools.hdf5 import nodes, open_hdf5, rows_of

GROUP = "df"
CHUNK_ROWS = 64


@dataclass(frozen=True)
class Frame:
    """An open frame with its `names` (empty for a bare data set), number of `rows` and of columns (`width`)."""

    path: Path
    names: tuple[str, ...]
    rows: int
    width: int
    blocks: tuple[tuple[Any, NDArray[np.int64]], ...]  # data set, positions of its columns in the frame

    def read(self, start: int = 0, stop: int | None = None) -> NDArray[np.float64]:
        """Return rows start..stop as a float64 array (rows, width); raises ToolError if they cannot be read."""
        stop = self.rows if stop is None else min(stop, self.rows)
        values = np.empty((max(stop - start, 0), self.width))
        for data, positions in self.blocks:
            values[:, positions] = rows_of(self.path, data, start, stop)
        return values


@contextmanager
def open_frame(path: Path) -> Iterator[Frame]:
    """Open the only frame, or else the only 2-d data set of numbers, in an HDF5 file.

    Raises ToolError as `open_hdf5` does and if the file holds no frame or several, FileNotFoundError if there is no
    file.
    """
    with open_hdf5(path) as file:
        groups, tables = _candidates(path, file)
        if len(groups) == 1:
            yield _frame(path, groups[0])
        elif not groups and len(tables) == 1:
            rows, width = tables[0].shape
            yield Frame(path, (), rows, width, ((tables[0], np.arange(width)),))
        else:
            found = [node.name for node in groups or tables]
            raise ToolError(
                "path", str(path), f"one pandas frame (format='fixed') or one 2-d data set is needed; it has {found}"
            )


def _candidates(path: Path, file: Any) -> tuple[list[Any], list[Any]]:
    """Return the frames and the 2-d data sets of numbers outside them; ToolError for frames of another format."""
    import h5py

    groups: list[Any] = []
    tables: list[Any] = []
    inside: list[str] = []  # names of groups that are pandas objects
    for name, node in nodes(path, file):
        if any(name.startswith(each) for each in inside):
            continue
        kind = node.attrs.get("pandas_type", b"")
        kind = kind.decode(errors="replace") if isinstance(kind, bytes) else str(kind)
        if isinstance(node, h5py.Group) and (kind or "axis0" in node):
            inside.append(name + "/")
            if "axis0" in node and "block0_values" in node:
                groups.append(node)
            elif kind.startswith("frame"):
                how = "columns of several levels" if kind == "frame" else "the format 'table'"
                allowed = f"{name} is a pandas frame with {how}; save it with plain columns and format='fixed'"
                raise ToolError("path", str(path), allowed)
        elif isinstance(node, h5py.Dataset) and node.ndim == 2 and node.dtype.kind in "fiu":
            tables.append(node)
    return groups, tables


def _frame(path: Path, group: Any) -> Frame:
    """Return a frame with its columns of numbers; those of text and other objects are left out."""
    names = _labels(path, group["axis0"])
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ToolError("names", twice, f"each name once; {path} has two columns of this name")
    pairs = [
        (group[f"block{number}_values"], _labels(path, group[f"block{number}_items"]))
        for number in range(sum(key.endswith("_values") for key in group))
    ]
    pairs = [(values, items) for values, items in pairs if values.ndim == 2 and values.dtype.kind in "fiub"]
    if not pairs:
        raise ToolError("path", str(path), f"{group.name} has no column of numbers; it has {list(names)[:20]}")
    numbers = {item for _, items in pairs for item in items}
    names = tuple(name for name in names if name in numbers)
    position = {name: i for i, name in enumerate(names)}
    blocks = tuple((values, np.array([position[item] for item in items])) for values, items in pairs)
    return Frame(path, names, len(pairs[0][0]), len(names), blocks)


def _labels(path: Path, data: Any) -> tuple[str, ...]:
    return tuple(item.decode() if isinstance(item, bytes) else str(item) for item in rows_of(path, data))


def write_frame(path: Path, chunks: Iterable[NDArray[np.float32]], names: tuple[str, ...] | None = None) -> None:
    """Write chunks of rows, each (n, width), as one frame `df`: float32, gzip, readable by pandas too.

    `names` are the column names, by default the numbers 0 .. width-1 as in the official LHCO
    files. The file appears whole or not at all. Raises ToolError if there is no chunk.
    """
    import h5py

    with written(path) as part, h5py.File(part, "w", locking=False) as file:
        group = file.create_group(GROUP)
        values = None
        for chunk in chunks:
            if values is None:
                width = chunk.shape[1]
                values = group.create_dataset(
                    "block0_values",
                    shape=(0, width),
                    maxshape=(None, width),
                    chunks=(CHUNK_ROWS, width),
                    dtype=np.float32,
                    compression="gzip",
                    shuffle=True,
                )
            filled = len(values)
            values.resize(filled + len(chunk), axis=0)
            values[filled:] = chunk
        if values is None:
            raise ToolError("chunks", [], "at least one chunk of rows is needed")
        labels = np.arange(values.shape[1]) if names is None else np.array(names, dtype="S")
        group["axis0"], group["axis1"], group["block0_items"] = labels, np.arange(len(values)), labels
        _describe(group, "integer" if names is None else "string")


def _describe(group: Any, kind: str) -> None:
    """Set the attributes by which PyTables and pandas recognise a frame."""

    def put(node: Any, words: dict[str, str]) -> None:
        import h5py

        for key, word in words.items():  # PyTables reads text back only from fixed-length UTF-8
            node.attrs.create(key, word.encode(), dtype=h5py.string_dtype("utf-8", len(word)))

    words = {"pandas_type": "frame", "pandas_version": "0.15.2", "encoding": "UTF-8", "errors": "strict"}
    words |= {f"{axis}_variety": "regular" for axis in ("axis0", "axis1", "block0_items")}
    put(group, {**words, "CLASS": "GROUP", "VERSION": "1.0"})
    group.attrs.update({"ndim": 2, "nblocks": 1})
    for name, index in {"axis0": kind, "axis1": "integer", "block0_items": kind, "block0_values": None}.items():
        put(group[name], {"CLASS": "ARRAY" if index else "CARRAY", "VERSION": "2.4", "FLAVOR": "numpy"})
        group[name].attrs["transposed"] = np.uint8(1)
        if index:
            put(group[name], {"kind": index})
