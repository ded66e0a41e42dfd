"""Reading of array files: found and read here, parsed in a separate process that a hostile file cannot escape."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from sandbox.reader.files import UnsafeFile, read_bytes
from sandbox.reader.parsing import parsed


def read_npz(workspace: Path, relative: str, max_bytes: int, max_values: int) -> dict[str, np.ndarray]:
    """Read arrays of plain numbers (NaN allowed), at most `max_values` in total. Raises UnsafeFile.

    `max_bytes` limits the size of the file, `max_values` that of its unpacked content. Objects, records, texts and
    complex numbers are refused: nothing is unpickled.
    """
    data = read_bytes(workspace, relative, max_bytes)
    return parsed("npz", relative, data, {"max_values": max_values}, max_values)


def read_safetensors(workspace: Path, relative: str, max_bytes: int, max_values: int) -> dict[str, np.ndarray]:
    """Read the same from a .safetensors file, whose arrays must be contiguous and fill it, as the format demands."""
    data = read_bytes(workspace, relative, max_bytes)
    return parsed("safetensors", relative, data, {"max_values": max_values}, max_values)


def pixels(relative: str, data: bytes, side: int) -> np.ndarray:
    """Return the pixels (height, width, 3) of a PNG file with this content, at most `side` on each side.

    Raises UnsafeFile. Nothing of the file but its colours comes out.
    """
    found = parsed("png", relative, data, {"side": side}, 3 * side * side).get("pixels")
    if found is None or found.ndim != 3 or found.shape[2] != 3 or found.dtype != np.uint8:
        raise UnsafeFile(relative, "is not read as a picture")
    return found


def read_parquet(
    workspace: Path,
    relative: str,
    max_bytes: int,
    max_rows: int,
    max_columns: int,
    columns: Sequence[str] | None = None,
) -> dict[str, np.ndarray]:
    """Read columns of numbers, all or those named; missing values become NaN. Raises UnsafeFile.

    The declared numbers of rows and columns and the sizes before and after decompression are checked before anything is
    decoded, so that a small file cannot fill the memory.
    """
    options = {"max_rows": max_rows, "max_columns": max_columns, "columns": columns and list(columns)}
    data = read_bytes(workspace, relative, max_bytes)
    return parsed("parquet", relative, data, options, max_rows * max_columns)
