"""Checks on the content of returned files: bombs, objects and invalid numbers, made by hostile code inside."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import numpy as np

from sandbox import reader
from sandbox.conformance.arena import Arena
from sandbox.conformance.check import check, expect
from sandbox.conformance.handback import plant, refused

BIG = 4 << 20  # bytes of a file
VALUES = 100_000  # numbers in it


def parquet(arena: Arena, name: str, columns: list[str] | None = None) -> tuple[Callable[..., Any], *tuple[Any, ...]]:
    """Return the call with which a task reads scores."""
    return reader.read_parquet, arena.box.workspace, name, BIG, VALUES, 4, columns


@check
def plain_formats(arena: Arena) -> None:
    """Plain numbers come back unchanged, in every supported format."""
    code = """
import numpy as np, pyarrow as pa, pyarrow.parquet as pq, struct
scores = np.linspace(0, 1, 50)
np.savez("plain.npz", score=scores)
pq.write_table(pa.table({"score": scores}), "plain.parquet")
open("plain.json", "w").write('{"mass": 3.5}')
header = json.dumps({"score": {"dtype": "F64", "shape": [50], "data_offsets": [0, 400]}}).encode()
open("plain.safetensors", "wb").write(struct.pack("<Q", len(header)) + header + scores.tobytes())
"""
    plant(arena, code)
    workspace = arena.box.workspace
    function, *words = parquet(arena, "plain.parquet")
    for got in (
        function(*words)["score"],
        reader.read_npz(workspace, "plain.npz", BIG, VALUES)["score"],
        reader.read_safetensors(workspace, "plain.safetensors", BIG, VALUES)["score"],
    ):
        expect(np.array_equal(got, np.linspace(0, 1, 50)), f"{got}")
    expect(reader.read_json(workspace, "plain.json") == {"mass": 3.5}, "another document")


@check
def parquet_bomb(arena: Arena) -> None:
    """A small parquet file that announces a gigabyte is refused before it is unpacked."""
    code = """
import numpy as np, pyarrow as pa, pyarrow.parquet as pq
zeros = pa.table({"score": np.zeros(4_000_000)})
with pq.ParquetWriter("bomb.parquet", zeros.schema, compression="zstd") as bomb:
    for _ in range(32): bomb.write_table(zeros)
assert os.stat("bomb.parquet").st_size < 4 << 20
"""
    plant(arena, code)
    refused(*parquet(arena, "bomb.parquet"))


@check
def parquet_bomb_beside(arena: Arena) -> None:
    """A parquet file with few numbers and one huge text is refused."""
    code = """
import pyarrow as pa, pyarrow.parquet as pq
table = pa.table({"score": [0.0], "text": ["x" * (64 << 20)]})
pq.write_table(table, "text.parquet", compression="zstd", use_dictionary=False)
assert os.stat("text.parquet").st_size < 1 << 20
"""
    plant(arena, code)
    refused(*parquet(arena, "text.parquet", ["score"]))


@check
def parquet_of_objects(arena: Arena) -> None:
    """A parquet file with anything but plain numbers is refused: lists, records, texts, bytes, times."""
    code = """
import pyarrow as pa, pyarrow.parquet as pq
kinds = {"list": [[1.0]], "record": [{"a": 1.0}], "text": ["1"], "bytes": [b"1"],
         "time": pa.array([1], pa.timestamp("s"))}
for name, values in kinds.items(): pq.write_table(pa.table({"score": values}), f"{name}.parquet")
"""
    plant(arena, code)
    for name in ("list", "record", "text", "bytes", "time"):
        refused(*parquet(arena, f"{name}.parquet"))


TRAP = """
import pathlib, pickle
class Trap:
    def __reduce__(self): return (pathlib.Path.touch, (pathlib.Path(sys.argv[1]),))
"""


@check
def pickle_in_parquet(arena: Arena) -> None:
    """Code hidden in the type of a parquet column does not run on the host."""
    code = """
import pyarrow as pa, pyarrow.parquet as pq
marks = {"ARROW:extension:name": "arrow.py_extension_type", "ARROW:extension:metadata": pickle.dumps(Trap())}
field = pa.field("score", pa.float64(), metadata=marks)
pq.write_table(pa.table([[0.0]], schema=pa.schema([field])), "trap.parquet")
"""
    sprung = arena.scratch / "sprung-parquet"
    plant(arena, TRAP + code, sprung)
    function, *words = parquet(arena, "trap.parquet")
    with contextlib.suppress(reader.UnsafeFile):
        function(*words)
    expect(not sprung.exists(), "it ran")


@check
def pickle_in_npz(arena: Arena) -> None:
    """An array of objects, which is code, is refused and does not run on the host."""
    sprung = arena.scratch / "sprung-npz"
    plant(arena, TRAP + "import numpy as np\nnp.savez('trap.npz', score=np.array([Trap()], dtype=object))", sprung)
    refused(reader.read_npz, arena.box.workspace, "trap.npz", BIG, VALUES)
    expect(not sprung.exists(), "it ran")


@check
def pickle_as_anything(arena: Arena) -> None:
    """A pickle under the name of any supported format is refused and does not run on the host."""
    kinds = ("json", "parquet", "npz", "safetensors", "png")
    sprung = arena.scratch / "sprung"
    code = f"for kind in {kinds}: open('trap.' + kind, 'wb').write(pickle.dumps(Trap()))"
    plant(arena, TRAP + code.replace("trap.", "pickle."), sprung)
    workspace = arena.box.workspace
    refused(reader.read_json, workspace, "pickle.json")
    refused(reader.read_png, workspace, "pickle.png")
    refused(*parquet(arena, "pickle.parquet"))
    refused(reader.read_npz, workspace, "pickle.npz", BIG, VALUES)
    refused(reader.read_safetensors, workspace, "pickle.safetensors", BIG, VALUES)
    expect(not sprung.exists(), "it ran")


@check
def npz_bomb(arena: Arena) -> None:
    """A small .npz file that unpacks to far more is refused, whether or not its header says so."""
    code = """
import io, numpy as np, zipfile
np.savez_compressed("bomb.npz", score=np.zeros(16_000_000))
header = io.BytesIO()
np.lib.format.write_array_header_1_0(header, {"descr": "<f8", "fortran_order": False, "shape": (10,)})
with zipfile.ZipFile("liar.npz", "w", zipfile.ZIP_DEFLATED) as archive:
    archive.writestr("score.npy", header.getvalue() + bytes(128 << 20))
assert os.stat("bomb.npz").st_size < 4 << 20 and os.stat("liar.npz").st_size < 4 << 20
"""
    plant(arena, code)
    for name in ("bomb.npz", "liar.npz"):
        refused(reader.read_npz, arena.box.workspace, name, BIG, VALUES)


@check
def safetensors_that_lie(arena: Arena) -> None:
    """A .safetensors file is refused whose header is longer than the file, or whose arrays overlap or end outside."""
    code = """
import struct
def write(name, header, data=bytes(16), length=None):
    text = json.dumps(header).encode()
    open(name, "wb").write(struct.pack("<Q", len(text) if length is None else length) + text + data)
one = lambda begin, end, shape: {"dtype": "F64", "shape": shape, "data_offsets": [begin, end]}
write("long.safetensors", {"a": one(0, 16, [2])}, length=1 << 60)
write("outside.safetensors", {"a": one(0, 1 << 40, [1 << 37])})
write("overlap.safetensors", {"a": one(0, 16, [2]), "b": one(8, 16, [1])})
write("negative.safetensors", {"a": one(-8, 8, [2])})
write("shape.safetensors", {"a": one(0, 16, [1 << 32, 1 << 32])})
"""
    plant(arena, code)
    for name in ("long", "outside", "overlap", "negative", "shape"):
        refused(reader.read_safetensors, arena.box.workspace, f"{name}.safetensors", BIG, VALUES)


@check
def json_nested_deep(arena: Arena) -> None:
    """JSON nested deeper than the stack is refused without a crash."""
    plant(arena, "open('deep.json', 'w').write('[' * 100_000); open('maps.json', 'w').write('{\"a\":' * 100_000)")
    for name in ("deep.json", "maps.json"):
        refused(reader.read_json, arena.box.workspace, name)


@check
def json_that_is_none(arena: Arena) -> None:
    """NaN, Infinity in any spelling, half a document, half a character, and non-UTF-8 text are refused as JSON."""
    texts = {
        "nan": b'{"mass": NaN}',
        "infinity": b"[-Infinity]",
        "half": b'{"mass": 3',
        "bytes": b'"\xff"',
        "empty": b"",
        "huge": b"[1e999]",
        "half a character": b'["\\ud800"]',
    }
    plant(arena, f"for name, text in {texts!r}.items(): open(name + '.json', 'wb').write(text)")
    for name in texts:
        refused(reader.read_json, arena.box.workspace, f"{name}.json")


@check
def json_with_a_huge_number(arena: Arena) -> None:
    """A number of a million digits in JSON is handled quickly."""
    plant(arena, "open('digits.json', 'w').write('9' * 1_000_000)")
    refused(reader.read_json, arena.box.workspace, "digits.json")


@check
def png_bomb(arena: Arena) -> None:
    """A picture that announces more pixels than allowed is refused, and so is anything that is not a picture."""
    code = """
import struct, zlib
def chunk(kind, data): return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
def picture(width, height): return chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
rows = chunk(b"IDAT", zlib.compress(bytes(64 << 20), 9))
open("bomb.png", "wb").write(b"\\x89PNG\\r\\n\\x1a\\n" + picture(1 << 16, 1 << 16) + rows + chunk(b"IEND", b""))
open("none.png", "wb").write(b"<svg onload='alert(1)'/>")
"""
    plant(arena, code)
    for name in ("bomb.png", "none.png"):
        refused(reader.read_png, arena.box.workspace, name)
