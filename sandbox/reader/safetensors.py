"""`.safetensors`: the length of a JSON header, the header, the numbers.

Read here and not by the library of that name: the format is just these three parts, and the library is one more
compiled dependency, which checks that a file is valid but not that it is small enough for a grader.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Sequence
from typing import Any

import numpy as np

from sandbox.reader.files import UnsafeFile
from sandbox.reader.plain import MAX_ARRAYS, Room, as_array, check_name

HEADER_MAX = 1 << 20
DTYPES = {
    **{"BOOL": "?", "U8": "u1", "I8": "i1", "U16": "<u2", "I16": "<i2", "U32": "<u4", "I32": "<i4"},
    **{"U64": "<u8", "I64": "<i8", "F16": "<f2", "F32": "<f4", "F64": "<f8"},
}


def arrays(relative: str, data: memoryview, max_values: int) -> dict[str, np.ndarray]:
    """Return the arrays of the file if they are plain numbers, at most `max_values` in total. Raises UnsafeFile.

    As the format demands, they are contiguous and fill the file: no gaps, no overlaps, nothing after them.
    """
    length = struct.unpack("<Q", data[:8])[0] if len(data) >= 8 else 0
    if not 0 < length <= min(HEADER_MAX, len(data) - 8):
        raise UnsafeFile(relative, f"not a safetensors file: a header of {length} bytes in {len(data)} bytes")
    header = _parse(relative, bytes(data[8 : 8 + length]))
    body, room, place = data[8 + length :], Room(relative, max_values), 0
    tensors = [(name, *_checked(relative, name, entry, room)) for name, entry in header.items()]
    found: dict[str, np.ndarray] = {}
    for name, dtype, shape, begin, end in sorted(tensors, key=lambda tensor: tensor[3:]):
        if begin != place:
            raise UnsafeFile(relative, f"{name!r} begins at byte {begin}, where {place} is the next free one")
        if end > len(body):
            raise UnsafeFile(relative, f"{name!r} ends at byte {end} of {len(body)}")
        found[name] = as_array(body[begin:end], dtype, shape)
        place = end
    if place != len(body):
        raise UnsafeFile(relative, f"{len(body) - place} bytes belong to no array")
    return {name: found[name] for name in header}


def sample() -> bytes:
    """Return a small file of this format."""
    header = json.dumps({"a": {"dtype": "F64", "shape": [1], "data_offsets": [0, 8]}}).encode()
    return struct.pack("<Q", len(header)) + header + bytes(8)


def _parse(relative: str, text: bytes) -> dict[str, Any]:
    """Return the header without its metadata."""

    def once(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
        if len(found := dict(pairs)) < len(pairs):
            raise UnsafeFile(relative, "names an array twice")
        return found

    try:
        header = json.loads(text.decode(), object_pairs_hook=once)
    except (ValueError, RecursionError) as error:
        if isinstance(error, UnsafeFile):
            raise
        raise UnsafeFile(relative, f"the header is not JSON: {str(error)[:200]}") from error
    if not isinstance(header, dict):
        raise UnsafeFile(relative, "the header is not a JSON object")
    header.pop("__metadata__", None)
    if len(header) > MAX_ARRAYS:
        raise UnsafeFile(relative, f"{len(header)} arrays, {MAX_ARRAYS} are allowed")
    return header


def _checked(relative: str, name: str, entry: Any, room: Room) -> tuple[np.dtype, list[int], int, int]:
    """Return type, shape, first byte and the byte after the last, checked for consistency."""
    check_name(relative, name)
    if not isinstance(entry, dict) or entry.keys() != {"dtype", "shape", "data_offsets"}:
        raise UnsafeFile(relative, f"{name!r} is not described by dtype, shape and data_offsets")
    code, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(code, str) or code not in DTYPES:
        raise UnsafeFile(relative, f"{name!r} does not hold plain numbers: {', '.join(DTYPES)}")
    if not isinstance(shape, list) or not isinstance(offsets, list) or [type(n) for n in offsets] != [int, int]:
        raise UnsafeFile(relative, f"{name!r} has no shape and offsets in whole numbers")
    dtype, values = np.dtype(DTYPES[code]), room.take(name, shape)
    begin, end = offsets
    if begin < 0 or end - begin != values * dtype.itemsize:
        raise UnsafeFile(relative, f"{name!r} announces {values} values of {code}, which do not match its offsets")
    return dtype, shape, begin, end
