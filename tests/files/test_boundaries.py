"""Every reader refuses what is not finite or not in its unit, and names file, column, row and value."""

from __future__ import annotations

import datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tasks.catalogue import make_task
from tasks.task import TaskError
from tests.files.toys import assert_refused, data, events, parquet, refused, zjets
from tests.tools.tiny_showers import TINY, tiny_showers
from tools.bumphunt.scan import scan
from tools.calorimeter.showers import Showers, read_showers, write_showers
from tools.events.describe import describe
from tools.events.energyflow import SHAPES, read_zjets
from tools.events.jets_read import read_any_jets
from tools.events.parquet import read_columns, write_events
from tools.jet_model.jets import from_momenta


def published(path: Path, n: int = 20, **changed: np.ndarray) -> Path:
    """Z+jets in the published layout."""
    rng = np.random.default_rng(1)
    arrays = {
        f"{level}_{key}": rng.uniform(0.1, 0.5, {1: (n,), 2: (n, 4), 3: (n, 5, 4)}[ndim])
        for level in ("gen", "sim")
        for key, ndim in SHAPES.items()
    }
    np.savez(path, **(arrays | changed))
    return path


@pytest.mark.parametrize("key", ["sim_widths", "gen_tau2s", "gen_jets", "sim_particles", "sim_zgs"])
def test_nan_in_zjets_is_named_and_never_a_zero(tmp_path: Path, key: str) -> None:
    with np.load(published(tmp_path / "z.npz")) as file:
        values = file[key].copy()
    values[(7, *[1] * (values.ndim - 1))] = np.nan
    path = published(tmp_path / "nan.npz", **{key: values})
    refused(lambda: read_zjets(path), f"{key}=nan", "row 7", str(path))
    assert_refused(data("convert", path, tmp_path / "out.parquet"), key, "row 7")
    assert not (tmp_path / "out.parquet").exists()


def test_a_null_in_parquet_is_missing_and_not_a_number(tmp_path: Path) -> None:
    columns = events(10)
    nulls = pa.array([None if k == 4 else float(v) for k, v in enumerate(columns["mj1"])])
    path = parquet(tmp_path / "null.parquet", columns | {"mj1": nulls})
    refused(lambda: read_columns(path), "'mj1'", "row 4 is missing")
    assert_refused(data("info", path), "'mj1'", "row 4")


def test_nan_in_the_input_of_an_unfolding_is_bad_input(tmp_path: Path) -> None:
    for name in ("simulation", "alternative", "nature"):
        columns = zjets()
        if name == "nature":
            columns["reco_width"][17] = np.nan
        write_events(tmp_path / f"{name}.parquet", columns)
    task = make_task("unfolding", {"data": str(tmp_path)})
    with pytest.raises(TaskError, match=r"nature\.parquet.*reco_width is nan in row 17"):
        task.prepare(tmp_path / "inputs", tmp_path / "held", tmp_path / "sealed")


@pytest.mark.parametrize("share", [1, 3])  # all masses, and one in three: the median of these is right
@pytest.mark.parametrize("name", ["mjj", "mj1"])
def test_masses_in_gev_are_refused_with_the_unit(tmp_path: Path, name: str, share: int) -> None:
    columns = events(3000)
    columns[name][::share] *= 1000
    path = parquet(tmp_path / "gev.parquet", columns)
    scores = parquet(tmp_path / "scores.parquet", {"score": np.linspace(0, 1, 3000)})
    for call in (
        lambda: describe(events=str(path)),
        lambda: scan(events=str(path), scores=str(scores), window=(3.3, 3.7)),
    ):
        assert refused(call, "looks like GeV", "TeV", "row 0").field == name
    assert_refused(data("convert", path, tmp_path / "out.parquet"), "GeV")


def test_a_fit_range_without_events_is_refused(tmp_path: Path) -> None:
    path = parquet(tmp_path / "e.parquet", events(3000))
    scores = parquet(tmp_path / "scores.parquet", {"score": np.linspace(0, 1, 3000)})
    call = {"events": str(path), "scores": str(scores), "window": (60.0, 62.0), "fit_range": (50.0, 70.0)}
    refused(lambda: scan(**call), "fit_range", "no events")


@pytest.mark.parametrize("share", [1, 3])
def test_showers_in_gev_are_refused(tmp_path: Path, share: int) -> None:
    showers = tiny_showers(60, 1, (1000.0, 10_000.0, 100_000.0))
    write_showers(tmp_path / "mev.h5", showers)
    assert len(read_showers(tmp_path / "mev.h5", TINY)) == 60
    scale = np.where(np.arange(60) % share == 0, 1000.0, 1.0)
    incident, voxels = showers.incident / scale, (showers.voxels / scale[:, None]).astype(np.float32)
    for name, wrong in {
        "both": Showers(incident, voxels, TINY),
        "incident": Showers(incident, showers.voxels, TINY),
        "voxels": Showers(showers.incident, voxels, TINY),
    }.items():
        write_showers(tmp_path / f"{name}.h5", wrong)
        refused(lambda name=name: read_showers(tmp_path / f"{name}.h5", TINY), "MeV", "GeV")


def test_nan_in_a_momentum_is_not_an_empty_slot() -> None:
    pt = np.ones((3, 4))
    pt[1, 2] = np.nan
    refused(lambda: from_momenta(pt, 0 * pt, 0 * pt, pt), "pt=nan", "jet 1, particle 2")


def test_empty_files_have_no_events(tmp_path: Path) -> None:
    empty = parquet(tmp_path / "empty.parquet", {name: values[:0] for name, values in events(3).items()})
    nothing = tmp_path / "nothing.parquet"
    nothing.touch()
    zero = published(tmp_path / "zero.npz", n=0)
    write_showers(tmp_path / "showers.h5", tiny_showers(0, 1))
    refused(lambda: describe(events=str(empty)), "no events")
    refused(lambda: read_zjets(zero), "no events")
    refused(lambda: read_showers(tmp_path / "showers.h5", TINY), "no showers")
    assert_refused(data("info", empty), "no events")
    assert_refused(data("info", zero), "no events")
    assert_refused(data("info", nothing), "empty")
    assert_refused(data("convert", nothing, tmp_path / "out.h5"), "empty")
    refused(lambda: read_any_jets(nothing), "empty")


def test_event_numbers_stay_exact_and_times_are_refused(tmp_path: Path) -> None:
    number = 2**24 + 1 + np.arange(10)
    path = parquet(tmp_path / "ids.parquet", events(10) | {"event": number})
    assert data("convert", path, tmp_path / "out.parquet").exit_code == 0
    np.testing.assert_array_equal(read_columns(tmp_path / "out.parquet")["event"], number)
    assert str(pq.read_schema(tmp_path / "out.parquet").field("mjj").type) == "float"
    when = [datetime.datetime(2020, 1, 1)] * 9 + [None]
    late = parquet(tmp_path / "time.parquet", events(10) | {"time": pa.array(when)})
    assert_refused(data("convert", late, tmp_path / "late.parquet"), "'time'", "timestamp")
    beyond = parquet(tmp_path / "beyond.parquet", events(10) | {"event": 2**53 + 1 + np.arange(10)})
    assert_refused(data("convert", beyond, tmp_path / "late.parquet"), "'event'", "2^53")


def test_two_columns_of_one_name_are_refused(tmp_path: Path) -> None:
    table = pa.table([pa.array([3.0]), pa.array([4.0])], names=["mjj", "mjj"])
    pq.write_table(table, tmp_path / "twice.parquet")
    refused(lambda: read_columns(tmp_path / "twice.parquet"), "['mjj']", "two columns")
