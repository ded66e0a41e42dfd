"""Event tables as parquet: float32 columns, byte-stream-split and zstd, optionally with rounded mantissas."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray


def round_mantissa(values: NDArray[np.floating], bits: int) -> NDArray[np.float32]:
    """Round float32 values to `bits` explicit mantissa bits, to nearest: relative error <= 2**-(bits + 1).

    The zeroed low bits are what makes a file of measured quantities small.
    >>> float(round_mantissa(np.array([np.pi]), 10)[0])
    3.140625
    """
    if not 1 <= bits <= 23:
        raise ValueError(f"bits={bits}: allowed are 1 to 23")
    raw = np.ascontiguousarray(values, dtype=np.float32).view(np.uint32).astype(np.uint64)
    drop = np.uint64(23 - bits)
    half = np.uint64((1 << (23 - bits)) >> 1)
    return ((raw + half) >> drop << drop).astype(np.uint32).view(np.float32)


def write_events(path: Path, columns: Mapping[str, NDArray[np.floating]], bits: Mapping[str, int] | None = None) -> None:
    """Write columns of equal length; `bits` gives the mantissa bits kept for a column. The file appears whole or not at all."""
    if len({len(v) for v in columns.values()}) > 1:
        raise ValueError(f"columns differ in length: { {k: len(v) for k, v in columns.items()} }")
    arrays = {}
    for name, values in columns.items():
        array = np.asarray(values, dtype=np.float32)
        arrays[name] = round_mantissa(array, bits[name]) if bits and name in bits else array
    part = path.with_name(path.name + ".part")
    pq.write_table(
        pa.table(arrays),
        part,
        compression="zstd",
        compression_level=19,
        use_dictionary=False,
        column_encoding={name: "BYTE_STREAM_SPLIT" for name in arrays},
    )
    part.replace(path)


def read_columns(path: Path, names: list[str] | None = None) -> dict[str, NDArray[np.float64]]:
    """Columns of a parquet file as float64; raises KeyError with the names there are when one is missing."""
    table = pq.read_table(path)
    wanted = table.column_names if names is None else names
    missing = [n for n in wanted if n not in table.column_names]
    if missing:
        raise KeyError(f"{path}: no column {missing}; it has {table.column_names}")
    return {n: table[n].to_numpy().astype(np.float64) for n in wanted}
