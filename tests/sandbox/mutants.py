"""Files made against the readers: good ones, damaged where their structure lies."""

from __future__ import annotations

import io
import json
import struct
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from sandbox import reader
from sandbox.reader import UnsafeFile

BIG, VALUES = 1 << 20, 20_000
EDGES = (0, 1, 0x7F, 0x80, 0xFF)
LENGTHS = (0, 1, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 0xFFFF)


def parquet(rng: np.random.Generator) -> bytes:
    n = int(rng.integers(1, 400))
    columns: dict[str, Any] = {"score": rng.normal(size=n), "event": np.arange(n), "flag": rng.random(n) < 0.5}
    if rng.random() < 0.5:
        columns["holes"] = pa.array(np.where(rng.random(n) < 0.3, None, 1.0), pa.float64())
    if rng.random() < 0.3:
        columns["few"] = rng.integers(0, 3, n).astype(np.float32)
    pq.write_table(
        pa.table(columns),
        file := io.BytesIO(),
        compression=str(rng.choice(["none", "zstd", "snappy", "gzip", "lz4", "brotli"])),
        use_dictionary=bool(rng.random() < 0.6),
        data_page_version=str(rng.choice(["1.0", "2.0"])),
        row_group_size=int(rng.integers(1, n + 1)) if n < 50 else n,
        write_statistics=bool(rng.random() < 0.5),
        column_encoding=None,
    )
    return file.getvalue()


def npz(rng: np.random.Generator) -> bytes:
    arrays = {f"a{k}": rng.normal(size=int(rng.integers(0, 60))) for k in range(int(rng.integers(1, 4)))}
    (np.savez_compressed if rng.random() < 0.5 else np.savez)(file := io.BytesIO(), **arrays)
    return file.getvalue()


def safetensors(rng: np.random.Generator) -> bytes:
    header, body = {}, b""
    for k in range(int(rng.integers(1, 4))):
        data = rng.normal(size=int(rng.integers(0, 60))).tobytes()
        header[f"a{k}"] = {"dtype": "F64", "shape": [len(data) // 8], "data_offsets": [len(body), len(body + data)]}
        body += data
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + body


def document(rng: np.random.Generator) -> bytes:
    value: Any = {"mass": 3.5, "list": [1, -2.5e10, None, True], "text": "\u202e\ud83d\ude00 and \\ud800", "deep": {}}
    for _ in range(int(rng.integers(0, 30))):
        value = [value] if rng.random() < 0.5 else {"x": value}
    return json.dumps(value).encode()


def png(rng: np.random.Generator) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    width, height = (int(n) for n in rng.integers(1, 20, 2))
    pixels = zlib.compress(bytes((width * 3 + 1) * height))
    start = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", start) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


FORMATS: dict[str, tuple[Callable[[np.random.Generator], bytes], Callable[[Path, str], Any]]] = {
    "parquet": (parquet, lambda folder, name: reader.read_parquet(folder, name, BIG, VALUES // 8, 8)),
    "npz": (npz, lambda folder, name: reader.read_npz(folder, name, BIG, VALUES)),
    "safetensors": (safetensors, lambda folder, name: reader.read_safetensors(folder, name, BIG, VALUES)),
    "json": (document, lambda folder, name: reader.read_json(folder, name)),
    "png": (png, lambda folder, name: reader.read_png(folder, name)),
}


def structure(kind: str, data: bytes) -> range:
    """Where the sizes, names and shapes of a file lie, as opposed to its numbers."""
    if kind == "parquet" and len(data) > 8:
        return range(max(4, len(data) - 8 - struct.unpack("<I", data[-8:-4])[0]), len(data))
    if kind == "npz":
        return range(max(0, data.rfind(b"PK\1\2", 0, data.find(b"PK\5\6"))), len(data))
    return range(min(len(data), 200))


def mutant(kind: str, data: bytes, rng: np.random.Generator) -> bytes:
    """The same with one to four changes, most of them in its structure."""
    made = bytearray(data)
    for _ in range(int(rng.integers(1, 5))):
        where = structure(kind, data) if rng.random() < 0.7 else range(len(made))
        at = min(int(rng.integers(where.start, max(where.stop, where.start + 1))), max(len(made) - 1, 0))
        match int(rng.integers(8)):
            case 0:
                made[at : at + 1] = bytes([int(rng.integers(256))])
            case 1:
                made[at : at + 1] = bytes([int(rng.choice(EDGES))])
            case 2:
                made[at : at + 1] = bytes([made[at] ^ 1 << int(rng.integers(8))]) if made else b""
            case 3:
                made[at : at + 4] = struct.pack("<I", int(rng.choice(LENGTHS)))
            case 4:  # a whole number of variable length, as thrift writes them
                made[at : at + int(rng.integers(1, 6))] = b"\xff" * int(rng.integers(1, 9)) + b"\x0f"
            case 5:
                del made[at : at + int(rng.integers(1, 9))]
            case 6:
                made[at:at] = made[at : at + int(rng.integers(1, 64))]
            case 7:
                start = int(rng.integers(len(made) + 1))
                made[at : at + 8] = made[start : start + 8]
    return bytes(made)


def tried(kind: str, count: int, seed: int, folder: Path) -> Iterator[tuple[bytes, str]]:
    """Mutants, and what the reader said of each: 'read', or why it refused. Whatever else it raises is let through."""
    make, read = FORMATS[kind]
    rng = np.random.default_rng([seed, list(FORMATS).index(kind)])
    good = b""
    for k in range(count):
        good = make(rng) if k % 20 == 0 else good
        data = mutant(kind, good, rng)
        (folder / "mutant").write_bytes(data)
        try:
            found = read(folder, "mutant")
        except UnsafeFile as error:
            yield data, error.reason
            continue
        if isinstance(found, dict) and kind not in ("json", "png"):
            assert all(isinstance(array, np.ndarray) and array.dtype.kind in "biuf" for array in found.values())
            assert sum(array.size for array in found.values()) <= VALUES
        yield data, "read"
