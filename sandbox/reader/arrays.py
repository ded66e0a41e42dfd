"""Files of arrays: found and read here, parsed in a process that a hostile file may have to itself."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from sandbox.reader.files import read_bytes
from sandbox.reader.parsing import parsed


def read_npz(workspace: Path, relative: str, max_bytes: int, max_values: int) -> dict[str, np.ndarray]:
    """Arrays of plain numbers (NaN among them), of at most `max_values` together. Raises UnsafeFile.

    `max_bytes` is the size of the file; what it unpacks to is bounded by `max_values`. Objects, records, texts and
    complex numbers are refused: nothing is unpickled.
    """
    data = read_bytes(workspace, relative, max_bytes)
    return parsed("npz", relative, data, {"max_values": max_values}, max_values)


def read_safetensors(workspace: Path, relative: str, max_bytes: int, max_values: int) -> dict[str, np.ndarray]:
    """The same of a .safetensors file, whose arrays lie one behind the other and fill it, as the format demands."""
    data = read_bytes(workspace, relative, max_bytes)
    return parsed("safetensors", relative, data, {"max_values": max_values}, max_values)


def read_parquet(
    workspace: Path,
    relative: str,
    max_bytes: int,
    max_rows: int,
    max_columns: int,
    columns: Sequence[str] | None = None,
) -> dict[str, np.ndarray]:
    """Columns of numbers, all of them or those named; a missing value of a column becomes NaN. Raises UnsafeFile.

    The announced numbers of rows and columns and the sizes before and after decompression are looked at before
    anything is decoded, so that a small file cannot fill the memory.
    """
    options = {"max_rows": max_rows, "max_columns": max_columns, "columns": columns and list(columns)}
    data = read_bytes(workspace, relative, max_bytes)
    return parsed("parquet", relative, data, options, max_rows * max_columns)
