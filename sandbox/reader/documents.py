"""JSON and PNG."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

from sandbox.reader.files import UnsafeFile, read_bytes

PNG_START = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"


def read_json(workspace: Path, relative: str, max_bytes: int = 1 << 20) -> Any:
    """A JSON document; NaN and Infinity, which are not JSON, are refused."""

    def refuse(name: str) -> None:
        raise UnsafeFile(relative, f"{name} is not JSON")

    try:
        return json.loads(read_bytes(workspace, relative, max_bytes).decode(), parse_constant=refuse)
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UnsafeFile(relative, f"not JSON: {error}") from error


def read_png(workspace: Path, relative: str, max_bytes: int = 4 << 20, max_pixels: int = 16 << 20) -> bytes:
    """A picture, as it is, that begins like a PNG and announces no more than `max_pixels`."""
    data = read_bytes(workspace, relative, max_bytes)
    if not data.startswith(PNG_START) or len(data) < 24:
        raise UnsafeFile(relative, "not a PNG picture")
    width, height = struct.unpack(">II", data[16:24])
    if not 0 < width * height <= max_pixels:
        raise UnsafeFile(relative, f"{width} x {height} pixels, {max_pixels} are allowed")
    return data
