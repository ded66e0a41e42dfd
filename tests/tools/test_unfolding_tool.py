"""The tool from files to files, and bad input one by one: named, with nothing written and nothing lost."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tools.arrays import sha256
from tools.contract import ToolError
from tools.unfolding import unfold
from tools.unfolding.problem import Problem
from tools.unfolding.read import read

Table = dict[str, np.ndarray]
FILES = {"data": "data.parquet", "simulation": "simulation.parquet", "observables": ["a", "b"]}
IBU = {"method": {"kind": "ibu", "bins": 6, "iterations": 2}}
TINY = {"kind": "mlp", "hidden": 8, "layers": 1, "epochs": 2}


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def tables(n: int = 3000, seed: int = 1) -> tuple[Table, Table]:
    """Simulation with weights, misses and fakes; data whose truth is shifted by 0.2."""
    rng = np.random.default_rng(seed)
    gen, truth = rng.standard_normal((n, 2)), rng.normal(0.2, 1, (n, 2))
    reco, data = (x + 0.3 * rng.standard_normal(x.shape) for x in (gen, truth))
    simulation = {
        "gen_a": gen[:, 0], "gen_b": gen[:, 1], "reco_a": reco[:, 0], "reco_b": reco[:, 1],
        "weight": rng.uniform(0.5, 1.5, n), "pass_gen": 1.0 * (rng.random(n) < 0.95),
        "pass_reco": 1.0 * (rng.random(n) < 0.9), "jes_up": rng.uniform(0.5, 1.5, n),
    }  # fmt: skip
    return {"reco_a": data[:, 0], "reco_b": data[:, 1], "pass_reco": 1.0 * (rng.random(n) < 0.85)}, simulation


def write(data: Table, simulation: Table) -> None:
    for name, columns in (("data.parquet", data), ("simulation.parquet", simulation)):
        pq.write_table(pa.table(columns), name)


def test_omnifold_from_files_to_files(here: Path) -> None:
    data, simulation = tables()
    write(data, simulation)
    pq.write_table(pa.table(tables(seed=2)[1]), "other.parquet")
    result = unfold(
        **FILES,
        method={"kind": "omnifold", "classifier": TINY, "iterations": 2},
        ensemble=2,
        bootstraps=2,
        nuisances=["jes_up"],
        alternative="other.parquet",
        out="result/unfolded.h5",
        seed=3,
    )
    events = read(Path("result/unfolded.h5"))
    assert result.file_sha256 == sha256(Path("result/unfolded.h5"))
    assert result.replicas == ["ensemble_0", "ensemble_1", "bootstrap_0", "bootstrap_1", "nuisance_jes_up", "model"]
    assert set(events.weights) == {"nominal", "iteration_1", *result.replicas}
    nominal = events.weights["nominal"]
    np.testing.assert_array_equal(nominal[simulation["pass_gen"] == 0], 0)
    assert result.n_unfolded == pytest.approx(nominal.sum(), rel=1e-6)
    passed = data["pass_reco"].sum()
    fakes = simulation["weight"][(simulation["pass_gen"] == 0) & (simulation["pass_reco"] == 1)].sum()
    assert result.n_unfolded == pytest.approx((passed - fakes) / 0.9, rel=0.1)  # efficiency 0.9
    assert np.average(events.gen["a"], weights=nominal) == pytest.approx(0.2, abs=0.12)
    assert result.effective_sample_size == pytest.approx(nominal.sum() ** 2 / np.sum(nominal**2), rel=1e-5)
    for name in ("a", "b"):
        assert result.reco_delta[name] < result.reco_delta_before[name]
    assert events.metadata["simulation_sha256"] == sha256(Path("simulation.parquet"))
    assert result.iterations == 2


@pytest.mark.parametrize("kind", ["ibu", "transport"])
def test_the_other_methods_by_name_alone(kind: str) -> None:
    write(*tables())
    result = unfold(**FILES, method=kind)
    events = read(Path("unfolded.parquet"))
    assert np.average(events.gen["a"], weights=events.weights["nominal"]) == pytest.approx(0.2, abs=0.12)
    assert result.rows == 3000
    assert unfold(**FILES, method=kind) == result  # from the folder
    assert unfold(**FILES, method=kind, folder="anew") == result


def test_a_report_is_plots_and_a_submission() -> None:
    write(*tables())
    result = unfold(**FILES, **IBU, bootstraps=3, report="report")
    assert result.submission is not None
    assert Path(result.submission).is_file()
    assert Path("report/a.png").is_file()


def spoiled(table: str, change: Callable[[Table], object]) -> tuple[Table, Table]:
    data, simulation = tables()
    change(data if table == "data" else simulation)
    return data, simulation


@pytest.mark.parametrize(
    ("table", "change", "field", "says"),
    [
        ("data", lambda t: t["reco_a"].__setitem__(5, np.nan), "data", "finite; row 5"),
        ("simulation", lambda t: t["gen_b"].__setitem__(7, np.inf), "simulation", "finite; row 7"),
        ("simulation", lambda t: t["weight"].__setitem__(2, -1.0), "weight", "1 are negative, row 2"),
        ("data", lambda t: t.update(weight=-np.ones(3000)), "data_weight", "negative"),
        ("simulation", lambda t: t.update(pass_reco=np.zeros(3000)), "pass_reco", "at least one event"),
        ("simulation", lambda t: t.update(pass_gen=np.zeros(3000)), "pass_gen", "at least one event"),
        ("simulation", lambda t: t.update(pass_gen=1 - t["pass_reco"]), "pass_gen and pass_reco", "at least one"),
        ("data", lambda t: t.update(pass_reco=np.zeros(3000)), "data", "at least one event"),
        ("data", lambda t: t.update(weight=np.zeros(3000)), "data", "at least one event"),
        ("simulation", lambda t: t.update(weight=np.zeros(3000)), "pass_gen", "at least one event"),
        ("simulation", lambda t: t.update(pass_reco=np.full(3000, 0.5)), "simulation", "0 and 1"),
        ("data", lambda t: t["pass_reco"].__setitem__(3, np.nan), "data", "finite; row 3"),
        ("data", lambda t: t["pass_reco"].__setitem__(3, 2.0), "data", "0 and 1"),
        ("data", lambda t: t["reco_a"].__iadd__(6.0), "data", "outside the simulation in reco_a"),
        ("simulation", lambda t: t.pop("gen_b"), "simulation", "the column 'gen_b'"),
        ("data", lambda t: t.pop("reco_a"), "data", "the column 'reco_a'"),
        ("simulation", lambda t: t.update(gen_a=np.ones(3000)), "observables", "constant in simulation"),
        ("data", lambda t: t.update(reco_b=np.ones(3000)), "observables", "constant in data"),
    ],
)
def test_bad_events_are_named(table: str, change: Callable[[Table], object], field: str, says: str) -> None:
    write(*spoiled(table, change))
    with pytest.raises(ToolError, match=says) as error:
        unfold(**FILES, **IBU)
    assert error.value.field == field
    assert not Path("unfolded.parquet").exists()
    assert not Path("unfolding").exists()


def test_data_outside_the_simulation_are_counted() -> None:
    data, simulation = tables()
    data["reco_a"][:6], data["pass_reco"][:6] = 100.0, 1.0
    write(data, simulation)
    result = unfold(**FILES, **IBU)
    assert result.outside["a"] == pytest.approx(6 / data["pass_reco"].sum(), abs=2e-3)
    data["reco_a"][:60], data["pass_reco"][:60] = 100.0, 1.0
    write(data, simulation)
    with pytest.raises(ToolError, match=r"2\.\d+% of the data lie outside the simulation in reco_a, which runs from -"):
        unfold(**FILES, **IBU, folder="other")


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        ({"observables": []}, "observables"),
        ({"observables": ["c"]}, "data"),
        ({"observables": ["a", "a"]}, "observables"),
        ({"out": "simulation.parquet"}, "out"),
        ({"out": "./data.parquet"}, "out"),
        ({"method": "guess"}, "method"),
        ({"method": {"kind": "ibu", "bins": 1}}, "method.ibu.bins"),
        ({"out": "/etc/unfolded.h5"}, "out"),
        ({"out": "../unfolded.h5"}, "out"),
        ({"out": "unfolded.csv"}, "out"),
        ({"folder": "/tmp/unfolding"}, "folder"),
        ({"report": "../report"}, "report"),
        ({"nuisances": ["no_such"]}, "nuisances"),
        ({"nuisances": ["gen_a"]}, "nuisances"),
        ({"alternative": "none.parquet"}, "alternative"),
        ({"data": "none.parquet"}, "data"),
        ({"workers": 0}, "workers"),
        ({"method": "transport", "observables": ["a", "b", "jes"]}, "data"),
    ],
)
def test_bad_requests_are_named(request_: dict[str, object], field: str) -> None:
    write(*tables())
    with pytest.raises(ToolError) as error:
        unfold(**{**FILES, **IBU, **request_})
    assert error.value.field == field
    assert not Path("unfolded.parquet").exists()


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        ({"reco": np.zeros((9, 1))}, "reco"),
        ({"reco": np.zeros((10, 2))}, "data"),
        ({"weight": np.ones(9)}, "weight"),
        ({"data_weight": np.ones(4)}, "data_weight"),
        ({"pass_gen": np.ones(11, dtype=bool)}, "pass_gen"),
        ({"pass_reco": np.ones(1, dtype=bool)}, "pass_reco"),
        ({"data": np.array([0.0, np.nan, 1.0])}, "data"),
        ({"reco": np.full((10, 1), np.inf)}, "reco"),
        ({"gen": np.full((10, 1), np.nan)}, "gen"),
        ({"weight": np.full(10, np.nan)}, "weight"),
    ],
)
def test_arrays_that_do_not_fit_are_named(arguments: dict[str, np.ndarray], field: str) -> None:
    good = {"data": np.zeros((3, 1)), "gen": np.zeros((10, 1)), "reco": np.zeros((10, 1))}
    with pytest.raises(ToolError) as error:
        Problem.of(**{**good, **arguments})
    assert error.value.field == field


def test_values_of_events_that_fail_a_level_are_not_looked_at() -> None:
    x = np.arange(10.0)
    gen, reco = x.copy(), x.copy()
    gen[0], reco[1] = np.nan, np.nan
    problem = Problem.of(x, gen, reco, pass_gen=x > 0, pass_reco=x != 1)
    assert problem.matched.sum() == 8
    np.testing.assert_array_equal(problem.outside(), [0])


def test_a_simulation_without_weights_is_scaled_to_the_data() -> None:
    """Ten times the luminosity, said by nothing: the answer is that of a simulation scaled by hand."""
    data, simulation = tables()
    del simulation["weight"]
    write({name: values[:300] for name, values in data.items()}, simulation)
    plain = unfold(**FILES, **IBU, folder="plain", out="plain.parquet")
    passed = data["pass_reco"][:300].sum()
    simulation["weight"] = np.full(3000, passed / simulation["pass_reco"].sum())
    write({name: values[:300] for name, values in data.items()}, simulation)
    scaled = unfold(**FILES, **IBU, folder="scaled", out="scaled.parquet")
    assert plain.n_unfolded == pytest.approx(scaled.n_unfolded)
    assert 0.8 < plain.n_unfolded / 300 < 1.1
    simulation["weight"] = np.full(3000, 3.0)
    write({name: values[:300] for name, values in data.items()}, simulation)
    with pytest.raises(ToolError, match="luminosity") as error:
        unfold(**FILES, **IBU, folder="other")
    assert error.value.field == "weight"
