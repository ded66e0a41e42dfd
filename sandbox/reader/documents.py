"""Reading of JSON documents and PNG pictures."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from sandbox.reader import png
from sandbox.reader.files import UnsafeFile, read_bytes

PNG_START = png.START


def read_json(workspace: Path, relative: str, max_bytes: int = 1 << 20) -> Any:
    """Read a JSON document; non-finite numbers and text that cannot be encoded are refused."""

    def refuse(name: str) -> None:
        raise UnsafeFile(relative, f"{name} is not JSON")

    def finite(text: str) -> float:
        if not math.isfinite(number := float(text)):
            raise UnsafeFile(relative, f"{text:.20} is not a finite number")
        return number

    data = read_bytes(workspace, relative, max_bytes)
    try:
        document = json.loads(data.decode(), parse_constant=refuse, parse_float=finite)
        json.dumps(document, ensure_ascii=False).encode()  # an escape may stand for half a character
    except UnsafeFile:
        raise
    except (ValueError, RecursionError) as error:  # too many digits are also a ValueError
        raise UnsafeFile(relative, f"not JSON: {error}") from error
    return document


def read_png(workspace: Path, relative: str, max_bytes: int = 4 << 20, max_pixels: int = 16 << 20) -> bytes:
    """Return a picture unchanged, if it begins like a PNG and declares no more than `max_pixels`."""
    data = read_bytes(workspace, relative, max_bytes)
    png.size(relative, data, max_pixels)
    return data
