"""`.npz`: a zip file of `.npy` members. Every size is checked before anything is decompressed or allocated."""

from __future__ import annotations

import io
import struct
import tokenize
import warnings
import zipfile
import zlib
from typing import IO

import numpy as np
from numpy.lib import format as npy

from sandbox.reader.files import UnsafeFile
from sandbox.reader.plain import MAX_ARRAYS, NAME_MAX, Room, as_array, check_name

END = struct.Struct("<4s4H2LH")  # the end record of a zip file that has no comment
LOCATOR = 20  # bytes of the record before it in a file of more than 4 GiB or 65,535 members
ENTRY_MAX = 46 + NAME_MAX + 256  # bytes of a member in the central directory
HEADER_MAX = 12 + 10_000  # bytes; numpy itself refuses to parse more than 10,000 characters
BROKEN = (
    *(zipfile.BadZipFile, zlib.error, EOFError, OSError, NotImplementedError, RuntimeError, struct.error),
    *(ValueError, TypeError, SyntaxError, tokenize.TokenError, OverflowError, LookupError),
)


def arrays(relative: str, data: memoryview, max_values: int) -> dict[str, np.ndarray]:
    """Return the arrays of the file if they are plain numbers, at most `max_values` in total. Raises UnsafeFile."""
    _check_end(relative, data)
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # numpy's advice to the author of the file
            return _arrays(relative, archive, Room(relative, max_values), 8 * max_values)
    except BROKEN as error:
        if isinstance(error, UnsafeFile):
            raise
        raise UnsafeFile(relative, f"not a file of arrays: {str(error)[:200]}") from error


def sample() -> bytes:
    """Return a small file of this format."""
    np.savez_compressed(file := io.BytesIO(), a=np.zeros(2))
    return file.getvalue()


def _check_end(relative: str, data: memoryview) -> None:
    """Check the size of the central directory, which Python's zip reader reads whole however long it claims to be."""
    end = bytes(data[-END.size :])
    signature, *_, members, directory, _, comment = END.unpack(end) if len(end) == END.size else (b"", 0, 0, 0, 0)
    if signature != b"PK\5\6" or comment or bytes(data[-END.size - LOCATOR :]).startswith(b"PK\6\7"):
        raise UnsafeFile(relative, "not an .npz file as numpy writes it")
    if members > MAX_ARRAYS or directory > MAX_ARRAYS * ENTRY_MAX:
        raise UnsafeFile(relative, f"{members} arrays in {directory} bytes of names, {MAX_ARRAYS} are allowed")


def _arrays(relative: str, archive: zipfile.ZipFile, room: Room, max_unpacked: int) -> dict[str, np.ndarray]:
    members = archive.infolist()
    if len(members) > MAX_ARRAYS:
        raise UnsafeFile(relative, f"{len(members)} arrays, {MAX_ARRAYS} are allowed")
    unpacked = sum(member.file_size for member in members)
    allowed = max_unpacked + HEADER_MAX * len(members)
    if unpacked > allowed:
        raise UnsafeFile(relative, f"unpacks to {unpacked} bytes, {allowed} are allowed")
    found: dict[str, np.ndarray] = {}
    for member in members:
        name = member.filename.removesuffix(".npy")
        check_name(relative, name)
        if name == member.filename or name in found:
            raise UnsafeFile(relative, f"member {member.filename!r} is not one array of that name")
        if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise UnsafeFile(relative, f"{name!r} is compressed in a way that numpy does not use")
        with archive.open(member) as file:
            found[name] = _array(relative, name, file, member.file_size, room)
    return found


def _array(relative: str, name: str, file: IO[bytes], size: int, room: Room) -> np.ndarray:
    start = file.read(HEADER_MAX)
    head = io.BytesIO(start)
    version = npy.read_magic(head)
    if version not in ((1, 0), (2, 0)):
        raise UnsafeFile(relative, f"{name!r} has .npy format {version}, plain numbers need no more than 2.0")
    read_header = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
    shape, by_columns, dtype = read_header(head)
    if dtype.kind not in "biuf" or dtype.itemsize > 8:
        raise UnsafeFile(relative, f"{name!r} holds {str(dtype)[:80]}, not plain numbers")
    values = room.take(name, shape)
    if head.tell() + values * dtype.itemsize != size:
        raise UnsafeFile(relative, f"{name!r} announces {values} values of {dtype}, it has {size - head.tell()} bytes")
    return as_array(start[head.tell() :] + file.read(size), dtype, shape, by_columns)
