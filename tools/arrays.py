"""Arrays as parquet files: they pass between steps as references, never through a prompt."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from tools.contract import Frozen, ToolError
from tools.events.parquet import read_columns, write_events
from tools.files import below


class ArrayRef(Frozen):
    """Reference to a file of numeric columns of equal length, with its contents when it was written."""

    path: str
    columns: list[str]
    dtype: str = "float32"
    units: dict[str, str] = Field(default_factory=dict, description="by column; columns not listed are dimensionless")
    rows: int
    sha256: str


def load_arrays(path: str, field: str, names: list[str] | None = None) -> dict[str, NDArray[np.float64]]:
    """Read columns of a parquet file, all finite; ToolError names the request's `field` if the file is invalid or has
    no rows.
    """
    try:
        columns = read_columns(Path(path), names)
    except ToolError as error:
        raise ToolError(field, path, error.allowed) from None
    except FileNotFoundError:
        raise ToolError(field, path, "a readable parquet file; there is no such file") from None
    except OSError as error:
        raise ToolError(field, path, f"a readable parquet file ({error.strerror or error})") from None
    if not columns or not len(next(iter(columns.values()))):
        raise ToolError(field, path, "a file with events; it has no events")
    return columns


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def save_arrays(
    path: str, columns: Mapping[str, NDArray[np.floating]], units: Mapping[str, str] | None = None
) -> ArrayRef:
    """Write columns to a parquet file below the working directory and return its reference."""
    target = below("out", path, ".parquet")
    write_events(target, columns)
    rows = len(next(iter(columns.values())))
    return ArrayRef(path=path, columns=list(columns), units=dict(units or {}), rows=rows, sha256=sha256(target))
