"""Check that data are a valid PNG and nothing else, before a browser decodes them."""

from __future__ import annotations

import struct
import zlib

from sandbox.reader import PNG_START

BYTES_MAX = 8 << 20
PIXELS_MAX = 16 << 20


def is_png(data: bytes) -> bool:
    """Return True for complete chunks with correct checksums from IHDR to IEND, nothing after, and a limited size."""
    if not data.startswith(PNG_START) or not 45 <= len(data) <= BYTES_MAX:
        return False
    width, height = struct.unpack(">II", data[16:24])
    return 0 < width * height <= PIXELS_MAX and _whole(data)


def _whole(data: bytes) -> bool:
    at, kind = 8, b""
    while at + 12 <= len(data) and kind != b"IEND":
        (length,) = struct.unpack(">I", data[at : at + 4])
        end = at + 8 + length
        kind = data[at + 4 : at + 8]
        if end + 4 > len(data) or zlib.crc32(data[at + 4 : end]) != int.from_bytes(data[end : end + 4], "big"):
            return False
        at = end + 4
    return kind == b"IEND" and at == len(data)
