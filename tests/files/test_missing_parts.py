"""HDF5 files of which a part is missing, and layouts that are not ours: the missing part is named, nothing is zero."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from tests.files.toys import assert_refused, data, jets, refused
from tests.tools.tiny_showers import TINY
from tools.calorimeter.showers import read_showers
from tools.events.frame import open_frame, write_frame
from tools.events.jets_read import read_any_jets
from tools.events.jets_toptag import FLOATS, MOMENTA, PARTICLES
from tools.events.lhco import FEATURES, read_events, read_features
from tools.events.sight import look
from tools.hdf5 import open_hdf5
from tools.jet_model.inputs import read_file
from tools.jet_model.jets_file import write_jets

GEV = np.array([300.0, 20.0, 900.0, 90.0, 0.4, 0.2, 0.1])


def virtual(path: Path, sources: dict[str, int], rows: int) -> Path:
    """Write a virtual data set of so many rows of each source file, and of `rows` in all."""
    layout = h5py.VirtualLayout((rows, 4), "f4")
    start = 0
    for name, n in sources.items():
        layout[start : start + n] = h5py.VirtualSource(name, "df", (n, 4))
        start += n
    with h5py.File(path, "w") as file:
        file.create_virtual_dataset("df", layout)
    return path


def source(path: Path, rows: int = 5, name: str = "df") -> None:
    with h5py.File(path, "w") as file:
        file[name] = np.ones((rows, 4), "f4")


def test_virtual_data_sets_are_read_whole_or_refused(tmp_path: Path) -> None:
    source(tmp_path / "a.h5")
    whole = virtual(tmp_path / "whole.h5", {"a.h5": 5}, 5)
    with open_frame(whole) as frame:
        np.testing.assert_array_equal(frame.read(), 1)
    source(tmp_path / "short.h5", 3)
    source(tmp_path / "other.h5", 5, "else")
    (tmp_path / "cut.h5").write_bytes((tmp_path / "a.h5").read_bytes()[:900])
    for sources, words in (
        ({"a.h5": 5, "gone.h5": 5}, ["'gone.h5'", "missing"]),
        ({"a.h5": 5, "short.h5": 5}, ["'short.h5'", "only 12 values"]),
        ({"a.h5": 5, "other.h5": 5}, ["'other.h5'", "no such data set"]),
        ({"a.h5": 5, "cut.h5": 5}, ["'cut.h5'", "cannot be read"]),
        ({"a.h5": 5}, ["40 values", "give 20"]),
    ):
        half = virtual(tmp_path / "half.h5", sources, 10)
        refused(lambda half=half: open_hdf5(half).__enter__(), "half.h5", "not whole", *words)
        refused(lambda half=half: look(half), "half.h5", "not whole", *words)
        assert_refused(data("info", half), *words)
        assert_refused(data("convert", half, tmp_path / "out.h5"), *words)


@pytest.mark.parametrize(
    ("link", "words"),
    [
        (h5py.ExternalLink("part2.h5", "/data"), ["/data", "'part2.h5'", "missing"]),
        (h5py.SoftLink("/nowhere"), ["/data", "'/nowhere'", "missing"]),
    ],
)
def test_links_that_lead_nowhere_are_named(tmp_path: Path, link: Any, words: list[str]) -> None:
    with h5py.File(tmp_path / "linked.h5", "w") as file:
        file["data"] = link
        file["showers"] = link
    refused(lambda: read_any_jets(tmp_path / "linked.h5"), *words)
    refused(lambda: look(tmp_path / "linked.h5"), *words)
    refused(lambda: read_showers(tmp_path / "linked.h5", TINY), *words)
    assert_refused(data("info", tmp_path / "linked.h5"), *words)


def test_links_that_lead_somewhere_are_followed(tmp_path: Path) -> None:
    write_jets(tmp_path / "part.h5", jets())
    with h5py.File(tmp_path / "linked.h5", "w") as file:
        for name in ("data", "pid"):
            file[name] = h5py.ExternalLink("part.h5", f"/{name}")
        file["/loop/again"] = h5py.SoftLink("/loop")
    assert read_any_jets(tmp_path / "linked.h5").count() == {"qcd": 15, "top": 15}


def test_a_folder_is_no_file_of_jets(tmp_path: Path) -> None:
    refused(lambda: read_file(str(tmp_path), "jets", 8), "jets", "directory")


def test_external_storage_that_is_gone_is_named(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "outside.h5", "w") as file:
        file.create_dataset("df", (5, 4), "f4", external=[("raw.bin", 0, 80)])
    refused(lambda: read_events(tmp_path / "outside.h5"), "raw.bin", "missing")


def features(path: Path, n: int = 6) -> Path:
    write_frame(path, [np.tile(np.r_[GEV, -GEV[:3], GEV[3:]], (n, 1)).astype(np.float32)], FEATURES)
    return path


@pytest.mark.parametrize("size", [0, 100, 2000])
def test_files_that_are_cut_off(tmp_path: Path, size: int) -> None:
    write_jets(tmp_path / "whole.h5", jets())
    for path in (features(tmp_path / "f.h5"), tmp_path / "whole.h5"):
        cut = tmp_path / f"cut_{path.name}"
        cut.write_bytes(path.read_bytes()[:size])
        for call in ("info", "convert"):
            more = [tmp_path / "out.h5"] if call == "convert" else []
            assert_refused(data(call, cut, *more), cut.name, "truncated" if size else "empty")


def test_a_filter_that_is_not_installed_is_named(tmp_path: Path) -> None:
    def compressed(path: Path, name: str, shape: tuple[int, ...]) -> None:
        with h5py.File(path, "w") as file:
            space, made = h5py.h5s.create_simple(shape), h5py.h5p.create(h5py.h5p.DATASET_CREATE)
            made.set_chunk(shape)
            made.set_filter(32004, h5py.h5z.FLAG_OPTIONAL)
            data_set = h5py.h5d.create(file.id, name.encode(), h5py.h5t.IEEE_F32LE, space, made)
            data_set.write_direct_chunk((0,) * len(shape), b"0" * 64)

    for name, shape in (("data", (8, 5, 4)), ("df", (8, 2101))):
        compressed(tmp_path / f"{name}.h5", name, shape)
        assert_refused(data("info", tmp_path / f"{name}.h5"), f"/{name}", "lz4 (32004)", "gzip")


def test_pandas_frames_with_text_and_with_an_index_of_two_levels(tmp_path: Path) -> None:
    plain, _ = read_features(features(tmp_path / "plain.h5"))
    with h5py.File(features(tmp_path / "text.h5"), "r+") as file:
        group = file["df"]
        names = [*group["axis0"][:], b"tag"]
        del group["axis0"]
        group["axis0"], group["block1_items"] = np.array(names, "S6"), np.array(["tag"], "S3")
        group.create_dataset("block1_values", (1,), h5py.vlen_dtype(np.uint8))
    with h5py.File(features(tmp_path / "levels.h5"), "r+") as file:
        del file["df/axis1"]
        file["df/axis1_level0"], file["df/axis1_label0"] = np.array([1]), np.zeros(6, "i1")
    for name in ("text", "levels"):
        columns, _ = read_features(tmp_path / f"{name}.h5")
        np.testing.assert_array_equal(columns["mjj"], plain["mjj"])
        assert data("info", tmp_path / f"{name}.h5").exit_code == 0
    with h5py.File(tmp_path / "table.h5", "w") as file:
        file.create_group("df").attrs["pandas_type"] = np.bytes_(b"frame_table")
        file["df/table"] = np.zeros(3, [("index", "i8"), ("values", "f8", (2,))])
    assert_refused(data("info", tmp_path / "table.h5"), "/df", "format='fixed'")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda file: np.int64(1), ["pid=()", "one entry per jet"]),
        (lambda file: np.zeros(3), ["pid=(3,)", "one entry per jet"]),
        (lambda file: np.full(30, 2_000_000_000), ["pid=2000000000", "jet 0", "999"]),
    ],
)
def test_kinds_that_are_not_one_per_jet(tmp_path: Path, change: Callable[[Any], Any], words: list[str]) -> None:
    write_jets(tmp_path / "jets.h5", jets(kinds=()))
    with h5py.File(tmp_path / "jets.h5", "r+") as file:
        del file["pid"]
        file["pid"] = change(file)
    assert_refused(data("info", tmp_path / "jets.h5"), *words)
    assert_refused(data("split", tmp_path / "jets.h5", tmp_path / "a.h5", tmp_path / "b.h5"), *words)


def test_top_tagging_labels_are_found_by_name(tmp_path: Path) -> None:
    rows = np.zeros(8, [("index", "i8"), ("values_block_0", "f4", (FLOATS,)), ("values_block_1", "i8", (2,))])
    swapped = [*reversed(MOMENTA), "truthE", "truthPX", "truthPY", "truthPZ"]
    rows["values_block_0"][:, [swapped.index("E_0"), swapped.index("PX_0")]] = 500, 400
    label = np.arange(8) % 2
    rows["values_block_1"][:, 0] = label  # the last integer is `ttv`
    with h5py.File(tmp_path / "top.h5", "w") as file:
        file.create_group("table")["table"] = rows
        for block, names in enumerate((swapped, ["is_signal_new", "ttv"])):
            file["table/table"].attrs[f"values_block_{block}_kind"] = np.bytes_(pickle.dumps(names, 0))
    found = read_any_jets(tmp_path / "top.h5")
    np.testing.assert_array_equal(found.pid, label)
    np.testing.assert_allclose(found.pt_and_mass()[0], 400, rtol=1e-5)
    assert PARTICLES == 200
    with h5py.File(tmp_path / "top.h5", "r+") as file:
        file["table/table"].attrs["values_block_1_kind"] = np.bytes_(pickle.dumps(["label", "ttv"], 0))
    refused(lambda: read_any_jets(tmp_path / "top.h5"), "is_signal_new", "label")


def test_showers_of_more_dimensions_are_refused_in_words_of_showers(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "4d.h5", "w") as file:
        file["incident_energies"], file["showers"] = np.full((5, 1), 1e3), np.ones((5, 3, 1, 3))
    refused(lambda: read_showers(tmp_path / "4d.h5", TINY), "(5, 3, 1, 3)", "one row of voxels per shower")
    assert_refused(data("info", tmp_path / "4d.h5"), "(5, 3, 1, 3)", "one row of voxels per shower")
    for name in ("out.h5", "out.parquet"):
        assert_refused(data("convert", tmp_path / "4d.h5", tmp_path / name), "showers", "not converted")
