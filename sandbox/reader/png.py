"""`.png`: pixels only. Declared sizes are checked before anything is decompressed; texts and profiles are not used."""

from __future__ import annotations

import io
import struct

import numpy as np
from PIL import Image

from sandbox.reader.files import UnsafeFile

START = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"
MAX_PIXELS = 8 << 20


def size(relative: str, data: bytes, max_pixels: int) -> tuple[int, int]:
    """Return width and height that a picture declares. Raises UnsafeFile if it is no PNG, or larger than allowed."""
    if not data.startswith(START) or len(data) < 24:
        raise UnsafeFile(relative, "not a PNG picture")
    width, height = struct.unpack(">II", data[16:24])
    if not 0 < width * height <= max_pixels:
        raise UnsafeFile(relative, f"{width} x {height} pixels, {max_pixels} are allowed")
    return width, height


def arrays(relative: str, data: memoryview, side: int) -> dict[str, np.ndarray]:
    """Return `pixels` (height, width, 3), RGB on white, made smaller if a side is longer than `side` pixels."""
    size(relative, bytes(data[:24]), MAX_PIXELS)
    with Image.open(io.BytesIO(data), formats=("PNG",)) as image:
        picture = image.convert("RGBA")
    picture.thumbnail((side, side))
    white = Image.new("RGBA", picture.size, "white")
    return {"pixels": np.asarray(Image.alpha_composite(white, picture).convert("RGB"))}


def sample() -> bytes:
    """Return a small file of this format."""
    held = io.BytesIO()
    Image.new("RGB", (3, 2)).save(held, "PNG")
    return held.getvalue()
