"""Readers and writer of the official layouts: round trips, agreement with each other, refusals."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import awkward as ak
import h5py
import numpy as np
import pytest

from tools.contract import ToolError
from tools.events import lhco
from tools.events.cluster import COLUMNS, cluster
from tools.events.frame import open_frame, write_frame
from tools.events.parquet import write_events

ROOT = Path(__file__).resolve().parents[2]
REAL = ROOT.parent / "shared" / "data" / "lhco_signal_region"
EVENTS = 12


@pytest.fixture(scope="module")
def particles() -> ak.Array:
    rng = np.random.default_rng(11)
    events = []
    for _ in range(EVENTS):
        event = []
        for phi, pt in ((rng.uniform(-3, 3), 1700.0), (rng.uniform(-3, 3), 1600.0)):
            event += list(zip(rng.dirichlet(np.ones(40)) * pt, rng.normal(0, 0.15, 40), rng.normal(phi, 0.15, 40)))  # noqa: B905
        events.append([{"pt": p, "eta": e, "phi": (f + np.pi) % (2 * np.pi) - np.pi} for p, e, f in event])
    array = ak.Array(events)
    _, passed = cluster(array)
    assert passed.sum() >= 8
    return array[passed]


@pytest.fixture
def labels(particles: ak.Array) -> np.ndarray:
    return np.arange(len(particles)) % 3 == 0


def assert_same(one: dict[str, np.ndarray], other: dict[str, np.ndarray], rtol: float) -> None:
    for name in COLUMNS:
        np.testing.assert_allclose(one[name], other[name], rtol=rtol, err_msg=name)


def refused(call: Callable[[], object]) -> ToolError:
    with pytest.raises(ToolError) as caught:
        call()
    return caught.value


def test_particles_written_and_read_give_the_same_features(tmp_path: Path, particles, labels) -> None:  # type: ignore[no-untyped-def]
    path = tmp_path / "events.h5"
    lhco.write_particles(path, particles, labels)
    seen: list[tuple[int, int]] = []
    columns, truth = lhco.cluster_particles(path, chunk=5, progress=lambda *step: seen.append(step))
    assert_same(columns, cluster(particles)[0], rtol=1e-4)
    np.testing.assert_array_equal(truth, labels)
    assert seen[-1] == (len(particles), len(particles))
    assert len(seen) == -(-len(particles) // 5)


def test_layout_is_the_official_one(tmp_path: Path, particles, labels) -> None:  # type: ignore[no-untyped-def]
    path = tmp_path / "events.h5"
    lhco.write_particles(path, particles, labels)
    with h5py.File(path) as file:
        values = file["df/block0_values"]
        assert values.shape == (len(particles), 2101)
        assert values.dtype == np.float32
        np.testing.assert_array_equal(file["df/axis0"][:], np.arange(2101))
        rows = values[:]
    pt = rows[:, 0:2100:3]
    assert np.all(np.diff(pt, axis=1) <= 0)
    assert np.all(rows[:, :2100].reshape(len(rows), 700, 3)[pt == 0] == 0)
    np.testing.assert_array_equal(rows[:, 2100], labels)


def test_more_than_700_particles_keep_the_leading_ones() -> None:
    pt = np.random.default_rng(2).permutation(np.arange(1.0, 801.0))
    event = ak.zip({"pt": pt[None], "eta": np.zeros((1, 800)), "phi": np.zeros((1, 800))})
    rows = lhco.pack_particles(ak.from_regular(event), np.array([1]))
    np.testing.assert_array_equal(rows[0, 0:2100:3], np.arange(800.0, 100.0, -1.0))


def test_ranges_chunks_and_black_boxes(tmp_path: Path, particles, labels) -> None:  # type: ignore[no-untyped-def]
    path, box = tmp_path / "events.h5", tmp_path / "box.h5"
    lhco.write_particles(path, particles, labels)
    chunks = list(lhco.read_particles(path, start=1, stop=6, chunk=2))
    assert [len(c) for c, _ in chunks] == [2, 2, 1]
    np.testing.assert_array_equal(np.concatenate([truth for _, truth in chunks]), labels[1:6])
    np.testing.assert_array_equal(ak.num(chunks[0][0]), ak.num(particles)[1:3])

    write_frame(box, [lhco.pack_particles(particles, labels)[:, :2100]])
    columns, truth = lhco.read_events(box)
    assert truth is None
    assert_same(columns, cluster(particles)[0], rtol=1e-4)


def test_labels_stay_with_their_events_when_some_have_no_two_jets(tmp_path: Path, particles, labels) -> None:  # type: ignore[no-untyped-def]
    path = tmp_path / "events.h5"
    rows = lhco.pack_particles(particles, labels)
    rows[0, :2100] = 0.0  # an empty event
    rows[4, 6:2100] = 0.0  # two particles only
    write_frame(path, [rows])
    columns, truth = lhco.cluster_particles(path, chunk=3)
    kept = [i for i in range(len(labels)) if i not in (0, 4)]
    np.testing.assert_array_equal(truth, labels[kept])
    assert_same(columns, cluster(particles[kept])[0], rtol=1e-4)


def test_bare_dataset_is_read_too(tmp_path: Path, particles, labels) -> None:  # type: ignore[no-untyped-def]
    path = tmp_path / "bare.h5"
    with h5py.File(path, "w") as file:
        file["anything"] = lhco.pack_particles(particles, labels)
        file["notes"] = np.arange(3)
    assert_same(lhco.read_events(path)[0], cluster(particles)[0], rtol=1e-4)


def write_feature_file(path: Path, particles: ak.Array, labels: np.ndarray | None) -> None:
    """A feature file of the same jets, made here from the definition and not by the code under test."""
    import fastjet

    columns = []
    for event in particles:
        jets = fastjet.ClusterSequence(
            [
                fastjet.PseudoJet(
                    p.pt * np.cos(p.phi), p.pt * np.sin(p.phi), p.pt * np.sinh(p.eta), p.pt * np.cosh(p.eta)
                )
                for p in event
            ],
            fastjet.JetDefinition(fastjet.antikt_algorithm, 1.0),
        )
        columns.append([[j.px(), j.py(), j.pz(), j.m()] for j in fastjet.sorted_by_pt(jets.inclusive_jets())[:2]])
    momenta = np.array(columns)
    features, _ = cluster(particles)
    first_is_lighter = momenta[:, 0, 3] < momenta[:, 1, 3]
    rows = []
    for jet in (0, 1):
        # Feature files keep the order in pt: which of our jets is that one?
        ours = np.where(first_is_lighter, jet, 1 - jet)
        taus = [np.where(ours == 0, features[f"tau{n}_j1"], features[f"tau{n}_j2"]) for n in (1, 2, 3)]
        rows += [*momenta[:, jet].T, *taus]
    names = lhco.FEATURES
    if labels is not None:
        rows, names = [*rows, labels], (*names, "label")
    write_frame(path, [np.stack(rows, axis=1).astype(np.float32)], names)


def test_feature_file_agrees_with_the_particles(tmp_path: Path, particles, labels) -> None:  # type: ignore[no-untyped-def]
    path = tmp_path / "features.h5"
    write_feature_file(path, particles, labels)
    columns, truth = lhco.read_events(path)
    assert_same(columns, cluster(particles)[0], rtol=1e-4)
    np.testing.assert_array_equal(truth, labels)
    write_feature_file(path, particles, None)
    assert lhco.read_events(path)[1] is None


def test_frame_of_several_blocks_keeps_names_and_columns_together(tmp_path: Path) -> None:
    path = tmp_path / "blocks.h5"
    with h5py.File(path, "w") as file:
        group = file.create_group("features")
        group["axis0"], group["axis1"] = np.array([b"x", b"label", b"y"]), np.arange(2)
        group["block0_items"], group["block0_values"] = np.array([b"y", b"x"]), np.array([[3.0, 1.0], [6.0, 4.0]])
        group["block1_items"], group["block1_values"] = np.array([b"label"]), np.array([[2], [5]])
    with open_frame(path) as frame:
        assert frame.names == ("x", "label", "y")
        np.testing.assert_array_equal(frame.read(), [[1, 2, 3], [4, 5, 6]])


def test_labels_in_a_parquet_file_are_kept_apart(tmp_path: Path) -> None:
    path = tmp_path / "events.parquet"
    write_events(path, {"mjj": np.array([3.0, 4.0]), "is_signal": np.array([0.0, 1.0])})
    columns, truth = lhco.read_events(path)
    assert list(columns) == ["mjj"]
    np.testing.assert_array_equal(truth, [False, True])


@pytest.mark.parametrize(
    ("column", "value", "field", "says"),
    [
        (6, np.nan, "pt", "event 1, particle 2"),
        (6, -1.0, "pt", "not negative"),
        (7, 50.0, "eta", "within 20"),
        (8, np.inf, "phi", "finite"),
        (2100, 2.0, "label", "row 1: labels are 0 or 1"),
    ],
)
def test_bad_particle_values_are_named(tmp_path: Path, particles, labels, column, value, field, says) -> None:  # type: ignore[no-untyped-def]
    path = tmp_path / "events.h5"
    rows = lhco.pack_particles(particles, labels)
    rows[1, column] = value
    write_frame(path, [rows])
    error = refused(lambda: lhco.read_events(path))
    assert error.field == field
    assert str(error.value) == str(value)
    assert says in error.allowed


def test_bad_particle_files_are_named(tmp_path: Path, particles, labels) -> None:  # type: ignore[no-untyped-def]
    path = tmp_path / "events.h5"
    rows = lhco.pack_particles(particles, labels)
    write_frame(path, [rows[:, :30]])
    error = refused(lambda: list(lhco.read_particles(path)))
    assert (error.field, error.value) == ("path", str(path))
    assert "30 columns; 2101" in error.allowed
    assert "pxj1" in refused(lambda: lhco.read_events(path)).allowed

    write_frame(path, [rows])
    assert refused(lambda: list(lhco.read_particles(path, start=99))).field == "start"
    assert refused(lambda: lhco.write_particles(path, particles, labels[:-1])).field == "labels"
    assert refused(lambda: lhco.write_particles(path, particles, labels + 1.0)).field == "label"
    assert refused(lambda: write_frame(path, [])).field == "chunks"

    path.write_bytes(path.read_bytes()[:5000])
    assert "not a readable HDF5 file" in refused(lambda: lhco.read_events(path)).allowed
    with h5py.File(path, "w") as file:
        file["a"], file["b"] = np.zeros((2, 2)), np.zeros((2, 2))
    assert "/a" in refused(lambda: lhco.read_events(path)).allowed


def test_bad_feature_files_are_named(tmp_path: Path) -> None:
    path = tmp_path / "features.h5"
    rng = np.random.default_rng(0)
    rows = rng.uniform(500.0, 1500.0, (4, 14)).astype(np.float32)
    rows[2, 4] = np.nan
    write_frame(path, [rows], lhco.FEATURES)
    error = refused(lambda: lhco.read_features(path))
    assert error.field == "tau1j1"
    assert np.isnan(error.value)
    assert "row 2" in error.allowed

    write_frame(path, [rows[:, :13]], lhco.FEATURES[:13])
    assert "tau3j2" in refused(lambda: lhco.read_features(path)).allowed
    write_frame(path, [np.nan_to_num(rows) / 1000], lhco.FEATURES)
    assert "look like TeV" in refused(lambda: lhco.read_features(path)).allowed


def test_bad_npy_files_are_named(tmp_path: Path) -> None:
    path = tmp_path / "x.npy"
    good = np.tile(np.array([3.5, 0.1, 0.2, 0.5, 0.5, 0.0]), (4, 1))

    def saved(array: np.ndarray, **how: bool) -> ToolError:
        np.save(path, array, **how)
        return refused(lambda: lhco.read_events(path))

    assert "(4, 4)" in saved(good[:, :4]).allowed
    assert "npy" in saved(np.array([{}], dtype=object), allow_pickle=True).allowed
    for column, value, field in ((0, np.nan, "mjj"), (3, np.inf, "tau21_j1"), (0, -3.5, "mjj"), (5, 0.5, "label")):
        bad = good.copy()
        bad[2, column] = value
        error = saved(bad)
        assert error.field == field
        assert "row 2" in error.allowed
    assert "GeV" in saved(good * [1000, 1000, 1000, 1, 1, 1]).allowed
    assert "no events" in saved(good[:0]).allowed
    path.write_bytes(path.read_bytes()[:40])
    assert "not a readable npy file" in refused(lambda: lhco.read_events(path)).allowed


def test_unknown_kind_of_file(tmp_path: Path) -> None:
    path = tmp_path / "events.csv"
    path.write_text("mjj,mj1\n")
    error = refused(lambda: lhco.read_events(path))
    assert (error.field, error.value) == ("path", str(path))
    assert "npy, parquet or HDF5" in error.allowed
    with pytest.raises(FileNotFoundError):
        lhco.read_events(tmp_path / "nothing.h5")


@pytest.mark.skipif(not REAL.is_dir(), reason="the real LHCO signal-region files are not beside this checkout")
@pytest.mark.parametrize(
    ("name", "rows", "signal", "means"),
    [
        ("innerdata_train", 60_000, 395, None),
        ("innerdata_test", 62_124, 377, None),
        ("innerdata_background", 20_000, 0, (3.481, 0.136, 0.172, 0.579, 0.481)),
        ("innerdata_extrasig", 20_000, 20_000, (3.501, 0.127, 0.360, 0.391, 0.230)),
    ],
)
def test_real_signal_region(name: str, rows: int, signal: int, means: tuple[float, ...] | None) -> None:
    columns, truth = lhco.read_events(REAL / f"{name}.npy")
    assert tuple(columns) == lhco.CATHODE
    assert truth is not None
    assert (len(truth), truth.sum()) == (rows, signal)
    assert columns["mjj"].min() >= 3.3
    assert columns["mjj"].max() <= 3.7
    assert columns["delta_mj"].min() >= 0  # j1 is the lighter jet
    assert max(columns["tau21_j1"].max(), columns["tau21_j2"].max()) < 1.0
    if means:
        np.testing.assert_allclose([columns[c].mean() for c in lhco.CATHODE], means, atol=0.002)
