"""The only way files leave a workspace: what lies there was made by generated code and is believed in nothing.

Each component of a path is opened by itself, never through a link, and what was checked is what is read: the checks
look at the open file. Formats are those that only hold numbers or pixels; nothing is ever unpickled or executed.
"""

from __future__ import annotations

import contextlib
import json
import os
import stat
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

NUMBERS = ("BOOLEAN", "INT32", "INT64", "FLOAT", "DOUBLE")  # parquet's physical types that are numbers
PNG_START = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"
THRIFT_LIMIT = 1 << 20  # bytes and items in parquet's own metadata


class UnsafeFile(ValueError):  # noqa: N818 - the file is unsafe, the reader did its work
    """A file that is not taken over: which one, and why. Good enough to be shown to the agent that made it."""

    def __init__(self, relative: str, reason: str) -> None:
        super().__init__(f"{relative!r}: {reason}")


class Listing(NamedTuple):
    """Regular files with their sizes in bytes, and what else lies there with the reason why it is left alone."""

    files: dict[str, int]
    refused: dict[str, str]


def read_bytes(workspace: Path, relative: str, max_bytes: int) -> bytes:
    """The content of one regular file of at most `max_bytes`."""
    with _opened(workspace, relative, os.O_RDONLY | os.O_NONBLOCK) as fd:
        if reason := _objection(os.fstat(fd)):
            raise UnsafeFile(relative, reason)
        with open(fd, "rb", closefd=False) as file:
            data = file.read(max_bytes + 1)
    if len(data) > max_bytes:
        raise UnsafeFile(relative, f"larger than {max_bytes} bytes")
    return data


def read_json(workspace: Path, relative: str, max_bytes: int = 1 << 20) -> Any:
    """A JSON document; NaN and Infinity, which are not JSON, are refused."""

    def refuse(name: str) -> None:
        raise UnsafeFile(relative, f"{name} is not JSON")

    try:
        return json.loads(read_bytes(workspace, relative, max_bytes).decode(), parse_constant=refuse)
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UnsafeFile(relative, f"not JSON: {error}") from error


def read_parquet(
    workspace: Path,
    relative: str,
    max_bytes: int,
    max_rows: int,
    max_columns: int,
    columns: Sequence[str] | None = None,
) -> dict[str, np.ndarray]:
    """Columns of numbers, all of them or those named; a missing value of a column becomes NaN.

    The announced numbers of rows and columns and the sizes before and after decompression are looked at before
    anything is decoded, so that a small file cannot fill the memory.
    """
    data = read_bytes(workspace, relative, max_bytes)
    try:
        file = pq.ParquetFile(
            pa.BufferReader(data), thrift_string_size_limit=THRIFT_LIMIT, thrift_container_size_limit=THRIFT_LIMIT
        )
        names = _check_parquet(relative, file.metadata, max_rows, max_columns, columns)
        table = file.read(columns=names, use_threads=False)
        arrays = {name: table.column(name).to_numpy() for name in names}
    except (pa.ArrowException, OSError, ValueError, MemoryError) as error:
        if isinstance(error, UnsafeFile):
            raise
        raise UnsafeFile(relative, f"not a parquet file of numbers: {error}") from error
    if odd := [name for name, array in arrays.items() if array.dtype.kind not in "biuf"]:
        raise UnsafeFile(relative, f"column {odd[0]!r} does not hold plain numbers")
    return arrays


def _check_parquet(
    relative: str, metadata: Any, max_rows: int, max_columns: int, columns: Sequence[str] | None
) -> list[str]:
    """The names of the columns to read, when the file is as flat and small as it has to be."""
    if metadata.num_rows > max_rows:
        raise UnsafeFile(relative, f"{metadata.num_rows} rows, {max_rows} are allowed")
    if metadata.num_columns > max_columns:
        raise UnsafeFile(relative, f"{metadata.num_columns} columns, {max_columns} are allowed")
    schema = [metadata.schema.column(k) for k in range(metadata.num_columns)]
    names = [column.name for column in schema] if columns is None else list(columns)
    if missing := set(names) - {column.name for column in schema}:
        raise UnsafeFile(relative, f"no column {sorted(missing)[0]!r}, it has {[column.name for column in schema]}")
    for column in schema:
        plain = column.path == column.name and column.max_repetition_level == 0
        logical = column.logical_type.type in ("NONE", "INT")
        if column.name in names and not (plain and logical and column.physical_type in NUMBERS):
            raise UnsafeFile(relative, f"column {column.name!r} does not hold plain numbers")
    groups = [metadata.row_group(k) for k in range(metadata.num_row_groups)]
    chunks = [group.column(k) for group in groups for k in range(metadata.num_columns)]
    unpacked = sum(chunk.total_uncompressed_size for chunk in chunks)
    allowed = 16 * max_rows * max_columns + THRIFT_LIMIT  # 8 bytes a number, and as much again for dictionaries
    if unpacked > allowed or any(chunk.num_values > metadata.num_rows for chunk in chunks):
        raise UnsafeFile(relative, f"unpacks to {unpacked} bytes, {allowed} are allowed")
    return names


def read_png(workspace: Path, relative: str, max_bytes: int = 4 << 20, max_pixels: int = 16 << 20) -> bytes:
    """A picture, as it is, that begins like a PNG and announces no more than `max_pixels`."""
    data = read_bytes(workspace, relative, max_bytes)
    if not data.startswith(PNG_START) or len(data) < 24:
        raise UnsafeFile(relative, "not a PNG picture")
    width, height = struct.unpack(">II", data[16:24])
    if not 0 < width * height <= max_pixels:
        raise UnsafeFile(relative, f"{width} x {height} pixels, {max_pixels} are allowed")
    return data


def list_files(workspace: Path, sub: str = ".", max_files: int = 1000) -> Listing:
    """What lies under `sub`, by paths relative to the workspace."""
    listing = Listing({}, {})
    with _opened(workspace, sub, os.O_RDONLY | os.O_DIRECTORY) as top:
        for folder, folders, names, fd in os.fwalk(".", dir_fd=top, follow_symlinks=False):
            for name in sorted(names + folders):
                path = str(PurePosixPath(sub, folder, name))
                status = os.stat(name, dir_fd=fd, follow_symlinks=False)
                if stat.S_ISDIR(status.st_mode):
                    continue
                if len(listing.files) + len(listing.refused) >= max_files:
                    raise UnsafeFile(sub, f"more than {max_files} files")
                if reason := _objection(status) or ("" if path.isprintable() else "unprintable name"):
                    listing.refused[path] = reason
                else:
                    listing.files[path] = status.st_size
    return listing


def _objection(status: os.stat_result) -> str:
    if stat.S_ISLNK(status.st_mode):
        return "a symbolic link"
    if not stat.S_ISREG(status.st_mode):
        return "not a regular file"
    return "has more than one hard link" if status.st_nlink > 1 else ""


@contextlib.contextmanager
def _opened(workspace: Path, relative: str, flags: int) -> Iterator[int]:
    """The file or folder at the end of a path, walked component by component without following a link."""
    path = PurePosixPath(relative)
    if path.is_absolute() or ".." in path.parts or "\0" in relative or not relative:
        raise UnsafeFile(relative, "not a path inside the workspace")
    with contextlib.ExitStack() as opened:

        def step(name: str, parent: int | None, how: int) -> int:
            fd = os.open(name, how | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
            opened.callback(os.close, fd)
            return fd

        try:
            fd = step(os.fspath(workspace), None, os.O_RDONLY | os.O_DIRECTORY)
            for name in path.parts[:-1]:
                fd = step(name, fd, os.O_RDONLY | os.O_DIRECTORY)
            fd = step(path.name or ".", fd, flags)
        except OSError as error:
            raise UnsafeFile(relative, f"{error.strerror} (links are not followed)") from error
        yield fd
