"""Event tables as parquet: float32 columns, byte-stream-split and zstd, optionally with rounded mantissas.

Whole numbers that float32 would round, such as event numbers, stay exact: their columns are float64.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tools.contract import ToolError
from tools.files import written

EXACT_32, EXACT_64 = 2**24, 2**53  # whole numbers up to here are exact in float32 and float64


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
    """Write columns of equal length as float32, whole numbers beyond EXACT_32 as float64.

    `bits` gives the number of mantissa bits kept, by column: such files are to be small, however long it takes to
    compress them. The file appears whole or not at all. Raises ToolError if the lengths differ.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    lengths = {name: len(values) for name, values in columns.items()}
    if len(set(lengths.values())) > 1:
        raise ToolError("columns", lengths, "all columns must have the same length")
    arrays: dict[str, NDArray[np.floating]] = {}
    for name, values in columns.items():
        if needs_float64(values):
            arrays[name] = np.asarray(values, dtype=np.float64)
            continue
        array = np.asarray(values, dtype=np.float32)
        arrays[name] = round_mantissa(array, bits[name]) if bits and name in bits else array
    with written(path) as part:
        pq.write_table(
            pa.table(arrays),
            part,
            compression="zstd",
            compression_level=19 if bits else 1,
            use_dictionary=False,
            column_encoding=dict.fromkeys(arrays, "BYTE_STREAM_SPLIT"),
        )


def particles_path(events: Path) -> Path:
    """Return the path of the file that holds the particles of these events, or their jets with particles."""
    return events.with_name(events.name + ".particles.h5")


def needs_float64(values: NDArray[Any]) -> bool:
    """Return True for whole numbers that float32 would round.

    >>> needs_float64(np.array([16_777_217.0])), needs_float64(np.array([0.1, 3e7]))
    (True, False)
    """
    return bool(np.any(np.abs(values) > EXACT_32) and np.all(values == np.rint(values)))


def read_columns(path: Path, names: list[str] | None = None) -> dict[str, NDArray[np.float64]]:
    """Return columns of a parquet file as float64, all finite.

    Raises ToolError for a file that is not parquet or is damaged, a missing column (listing the existing ones), two
    columns of one name, and a column with anything but finite numbers; FileNotFoundError if there is no file.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    if path.is_dir():
        raise ToolError("path", str(path), "a readable parquet file; this is a folder")
    try:
        with pq.ParquetFile(path) as file:
            there = file.schema_arrow.names
            table = file.read(columns=names)
    except FileNotFoundError:
        raise
    except (pa.ArrowException, OSError) as error:
        raise ToolError("path", str(path), f"not a readable parquet file ({error})") from None
    wanted = there if names is None else names
    if missing := [n for n in wanted if n not in there]:
        raise ToolError("names", missing, f"no such column in {path}; it has {there}")
    if twice := sorted({n for n in wanted if there.count(n) > 1}):
        raise ToolError("names", twice, f"each name once; {path} has two columns of this name")
    return {name: _numbers(path, name, table[name]) for name in wanted}


def _numbers(path: Path, name: str, column: Any) -> NDArray[np.float64]:
    """Return one column; ToolError unless it holds finite numbers that float64 can hold."""
    import pyarrow.types as of

    kind = column.type
    if not (of.is_integer(kind) or of.is_floating(kind) or of.is_boolean(kind) or of.is_decimal(kind)):
        allowed = f"every column must hold numbers; column {name!r} holds {kind}: remove it, or convert it to numbers"
        raise ToolError("path", str(path), allowed)
    if column.null_count:
        row = column.is_null().index(True).as_py()
        raise ToolError(
            "path",
            str(path),
            f"column {name!r} must be finite; row {row} is missing (null), {column.null_count} in all",
        )
    raw = column.to_numpy()
    if raw.dtype.kind in "iu" and len(raw) and max(-int(raw.min()), int(raw.max())) > EXACT_64:
        allowed = f"column {name!r} has whole numbers beyond 2^53, which would be rounded: number the events anew"
        raise ToolError("path", str(path), allowed)
    values = np.asarray(raw.astype(np.float64))
    if len(bad := np.flatnonzero(~np.isfinite(values))):
        more = f", and {len(bad) - 1} more rows" if len(bad) > 1 else ""
        allowed = f"column {name!r} must be finite; row {bad[0]} is not ({values[bad[0]]}){more}"
        raise ToolError("path", str(path), allowed)
    return values
