"""Checks shared by all array formats: sizes are known before anything is allocated, and only numbers come out."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from sandbox.reader.files import UnsafeFile

MAX_ARRAYS = 256  # in one file
MAX_DIMENSIONS = 16
NAME_MAX = 200


class Room:
    """Budget: how many numbers a file may still announce."""

    def __init__(self, relative: str, max_values: int) -> None:
        self._relative, self._max, self._taken = relative, max_values, 0

    def take(self, name: str, shape: Sequence[int]) -> int:
        """Return the number of values of one array. Raises UnsafeFile if the arrays together announce too many."""
        if len(shape) > MAX_DIMENSIONS or not all(type(n) is int and n >= 0 for n in shape):
            raise UnsafeFile(self._relative, f"{name!r} has no shape that an array can have")
        # Integers do not overflow in Python; an axis of length 0 must not hide another one that is too long.
        self._taken += math.prod(n or 1 for n in shape)
        if self._taken > self._max:
            raise UnsafeFile(self._relative, f"{name!r} announces too much: {self._max} values are allowed in the file")
        return math.prod(shape)


def check_name(relative: str, name: str) -> None:
    """Raise UnsafeFile for a name unfit for messages and reports."""
    if not name or len(name) > NAME_MAX or not name.isprintable():
        raise UnsafeFile(relative, f"an array has the name {name[:NAME_MAX]!r}")


def as_array(
    data: bytes | bytearray | memoryview, dtype: np.dtype, shape: Sequence[int], by_columns: bool = False
) -> np.ndarray:
    """Return a copy of the bytes as an array in this machine's byte order; any nonzero boolean is true."""
    flat: np.ndarray
    if dtype.kind == "b":
        flat = np.frombuffer(data, np.uint8) != 0
    else:
        flat = np.frombuffer(data, dtype).astype(dtype.newbyteorder("="))
    return flat.reshape(tuple(shape), order="F" if by_columns else "C")
