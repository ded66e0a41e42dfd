"""Parquet files of flat columns of numbers."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from sandbox.reader.files import UnsafeFile

NUMBERS = ("BOOLEAN", "INT32", "INT64", "FLOAT", "DOUBLE")  # parquet's physical types that are numbers
THRIFT_LIMIT = 1 << 20  # bytes and items in parquet's own metadata


def arrays(
    relative: str, data: memoryview, max_rows: int, max_columns: int, columns: Sequence[str] | None
) -> dict[str, np.ndarray]:
    """Return the columns, all or those named, if they are plain numbers and not too many. Raises UnsafeFile."""
    try:
        file = pq.ParquetFile(
            pa.BufferReader(pa.py_buffer(data)),
            thrift_string_size_limit=THRIFT_LIMIT,
            thrift_container_size_limit=THRIFT_LIMIT,
        )
        names = _check_parquet(relative, file.metadata, max_rows, max_columns, columns)
        table = file.read(columns=names, use_threads=False)
        found = {name: table.column(name).to_numpy() for name in names}
    except (pa.ArrowException, OSError, ValueError, LookupError, TypeError) as error:
        if isinstance(error, UnsafeFile):
            raise
        raise UnsafeFile(relative, f"not a parquet file of numbers: {error}") from error
    if odd := [name for name, array in found.items() if array.dtype.kind not in "biuf"]:
        raise UnsafeFile(relative, f"column {odd[0]!r} does not hold plain numbers")
    return found


def sample() -> bytes:
    """Return a small file of this format."""
    pq.write_table(pa.table({"a": [0.0, None], "b": [1, 2]}), file := io.BytesIO(), compression="zstd")
    return file.getvalue()


def _check_parquet(
    relative: str, metadata: Any, max_rows: int, max_columns: int, columns: Sequence[str] | None
) -> list[str]:
    """Check that the file is flat and small enough, and return the names of the columns to read."""
    if metadata.num_rows > max_rows:
        raise UnsafeFile(relative, f"{metadata.num_rows} rows, {max_rows} are allowed")
    if metadata.num_columns > max_columns:
        raise UnsafeFile(relative, f"{metadata.num_columns} columns, {max_columns} are allowed")
    schema = [metadata.schema.column(k) for k in range(metadata.num_columns)]
    names = [column.name for column in schema] if columns is None else list(columns)
    if len(set(names)) < len(names):
        raise UnsafeFile(relative, f"names a column twice: {names}")
    if missing := set(names) - {column.name for column in schema}:
        raise UnsafeFile(relative, f"no column {sorted(missing)[0]!r}, it has {[column.name for column in schema]}")
    for column in schema:
        plain = column.path == column.name and column.max_repetition_level == 0
        logical = column.logical_type.type in ("NONE", "INT")
        if column.name in names and not (plain and logical and column.physical_type in NUMBERS):
            raise UnsafeFile(relative, f"column {column.name!r} does not hold plain numbers")
    groups = [metadata.row_group(k) for k in range(metadata.num_row_groups)]
    if sum(group.num_rows for group in groups) != metadata.num_rows or any(group.num_rows < 0 for group in groups):
        raise UnsafeFile(relative, f"its row groups do not add up to {metadata.num_rows} rows")
    chunks = [group.column(k) for group in groups for k in range(metadata.num_columns)]
    if any(group.column(k).num_values != group.num_rows for group in groups for k in range(metadata.num_columns)):
        raise UnsafeFile(relative, "a column does not have a value for each row")
    unpacked = sum(chunk.total_uncompressed_size for chunk in chunks)
    allowed = 16 * max_rows * max_columns + THRIFT_LIMIT  # 8 bytes per number, and as much again for dictionaries
    if unpacked > allowed or any(chunk.total_uncompressed_size < 0 for chunk in chunks):
        raise UnsafeFile(relative, f"unpacks to {unpacked} bytes, {allowed} are allowed")
    return names
