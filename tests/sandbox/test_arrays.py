"""The readers of arrays against files that lie: nothing is unpickled, and no memory is taken before sizes are known."""

from __future__ import annotations

import io
import json
import pickle
import struct
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox.reader import UnsafeFile, read_npz, read_safetensors

LIMITS = {"max_bytes": 1 << 20, "max_values": 1000}
ARRAYS = {
    "mass": np.array([3.5, np.nan, -np.inf]),
    "image": np.arange(24, dtype=np.float32).reshape(2, 3, 4),
    "label": np.array([True, False]),
    "index": np.array(7, dtype=np.int64),
    "none": np.zeros((0, 4), dtype=np.float16),
}
Read = Callable[..., dict[str, np.ndarray]]


def npz(arrays: dict[str, Any], packed: bool = True) -> bytes:
    file = io.BytesIO()
    (np.savez_compressed if packed else np.savez)(file, **arrays)
    return file.getvalue()


def zipped(members: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return file.getvalue()


def npy(header: str, body: bytes = b"", version: bytes = b"\1\0") -> bytes:
    return (
        b"\x93NUMPY" + version + struct.pack("<H" if version == b"\1\0" else "<I", len(header)) + header.encode() + body
    )


def described(descr: str = "'<f8'", shape: str = "(2,)") -> str:
    return f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}}}"


def tensors(header: Any, body: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + body


def entry(begin: int, end: int, dtype: str = "F64", shape: Any = None) -> dict[str, Any]:
    return {"dtype": dtype, "shape": [(end - begin) // 8] if shape is None else shape, "data_offsets": [begin, end]}


def safetensors(arrays: dict[str, np.ndarray]) -> bytes:
    names = {"f8": "F64", "f4": "F32", "b1": "BOOL", "i8": "I64", "f2": "F16"}
    header: dict[str, Any] = {"__metadata__": {"made": "by a test"}}
    body = b""
    for name, array in arrays.items():
        data = array.tobytes()
        header[name] = entry(len(body), len(body) + len(data), names[array.dtype.str[1:]], list(array.shape))
        body += data
    return tensors(header, body)


@pytest.fixture
def refused(tmp_path: Path) -> Callable[[Read, bytes, str], None]:
    def check(read: Read, data: bytes, reason: str) -> None:
        (tmp_path / "file").write_bytes(data)
        with pytest.raises(UnsafeFile, match=f"'file': .*{reason}"):
            read(tmp_path, "file", **LIMITS)

    return check


Refused = Callable[[Read, bytes, str], None]


@pytest.mark.parametrize(
    ("read", "data"),
    [
        (read_npz, npz(ARRAYS)),
        (read_npz, npz(ARRAYS, packed=False)),
        (read_npz, npz({name: np.array(array, order="F") for name, array in ARRAYS.items()})),
        (read_npz, npz({name: array.astype(array.dtype.newbyteorder(">")) for name, array in ARRAYS.items()})),
        (read_safetensors, safetensors(ARRAYS)),
    ],
    ids=["packed", "stored", "fortran", "big endian", "safetensors"],
)
def test_arrays_come_back_as_they_were(tmp_path: Path, read: Read, data: bytes) -> None:
    (tmp_path / "file").write_bytes(data)
    arrays = read(tmp_path, "file", **LIMITS)
    assert list(arrays) == list(ARRAYS)
    for name, array in arrays.items():
        np.testing.assert_array_equal(array, ARRAYS[name])
        assert (array.dtype, array.shape) == (ARRAYS[name].dtype, ARRAYS[name].shape)
        assert array.flags.writeable


@pytest.mark.parametrize("read", [read_npz, read_safetensors])
def test_caps(tmp_path: Path, read: Read) -> None:
    data = (npz if read is read_npz else safetensors)({"a": np.ones(600), "b": np.ones(600)})
    (tmp_path / "file").write_bytes(data)
    assert read(tmp_path, "file", max_bytes=len(data), max_values=1200)["b"].sum() == 600
    with pytest.raises(UnsafeFile, match="'b' announces too much: 1199 values are allowed"):
        read(tmp_path, "file", max_bytes=len(data), max_values=1199)
    with pytest.raises(UnsafeFile, match="larger than"):
        read(tmp_path, "file", max_bytes=len(data) - 1, max_values=1200)
    (tmp_path / "link").symlink_to("file")
    with pytest.raises(UnsafeFile, match="links are not followed"):
        read(tmp_path, "link", max_bytes=len(data), max_values=1200)


class Trap:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return (Path.touch, (self.path,))


def test_nothing_is_unpickled(tmp_path: Path, refused: Refused) -> None:
    trap = Trap(tmp_path / "sprung")
    objects = npz({"a": np.array([trap], dtype=object)})
    refused(read_npz, objects, "holds object, not plain numbers")
    refused(read_npz, zipped({"a.npy": pickle.dumps(trap)}), "not a file of arrays")
    refused(read_npz, pickle.dumps(trap), "not an .npz file")
    refused(read_npz, zipped({"data.pkl": pickle.dumps(trap)}), "not one array")
    refused(read_safetensors, pickle.dumps(trap), "not a safetensors file")
    assert not (tmp_path / "sprung").exists()
    np.load(io.BytesIO(objects), allow_pickle=True)["a"]
    assert (tmp_path / "sprung").exists(), "the trap would have worked"


@pytest.mark.parametrize(
    "array",
    [
        np.array(["text"]),
        np.array([b"bytes"]),
        np.array([1j]),
        np.array([(1, 2.0)], dtype=[("a", int), ("b", float)]),
        np.array(["2020-01-01"], dtype="M8[D]"),
        np.array([1], dtype=np.longdouble),
        np.zeros(1, dtype="V8"),
    ],
    ids=lambda array: str(array.dtype),
)
def test_an_npz_holds_numbers_only(refused: Refused, array: np.ndarray) -> None:
    refused(read_npz, npz({"a": array}), "not plain numbers")


@pytest.mark.parametrize(
    ("member", "reason"),
    [
        (npy(described(shape="(1 << 40,)")), "not a file of arrays"),
        (npy(described(shape="(1099511627776,)")), "too much"),
        (npy(described(shape="(65536, 65536, 65536, 65536)")), "too much"),
        (npy(described(shape="(0, 1099511627776)")), "too much"),
        (npy(described(shape="(-2,)"), bytes(16)), "no shape"),
        (npy(described(shape="(True, 2)"), bytes(16)), "no shape"),
        (npy(described(shape="(" + "1," * 50 + ")"), bytes(8)), "no shape"),
        (npy(described(shape=f"({'9' * 4000},)")), "too much"),
        (npy(described(), bytes(15)), "announces 2 values of float64, it has 15 bytes"),
        (npy(described(), bytes(17)), "announces 2 values of float64, it has 17 bytes"),
        (npy(described("'(9999,9999)f8'"), bytes(16)), "not plain numbers"),
        (npy(described() + " " * 10_000, bytes(16)), "not a file of arrays"),
        (npy("(" * 9000), "not a file of arrays"),
        (npy("{'descr': '''"), "not a file of arrays"),
        (npy(described(), bytes(16), b"\3\0"), "format"),
        (b"\x93NUMPY\2\0\xff\xff\xff\xff{}", "not a file of arrays"),
        (b"", "not a file of arrays"),
    ],
)
def test_npy_headers_that_lie(refused: Refused, member: bytes, reason: str) -> None:
    refused(read_npz, zipped({"a.npy": member}), reason)


def test_zip_files_that_are_no_npz(refused: Refused, tmp_path: Path) -> None:
    good = npy(described(), bytes(16))
    twice = zipped({"a.npy": good, "b.npy": good}).replace(b"b.npy", b"a.npy")
    refused(read_npz, twice, "not one array")
    refused(read_npz, zipped({".npy": good}), "has the name")
    refused(read_npz, zipped({"a\x1b[31m.npy": good}), "has the name")
    refused(read_npz, zipped({f"{'a' * 300}.npy": good}), "has the name")
    refused(read_npz, zipped({"a.npy": good}, zipfile.ZIP_LZMA), "compressed in a way")
    refused(read_npz, zipped({f"{k}.npy": good for k in range(300)}), "300 arrays in")
    refused(read_npz, zipped({"a.npy": good}) + b"tail", "not an .npz")
    encrypted = bytearray(zipped({"a.npy": good}))
    encrypted[encrypted.index(b"PK\1\2") + 8] |= 1
    refused(read_npz, bytes(encrypted), "encrypted")


def test_a_member_that_is_longer_than_it_says_is_cut_and_refused(refused: Refused) -> None:
    data = bytearray(zipped({"a.npy": npy(described(), bytes(1 << 24))}))
    data[(place := data.index(b"PK\1\2") + 24) : place + 4] = struct.pack("<I", len(npy(described())) + 16)
    refused(read_npz, bytes(data), "CRC")


def test_zip_bombs_take_no_memory(tmp_path: Path) -> None:
    """In a process that could not hold what they unpack to, or what they say that they are."""
    bombs = {
        "zeros": npz({"a": np.zeros(1 << 25)}),
        "many": npz({f"a{k}": np.zeros(1 << 19) for k in range(100)}),
        "directory": crowded(),
    }
    for name, data in bombs.items():
        (tmp_path / name).write_bytes(data)
    code = f"""
import resource, sys
from pathlib import Path
from sandbox.reader import UnsafeFile, read_npz
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for name in {sorted(bombs)}:
    try:
        read_npz(Path({str(tmp_path)!r}), name, max_bytes=64 << 20, max_values=1000)
    except UnsafeFile as error:
        print(error)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) >> 10)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    *lines, mib = done.stdout.splitlines()
    assert ["names" in lines[0], "unpacks to" in lines[1], "unpacks to" in lines[2]] == [True] * 3, lines
    assert int(mib) < 60


def crowded() -> bytes:
    """An honest little file, behind whose back 100,000 members are announced to a zip reader: 5 MB of names."""
    data = zipped({"a.npy": npy(described(), bytes(16))})
    start = data.index(b"PK\1\2")
    one = data[start : data.index(b"PK\5\6")]
    directory = one * 100_000
    end = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 1, 1, len(directory), start, 0)
    return data[:start] + directory + end


def test_a_second_end_record_is_not_looked_for(refused: Refused) -> None:
    """Zip64 has an end record of its own that replaces the other one: what was checked would not be what is read."""
    data = zipped({"a.npy": npy(described(), bytes(16))})
    end = data.index(b"PK\5\6")
    locator = struct.pack("<4sLQL", b"PK\6\7", 0, 0, 1)
    refused(read_npz, data[:end] + locator + data[end:], "not an .npz")


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "not a safetensors file"),
        (struct.pack("<Q", 1 << 63) + b"{}", "a header of"),
        (struct.pack("<Q", 3) + b"{}", "a header of 3 bytes in 10 bytes"),
        (tensors(b"[" * 5000), "not JSON"),
        (tensors(b"\xff{}"), "not JSON"),
        (tensors([1]), "not a JSON object"),
        (tensors(b'{"a": {}, "a": {}}'), "names an array twice"),
        (tensors({f"{k}": entry(0, 0) for k in range(300)}), "300 arrays"),
        (tensors({"a\n": entry(0, 0)}), "has the name"),
        (tensors({"a": [1, 2]}), "is not described by"),
        (tensors({"a": entry(0, 8) | {"more": 1}}, bytes(8)), "is not described by"),
        (tensors({"a": entry(0, 8, "BF16")}, bytes(8)), "does not hold plain numbers"),
        (tensors({"a": entry(0, 8) | {"dtype": ["F64"]}}, bytes(8)), "does not hold plain numbers"),
        (tensors({"a": entry(0, 8, shape=[1.0])}, bytes(8)), "no shape"),
        (tensors({"a": entry(0, 8, shape=[True])}, bytes(8)), "no shape"),
        (tensors({"a": entry(0, 8, shape=[-1])}, bytes(8)), "no shape"),
        (tensors({"a": entry(0, 8, shape=[1 << 62])}, bytes(8)), "too much"),
        (tensors(b'{"a":{"dtype":"U8","shape":[' + b"9" * 4000 + b'],"data_offsets":[0,1]}}', b"x"), "too much"),
        (tensors({"a": entry(0, 8) | {"data_offsets": [0.0, 8]}}, bytes(8)), "no shape and offsets"),
        (tensors({"a": entry(0, 16, shape=[1])}, bytes(16)), "do not match its offsets"),
        (tensors({"a": entry(16, 8, shape=[1])}, bytes(16)), "do not match its offsets"),
        (tensors({"a": entry(-8, 0)}, bytes(8)), "do not match its offsets"),
        (tensors({"a": entry(0, 16)}, bytes(8)), "ends at byte 16 of 8"),
        (tensors({"a": entry(0, 16), "b": entry(8, 24)}, bytes(24)), "'b' begins at byte 8, where 16"),
        (tensors({"a": entry(0, 8), "b": entry(0, 8)}, bytes(8)), "'b' begins at byte 0, where 8"),
        (tensors({"a": entry(8, 16)}, bytes(16)), "'a' begins at byte 8, where 0"),
        (tensors({"a": entry(0, 8)}, bytes(9)), "1 bytes belong to no array"),
    ],
)
def test_safetensors_that_lie(refused: Refused, data: bytes, reason: str) -> None:
    refused(read_safetensors, data, reason)


@pytest.mark.parametrize("read", [read_npz, read_safetensors])
@given(changes=st.lists(st.tuples(st.integers(0, 2000), st.binary(min_size=1, max_size=4)), min_size=1, max_size=4))
def test_a_damaged_file_is_refused_or_still_holds_numbers(
    tmp_path_factory: pytest.TempPathFactory, read: Read, changes: list[tuple[int, bytes]]
) -> None:
    folder = tmp_path_factory.getbasetemp()
    data = bytearray(npz(ARRAYS, packed=False) if read is read_npz else safetensors(ARRAYS))
    for place, change in changes:
        start = place % len(data)
        data[start : start + len(change)] = change
    (folder / "damaged").write_bytes(data)
    try:
        arrays = read(folder, "damaged", **LIMITS)
    except UnsafeFile:
        return
    assert all(array.dtype.kind in "biuf" for array in arrays.values())
