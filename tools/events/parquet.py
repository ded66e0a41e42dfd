"""Event tables as parquet: float32 columns, byte-stream-split and zstd, optionally with rounded mantissas."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tools.contract import ToolError
from tools.files import written


def round_mantissa(values: NDArray[np.floating], bits: int) -> NDArray[np.float32]:
    """Round float32 values to `bits` explicit mantissa bits, to nearest: relative error <= 2**-(bits + 1).

    The zeroed low bits make files of measured quantities small.

    >>> float(round_mantissa(np.array([np.pi]), 10)[0])
    3.140625
    """
    if not 1 <= bits <= 23:
        raise ToolError("bits", bits, "allowed are 1 to 23")
    raw = np.ascontiguousarray(values, dtype=np.float32).view(np.uint32).astype(np.uint64)
    drop = np.uint64(23 - bits)
    half = np.uint64((1 << (23 - bits)) >> 1)
    return ((raw + half) >> drop << drop).astype(np.uint32).view(np.float32)


def write_events(
    path: Path, columns: Mapping[str, NDArray[np.floating]], bits: Mapping[str, int] | None = None
) -> None:
    """Write columns of equal length; `bits` gives the number of mantissa bits kept, by column.

    The file appears whole or not at all. Raises ToolError if the lengths differ.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    lengths = {name: len(values) for name, values in columns.items()}
    if len(set(lengths.values())) > 1:
        raise ToolError("columns", lengths, "all columns must have the same length")
    arrays = {}
    for name, values in columns.items():
        array = np.asarray(values, dtype=np.float32)
        arrays[name] = round_mantissa(array, bits[name]) if bits and name in bits else array
    with written(path) as part:
        pq.write_table(
            pa.table(arrays),
            part,
            compression="zstd",
            compression_level=19,
            use_dictionary=False,
            column_encoding=dict.fromkeys(arrays, "BYTE_STREAM_SPLIT"),
        )


def particles_path(events: Path) -> Path:
    """Return the path of the file that holds the particles of these events, or their jets with particles."""
    return events.with_name(events.name + ".particles.h5")


def read_columns(path: Path, names: list[str] | None = None) -> dict[str, NDArray[np.float64]]:
    """Return columns of a parquet file as float64.

    Raises ToolError for a file that is not parquet, a missing column (listing the existing
    ones) and a column that does not hold numbers; FileNotFoundError if there is no file.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(path)
    except pa.ArrowInvalid as error:
        raise ToolError("path", str(path), f"not a readable parquet file ({error})") from None
    wanted = table.column_names if names is None else names
    missing = [n for n in wanted if n not in table.column_names]
    if missing:
        raise ToolError("names", missing, f"no such column in {path}; it has {table.column_names}")
    try:
        return {name: table[name].to_numpy().astype(np.float64) for name in wanted}
    except (ValueError, TypeError):
        types = {name: str(table.schema.field(name).type) for name in wanted}
        raise ToolError("path", str(path), f"every column must hold numbers; the types are {types}") from None
