"""Weights and labels under whatever name, and -999 where nothing was measured: used, or refused with the name."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from tasks.catalogue import make_task
from tasks.task import TaskError
from tests.files.toys import Columns, assert_refused, data, events, parquet, refused, zjets
from tools import data_cli
from tools.anomaly.classify import classify
from tools.bumphunt.scan import scan
from tools.contract import Result
from tools.events.describe import describe
from tools.events.frame import write_frame
from tools.events.lhco import FEATURES, read_features
from tools.events.parquet import read_columns, write_events
from tools.unfolding.inputs import as_problem, read_sample
from tools.unfolding.read import read
from tools.unfolding.unfold import unfold

N = 4000
RNG = np.random.default_rng(2)
MASS = RNG.normal(20, 4, N)
SIMULATED: Columns = {"gen_mass": MASS, "reco_mass": MASS + RNG.normal(0, 1, N)}
MEASURED: Columns = {"reco_mass": RNG.normal(21, 4, N) + RNG.normal(0, 1, N)}
WEIGHT = 0.5 + (MASS > 20)  # moves the simulation towards the data


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def unfolded(simulation: Columns, data: Columns = MEASURED, name: str = "out", **more: object) -> Result:
    parquet(Path("data.parquet"), data)
    parquet(Path("simulation.parquet"), simulation)
    return unfold(
        data="data.parquet",
        simulation="simulation.parquet",
        observables=["mass"],
        method={"kind": "ibu"},
        out=f"{name}.parquet",
        folder=name,
        **more,
    )


@pytest.mark.parametrize("name", ["weights", "genWeight", "Weight", "mc_weight", "event-weight"])
def test_weights_of_any_name_are_used(name: str) -> None:
    right = unfolded(SIMULATED | {"weight": WEIGHT}, name="right")
    found = unfolded(SIMULATED | {name: WEIGHT})
    weights = [read(Path(f"{out}.parquet")).weights["nominal"] for out in ("right", "out")]
    np.testing.assert_array_equal(*weights)
    assert right.notes == []
    assert found.notes == [f"simulation: column {name!r} taken as weights"]
    of_data = unfolded(SIMULATED, MEASURED | {name: np.full(N, 2.0)}, "twice")
    assert of_data.n_unfolded == pytest.approx(2 * N, rel=0.02)


def test_weights_of_unclear_name_are_refused_and_variations_are_not() -> None:
    refused(lambda: unfolded(SIMULATED | {"genWeight": WEIGHT, "puWeight": WEIGHT}), "'genWeight'", "'puWeight'")
    refused(lambda: unfolded(SIMULATED | {"weight": WEIGHT, "weights": WEIGHT}), "'weights'")
    refused(lambda: unfolded(SIMULATED | {"weight_up": WEIGHT}), "'weight_up'")
    assert unfolded(SIMULATED | {"weight": WEIGHT, "weight_up": WEIGHT}).rows == N
    assert "nuisance_w_up" in unfolded(SIMULATED | {"w_up": WEIGHT}, name="nuisance", nuisances=["w_up"]).replicas


def test_one_event_with_most_of_the_weight_is_refused() -> None:
    wild = np.where(np.arange(N) == 5, 1e8, 1.0)
    refused(lambda: unfolded(SIMULATED | {"weight": wild}), "simulation", "'weight'", "1e+08 in row 5")
    refused(lambda: unfolded(SIMULATED, MEASURED | {"weight": wild}), "data", "1e+08 in row 5")
    refused(lambda: unfolded(SIMULATED | {"w_up": wild}, nuisances=["w_up"]), "nuisances", "'w_up'", "row 5")


@pytest.mark.parametrize("sentinel", [-99.0, -999.0, -9999.0])
def test_sentinels_without_a_flag_are_not_measured(sentinel: float) -> None:
    missed = np.arange(N) % 5 == 0
    reco = np.where(missed, sentinel, SIMULATED["reco_mass"])
    flagged = unfolded(SIMULATED | {"reco_mass": reco, "pass_reco": ~missed}, name="flagged")
    found = unfolded(SIMULATED | {"reco_mass": reco})
    assert found.n_unfolded == pytest.approx(flagged.n_unfolded)
    np.testing.assert_array_equal(*(read(Path(f"{x}.parquet")).weights["nominal"] for x in ("flagged", "out")))
    assert found.notes == [
        f"simulation: no column 'pass_reco'; {N // 5} events with {sentinel:g} at reco taken as not passing"
    ]
    sample = read_sample("simulation.parquet", "simulation", ["mass"], ("gen", "reco"))
    parquet(Path("d.parquet"), {"reco_mass": np.where(missed, sentinel, MEASURED["reco_mass"])})
    problem = as_problem(read_sample("d.parquet", "data", ["mass"], ("reco",)), sample)
    assert len(problem.data) == N - N // 5


def test_sentinels_in_events_that_pass_are_refused() -> None:
    reco = np.where(np.arange(N) == 7, -999.0, SIMULATED["reco_mass"])
    refused(lambda: unfolded(SIMULATED | {"reco_mass": reco, "pass_reco": np.ones(N)}), "reco_mass is -999 in row 7")
    parquet(Path("two.parquet"), SIMULATED | {"reco_mass": reco, "gen_width": MASS, "reco_width": MASS})
    call = lambda: read_sample("two.parquet", "simulation", ["mass", "width"], ("gen", "reco"))  # noqa: E731
    refused(call, "reco_mass is -999 in row 7")


def test_the_task_does_not_drop_weights(tmp_path: Path) -> None:
    for name in ("simulation", "alternative", "nature"):
        more = {"genWeight": np.r_[np.ones(999), 2.0]} if name == "simulation" else {"weight": np.full(1000, 0.3)}
        write_events(tmp_path / f"{name}.parquet", zjets(1000) | more)
    make_task("unfolding", {"data": str(tmp_path)}).prepare(tmp_path / "inputs", tmp_path / "held", tmp_path / "sealed")
    weight = read_columns(tmp_path / "inputs" / "simulation.parquet", ["weight"])["weight"]
    np.testing.assert_allclose(weight / weight[0], np.r_[np.ones(999), 2.0], rtol=1e-6)
    write_events(tmp_path / "nature.parquet", zjets(1000) | {"genWeight": np.r_[np.ones(999), 2.0]})
    with pytest.raises(TaskError, match=r"genWeight=2\.0.*nature\.parquet, row 999.*unfolding\.unfold"):
        make_task("unfolding", {"data": str(tmp_path)}).prepare(tmp_path / "i", tmp_path / "h", tmp_path / "s")


@pytest.mark.parametrize("name", ["genWeight", "Weight", "weights"])
def test_tools_that_count_refuse_weights(name: str) -> None:
    parquet(Path("events.parquet"), events() | {name: np.linspace(0.5, 1.5, N)})
    parquet(Path("scores.parquet"), {"score": np.linspace(0, 1, N)})
    call = {"events": "events.parquet", "window": (3.3, 3.7)}
    assert refused(lambda: scan(scores="scores.parquet", **call), "row 0", "counted").field == name
    assert refused(lambda: classify(template="scores.parquet", out="s.parquet", **call), "counted").field == name


@pytest.mark.parametrize("name", ["truth", "signal", "label", "is_signal", "isSignal", "TruthLabel", "y"])
def test_labels_of_any_name_are_put_apart(tmp_path: Path, name: str) -> None:
    label = np.arange(100) % 4 == 0
    for columns in (events(100), zjets(100)):
        parquet(tmp_path / "in.parquet", columns | {name: label.astype(int)})
        target = tmp_path / f"out{len(columns)}.parquet"
        assert data("convert", tmp_path / "in.parquet", target).exit_code == 0
        assert set(read_columns(target)) == set(columns)
        np.testing.assert_array_equal(read_columns(data_cli.labels_path(target))["is_signal"], label)
    parquet(tmp_path / "in.parquet", events(100) | {name: label.astype(int)})
    refused(lambda: describe(events=str(tmp_path / "in.parquet")), name, "look like labels")


def test_labels_that_are_unclear_are_refused(tmp_path: Path) -> None:
    label = np.arange(100) % 2
    for more, words in (
        ({"truth": label * 5}, ["truth=5", "row 1"]),
        ({"truth": label, "signal": 1 - label}, ["truth", "signal", "differ"]),
        ({"is_background": label}, ["is_background", "1 for signal"]),
    ):
        parquet(tmp_path / "in.parquet", events(100) | more)
        assert_refused(data("convert", tmp_path / "in.parquet", tmp_path / "out.parquet"), *words)
    assert not (tmp_path / "out.parquet").exists()


def test_a_feature_file_knows_its_labels_by_other_names(tmp_path: Path) -> None:
    row = np.r_[300.0, 20, 900, 90, 0.4, 0.2, 0.1, -300, -20, -900, 95, 0.4, 0.2, 0.1]
    label = np.arange(10) % 2
    table = np.column_stack([np.tile(row, (10, 1)), label]).astype(np.float32)
    write_frame(tmp_path / "f.h5", [table], (*FEATURES, "is_signal"))
    columns, found = read_features(tmp_path / "f.h5")
    assert found is not None
    np.testing.assert_array_equal(found, label)
    assert not any("signal" in name for name in columns)


def test_samples_know_their_file() -> None:
    parquet(Path("s.parquet"), SIMULATED)
    sample = read_sample("s.parquet", "simulation", ["mass"], ("gen", "reco"))
    assert dataclasses.asdict(sample)["notes"] == []
    refused(lambda: read_sample("s.parquet", "simulation", ["width"], ("gen",)), "'gen_width'", "gen_mass")
