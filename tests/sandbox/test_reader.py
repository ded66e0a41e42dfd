"""The strict reader against what hostile code can leave in a workspace."""

from __future__ import annotations

import io
import os
import pickle
import struct
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from sandbox.reader import UnsafeFile, list_files, pixels, read_bytes, read_json, read_parquet, read_png

LIMITS = {"max_bytes": 1 << 20, "max_rows": 1000, "max_columns": 4}


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    (tmp_path / "labels.csv").write_text("secret")
    folder = tmp_path / "workspace"
    (folder / "step").mkdir(parents=True)
    (folder / "step" / "note.txt").write_text("fine")
    return folder


def scores(**columns: object) -> pa.Table:
    return pa.table(columns or {"score": np.linspace(0, 1, 10), "event": np.arange(10)})


def test_a_plain_file_is_read(workspace: Path) -> None:
    assert read_bytes(workspace, "step/note.txt", 4) == b"fine"
    assert read_bytes(workspace, "./step/note.txt", 4) == b"fine"


@pytest.mark.parametrize("path", ["../labels.csv", "step/../../labels.csv", "/etc/passwd", "", "step/\0"])
def test_paths_that_lead_out(workspace: Path, path: str) -> None:
    with pytest.raises(UnsafeFile, match="not a path inside the workspace"):
        read_bytes(workspace, path, 100)


def test_links_at_any_place(workspace: Path) -> None:
    (workspace / "file").symlink_to(workspace.parent / "labels.csv")
    (workspace / "folder").symlink_to(workspace.parent)
    for path in ("file", "folder/labels.csv"):
        with pytest.raises(UnsafeFile, match="links are not followed"):
            read_bytes(workspace, path, 100)
    with pytest.raises(UnsafeFile):
        list_files(workspace, "folder")


def test_hard_link(workspace: Path) -> None:
    os.link(workspace.parent / "labels.csv", workspace / "hard")
    with pytest.raises(UnsafeFile, match="more than one hard link"):
        read_bytes(workspace, "hard", 100)


@pytest.mark.timeout(5)
def test_pipes_and_folders_are_no_files(workspace: Path) -> None:
    os.mkfifo(workspace / "pipe")
    for path in ("pipe", "step"):
        with pytest.raises(UnsafeFile, match="not a regular file"):
            read_bytes(workspace, path, 100)


def test_too_large_is_not_read_whole(workspace: Path) -> None:
    with (workspace / "huge").open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(UnsafeFile, match="'huge': larger than 100 bytes"):
        read_bytes(workspace, "huge", 100)


def test_listing_reports_what_it_leaves_alone(workspace: Path) -> None:
    (workspace / "link").symlink_to("step")
    os.mkfifo(workspace / "step" / "pipe")
    (workspace / "bad\nname").touch()
    listing = list_files(workspace)
    assert listing.files == {"step/note.txt": 4}
    assert listing.refused == {
        "link": "a symbolic link",
        "step/pipe": "not a regular file",
        "bad\nname": "unprintable name",
    }
    assert list_files(workspace, "step").files == {"step/note.txt": 4}
    with pytest.raises(UnsafeFile, match="more than 2 files"):
        list_files(workspace, max_files=2)


def test_json(workspace: Path) -> None:
    (workspace / "a.json").write_text('{"mass": 3.5}')
    assert read_json(workspace, "a.json") == {"mass": 3.5}
    for text in ('{"mass": NaN}', "{", "[" * 100_000, '"\udcff"'):
        (workspace / "b.json").write_bytes(text.encode(errors="surrogateescape"))
        with pytest.raises(UnsafeFile, match=r"'b\.json'"):
            read_json(workspace, "b.json")


def test_parquet(workspace: Path) -> None:
    pq.write_table(scores(), workspace / "s.parquet")
    arrays = read_parquet(workspace, "s.parquet", **LIMITS)
    assert arrays["score"].dtype == np.float64
    np.testing.assert_array_equal(arrays["event"], np.arange(10))
    assert list(read_parquet(workspace, "s.parquet", **LIMITS, columns=["event"])) == ["event"]
    with pytest.raises(UnsafeFile, match="no column 'mass', it has"):
        read_parquet(workspace, "s.parquet", **LIMITS, columns=["mass"])


def test_parquet_bombs(workspace: Path) -> None:
    pq.write_table(scores(score=np.zeros(10_000_000)), workspace / "rows.parquet", compression="zstd")
    assert (workspace / "rows.parquet").stat().st_size < 1 << 20
    with pytest.raises(UnsafeFile, match="10000000 rows, 1000 are allowed"):
        read_parquet(workspace, "rows.parquet", **LIMITS)
    pq.write_table(scores(**{f"c{k}": [0.0] for k in range(5)}), workspace / "columns.parquet")
    with pytest.raises(UnsafeFile, match="5 columns, 4 are allowed"):
        read_parquet(workspace, "columns.parquet", **LIMITS)
    table = scores(text=["x" * (32 << 20)], score=[0.0])
    pq.write_table(table, workspace / "text.parquet", compression="zstd", use_dictionary=False)
    assert (workspace / "text.parquet").stat().st_size < 1 << 20
    with pytest.raises(UnsafeFile, match="unpacks to"):
        read_parquet(workspace, "text.parquet", **LIMITS, columns=["score"])


@pytest.mark.parametrize(
    "values",
    [
        ["text"],
        [b"bytes"],
        [[1.0, 2.0]],
        [{"x": 1.0}],
        pa.array([1], pa.timestamp("ns")),
        pa.array([1], pa.duration("ns")),
        pa.array([1], pa.decimal128(5)),
    ],
    ids=["text", "bytes", "list", "struct", "time", "duration", "decimal"],
)
def test_parquet_holds_numbers_only(workspace: Path, values: object) -> None:
    pq.write_table(pa.table({"score": values}), workspace / "odd.parquet")
    with pytest.raises(UnsafeFile, match="does not hold plain numbers"):
        read_parquet(workspace, "odd.parquet", **LIMITS)


class Trap:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return (Path.touch, (self.path,))


def test_nothing_is_unpickled(workspace: Path) -> None:
    sprung = workspace.parent / "sprung"
    trap = pickle.dumps(Trap(sprung))
    np.save(workspace / "a.npy", np.array([Trap(sprung)], dtype=object), allow_pickle=True)
    (workspace / "a.pkl").write_bytes(trap)
    marks = {"ARROW:extension:name": "arrow.py_extension_type", "ARROW:extension:metadata": trap}
    field = pa.field("score", pa.float64(), metadata=marks)
    pq.write_table(pa.table([[0.0]], schema=pa.schema([field])), workspace / "a.parquet")
    for name in ("a.npy", "a.pkl"):
        with pytest.raises(UnsafeFile):
            read_parquet(workspace, name, **LIMITS)
        with pytest.raises(UnsafeFile):
            read_json(workspace, name)
    assert read_parquet(workspace, "a.parquet", **LIMITS)["score"].tolist() == [0.0]
    assert not sprung.exists()


@pytest.mark.parametrize("cut", [4, 8, 50, 200])
def test_broken_parquet(workspace: Path, cut: int) -> None:
    pq.write_table(scores(), workspace / "s.parquet")
    data = bytearray((workspace / "s.parquet").read_bytes())
    data[cut : cut + 4] = b"\xff" * 4
    (workspace / "s.parquet").write_bytes(data[:-1])
    with pytest.raises(UnsafeFile):
        read_parquet(workspace, "s.parquet", **LIMITS)


def png(width: int, height: int) -> bytes:
    return b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + struct.pack(">II", width, height) + b"\x08\0\0\0\0"


def test_png(workspace: Path) -> None:
    (workspace / "a.png").write_bytes(png(640, 480))
    assert read_png(workspace, "a.png") == png(640, 480)
    for data, reason in ((png(1 << 16, 1 << 16), "pixels"), (b"<svg/>", "not a PNG"), (png(0, 5), "pixels")):
        (workspace / "b.png").write_bytes(data)
        with pytest.raises(UnsafeFile, match=reason):
            read_png(workspace, "b.png")


def test_pictures_come_out_as_pixels_on_white_and_not_too_large() -> None:
    colours = np.zeros((40, 90, 4), np.uint8)
    colours[:, :, 0], colours[:20, :, 3] = 255, 255
    held = io.BytesIO()
    Image.fromarray(colours).save(held, "PNG")
    found = pixels("a.png", held.getvalue(), 45)
    assert found.shape == (20, 45, 3)
    assert (found[0, 0].tolist(), found[-1, 0].tolist()) == ([255, 0, 0], [255, 255, 255])


@pytest.mark.parametrize("damage", ["short", "bomb", "another format", "chunks"])
def test_hostile_pictures(damage: str) -> None:
    held = io.BytesIO()
    Image.new("RGB", (9, 9)).save(held, "GIF" if damage == "another format" else "PNG")
    data = held.getvalue()
    if damage == "bomb":
        data = data[:16] + struct.pack(">II", 1 << 16, 1 << 16) + data[24:]
    elif damage == "short":
        data = data[:45]
    elif damage == "chunks":
        data = data[:33] + b"\xff" * 40 + data[33:]
    with pytest.raises(UnsafeFile):
        pixels("a.png", data, 45)
