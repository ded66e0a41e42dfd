"""The operator's own columns: naming rules, flags, weights, nuisances, nature without truth, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tasks.catalogue import make_task
from tasks.score import Score, truth_known
from tasks.task import TaskError
from tasks.unfolding.naming import Rule, rules
from tasks.unfolding.submission import WeightsSubmission
from tools.events.parquet import read_columns, write_events

N = 2000
Columns = dict[str, np.ndarray]
LEVELS = ("pt_det", "pt_true", "w/d_det", "w/d_true")  # a width whose name is no word


def simulated(seed: int, shift: float = 0.0) -> Columns:
    """Two observables, a smearing of 0.5 and 1% misses, marked by -999 and a flag."""
    rng = np.random.default_rng(seed)
    true = rng.normal(shift, 1, (N, 2))
    det = true + 0.5 * rng.standard_normal((N, 2))
    passed = rng.random(N) > 0.01
    det[~passed] = -999
    columns = dict(zip(LEVELS, (det[:, 0], true[:, 0], det[:, 1], true[:, 1]), strict=True))
    return columns | {"pass_det": 1 * passed, "run": np.full(N, "A")}


def write(
    folder: Path, changed: dict[str, dict[str, Any]] | None = None, names: str = "simulation alternative nature"
) -> Path:
    """Write a user's folder: CSV and parquet, nature without flags and without truth."""
    tables: dict[str, Columns] = {name: simulated(seed, 0.2 * seed) for seed, name in enumerate(names.split())}
    passed = tables["nature"]["pass_det"] > 0
    tables["nature"] = {name: tables["nature"][name][passed] for name in ("pt_det", "w/d_det")}
    for name, table in tables.items():
        for column, values in (changed or {}).get(name, {}).items():
            table[column] = values(table) if callable(values) else values
        frame = pd.DataFrame(table)
        if name == "simulation":
            frame.to_parquet(folder / f"{name}.parquet")
        else:
            frame.to_csv(folder / f"{name}.csv", index=False)
    return folder


PAIRS = {"pt": ["pt_det", "pt_true"], "width": ["w/d_det", "w/d_true"]}


def prepared(folder: Path, into: Path, **options: Any) -> tuple[dict[str, Any], Any]:
    task = make_task("unfolding", {"data": str(folder), "observables": PAIRS} | options)
    return task.prepare(into / "inputs", into / "held_out", into / "sealed"), task


def test_columns_pair_up_by_the_rule_that_most_follow() -> None:
    assert rules(["pt_reco", "pt_gen", "m_reco", "m_gen", "pass_reco", "pass_gen"], ["pt_reco", "m_reco"]) == {
        Rule("{name}_reco", "{name}_gen"): ["pt", "m"]
    }
    assert rules(["reco_pt", "gen_pt", "eta_true"], ["reco_pt"]) == {Rule("reco_{name}", "gen_{name}"): ["pt"]}
    assert rules(["pt", "pt_truth", "m"], ["pt", "m"]) == {Rule("{name}", "{name}_truth"): ["pt"]}
    assert rules(["pt_reco", "pt_gen"], ["m_reco"]) == {}
    both = rules(["pt_det", "pt_true", "pt_gen"], ["pt_det"])
    assert set(both) == {Rule("{name}_det", "{name}_true"), Rule("{name}_det", "{name}_gen")}


def test_files_of_any_kind_become_the_columns_of_the_tool(tmp_path: Path) -> None:
    facts, task = prepared(write(tmp_path), tmp_path, units={"pt": "GeV"}, bins={"pt": [-1, 0, 1]})
    given = read_columns(tmp_path / "inputs" / "simulation.parquet")
    raw = pd.read_parquet(tmp_path / "simulation.parquet")
    assert set(given) == {"reco_pt", "gen_pt", "reco_width", "gen_width", "pass_reco", "pass_gen", "weight"}
    np.testing.assert_allclose(given["gen_width"], raw["w/d_true"], rtol=1e-6)
    np.testing.assert_array_equal(given["pass_reco"], raw["pass_det"])
    assert given["pass_gen"].all()
    assert given["weight"] @ given["pass_reco"] == pytest.approx(facts["measured_events"], rel=1e-5)
    assert facts["about"][0] == {"name": "pt", "asked_for": True, "unit": "GeV", "bins": [-1.0, 0.0, 1.0]}
    assert facts["notes"] == ["simulation.parquet: not used: run"]
    assert facts["numbers_to_claim"] == ["events", "mean_pt", "mean_width"]
    assert make_task("unfolding", task.options()).options() == task.options()


def test_without_a_truth_nothing_is_sealed(tmp_path: Path) -> None:
    _, task = prepared(write(tmp_path), tmp_path)
    assert not (tmp_path / "sealed").exists()
    (tmp_path / "workspace").mkdir()
    ones = np.ones(N)
    weights = {f"weights_bootstrap_{i}": ones * (1 + 0.01 * i) for i in range(10)} | {"weights_nominal": ones}
    write_events(tmp_path / "workspace" / "u.parquet", weights)
    submission = WeightsSubmission(weights="u.parquet")
    score = task.grade(submission, tmp_path / "inputs", tmp_path / "workspace", 1)
    assert score.value == pytest.approx(0, abs=0.02)
    assert set(score.details["errors"]["mean_pt"]) == {"statistical"}
    verdict = task.seal([], submission, tmp_path / "workspace", tmp_path / "sealed", None)
    assert (verdict.metrics, verdict.curves) == ([], {})
    assert not truth_known(verdict.checks)
    # The sum of the spectrum is that of the weights inside its bins.
    spectra = score.details["spectra"]
    assert sum(spectra["pt.unfolded"]) / N == pytest.approx(1 - spectra["pt.outside"][0])
    assert len(spectra["pt.covariance"]) == len(spectra["pt.unfolded"]) ** 2


def test_with_a_truth_it_is_sealed_and_a_part_of_it_is_none(tmp_path: Path) -> None:
    truth = {"pt_true": lambda t: t["pt_det"], "w/d_true": lambda t: t["w/d_det"]}
    prepared(write(tmp_path, {"nature": truth}), tmp_path)
    assert set(read_columns(tmp_path / "sealed" / "truth.parquet")) == {"gen_pt", "gen_width"}
    half = tmp_path / "half"
    half.mkdir()
    facts, _ = prepared(write(half, {"nature": {"pt_true": truth["pt_true"]}}), half)
    assert not (half / "sealed").exists()
    assert any("no truth is known, as w/d_true" in note for note in facts["notes"])


def test_misses_without_a_flag_are_noted_with_their_file(tmp_path: Path) -> None:
    folder = write(tmp_path)
    frame = pd.read_parquet(folder / "simulation.parquet").drop(columns="pass_det")
    frame.to_parquet(folder / "simulation.parquet")
    facts, _ = prepared(folder, tmp_path)
    missed = int((frame["pt_det"] == -999).sum())
    note = f"simulation.parquet: no column 'pass_reco'; {missed} events with -999 at reco taken as not passing"
    assert note in facts["notes"]


def test_without_another_simulation_there_is_no_closure_test(tmp_path: Path) -> None:
    facts, _ = prepared(write(tmp_path, names="simulation nature"), tmp_path)
    assert facts["alternative"] is None
    assert not (tmp_path / "held_out").exists()
    assert sorted(path.name for path in (tmp_path / "inputs").iterdir()) == ["data.parquet", "simulation.parquet"]


VARIED = {
    "simulation": {
        "genWeight": np.linspace(0.5, 1.5, N) * 7,
        "w_a": lambda t: t["genWeight"] * 1.1,
        "w_bUp": lambda t: t["genWeight"] * 1.2,
        "w_bDown": lambda t: t["genWeight"] / 1.2,
        "pt_det_jes_up": lambda t: np.where(t["pass_det"] > 0, t["pt_det"] + 0.1, -999),
    }
}


def test_nuisances_are_weights_or_moved_columns(tmp_path: Path) -> None:
    varied = {"simulation": VARIED["simulation"], "alternative": {"genWeight": np.ones(N)}}
    options = {"nuisances": "w_*, jes_up", "nuisance_weights": "total"}
    facts, _ = prepared(write(tmp_path, varied), tmp_path, **options)
    assert facts["nuisances"] == ["w_a", "w_b_up", "w_b_down", "jes_up"]
    given = read_columns(tmp_path / "inputs" / "simulation.parquet")
    for name, factor in (("w_a", 1.1), ("w_b_up", 1.2), ("w_b_down", 1 / 1.2)):
        np.testing.assert_allclose(given[name] / given["weight"], factor, rtol=1e-5)
    assert given["weight"][-1] / given["weight"][0] == pytest.approx(3)
    passed = given["pass_reco"] > 0
    np.testing.assert_allclose(given["reco_pt_jes_up"][passed] - given["reco_pt"][passed], 0.1, atol=1e-5)
    assert "simulation.parquet: column 'genWeight' taken as weights" in facts["notes"]
    factors, _ = prepared(
        write(tmp_path, varied | {"simulation": VARIED["simulation"] | {"w_a": np.full(N, 1.1)}}),
        tmp_path / "factors",
        nuisances=["w_a"],
        nuisance_weights="factor",
    )
    assert factors["nuisances"] == ["w_a"]
    given = read_columns(tmp_path / "factors" / "inputs" / "simulation.parquet")
    np.testing.assert_allclose(given["w_a"] / given["weight"], 1.1, rtol=1e-5)


def test_a_submission_without_a_nuisance_is_refused(tmp_path: Path) -> None:
    folder = write(tmp_path, {"simulation": {"w_a": np.full(N, 1.1)}})
    _, task = prepared(folder, tmp_path, nuisances=["w_a"])
    (tmp_path / "workspace").mkdir()
    weights = {f"weights_bootstrap_{i}": np.ones(N) for i in range(10)} | {"weights_nominal": np.ones(N)}

    def grade(columns: Columns) -> Score:
        write_events(tmp_path / "workspace" / "u.parquet", columns)
        submission = WeightsSubmission(weights="u.parquet")
        return task.grade(submission, tmp_path / "inputs", tmp_path / "workspace", 1)

    assert "weights_nuisance_* for the nuisances w_a" in grade(weights).reason
    score = grade(weights | {"weights_nuisance_w_a": np.full(N, 1.1)})
    assert score.details["errors"]["events"]["nuisance_w_a"] == pytest.approx(0.1 * N, rel=1e-6)
    assert score.details["numbers"]["events"]["error"] == pytest.approx(0.1 * N, rel=1e-6)


@pytest.mark.parametrize(
    ("changed", "options", "field", "words"),
    [
        ({}, {"observables": ["pt", "charge"]}, "observables", "'charge'.*one of pt"),
        ({}, {"observables": PAIRS, "also": ["pt"]}, "observables", "each name once"),
        ({}, {"observables": {"pt": ["pt_det", "pt_gen"]}}, "data", "no column 'pt_gen'"),
        ({}, {"observables": {"pt": ["pt_det"]}}, "observables", "column at detector level, column at particle"),
        ({}, {"observables": 5}, "observables", "names, or"),
        ({}, {"observables": "p t"}, "observables", "letters, digits"),
        ({}, {"reco": "reco"}, "reco", "{name} once"),
        ({}, {"observables": None, "reco": "{name}_rec"}, "observables", "no rule pairs"),
        ({"simulation": {"pt_gen": 0.0, "w/d_gen": 0.0}}, {"observables": None}, "observables", "more than one way"),
        ({"nature": {"pt_det": np.nan}}, {}, "data", r"nature\.csv.*pt_det is nan in row 0|pt_det"),
        ({"nature": {"pt_det": "x"}}, {}, "data", "'pt_det' must hold numbers, not 'x'"),
        ({"simulation": {"pass_det": 2}}, {}, "data", "'pass_det' must hold 0 and 1 only; it is 2 in row 0"),
        ({"simulation": {"pass_det": 1}}, {}, "data", "pt_det is -999 in row"),
        ({"simulation": {"pass_reco": 1}}, {}, "data", "pass_det, pass_reco"),
        ({"simulation": {"genWeight": 1.0, "mcWeight": 1.0}}, {}, "weights", "'genWeight', 'mcWeight'"),
        ({"simulation": {"genWeight": -1.0}}, {}, "data", "genWeight=-1.0.*row 0"),
        ({}, {"weights": "w"}, "weights", "a column of"),
        ({"nature": {"weight": lambda t: np.linspace(0, 1, len(t["pt_det"]))}}, {}, "data", "events count once"),
        ({}, {"nuisances": ["w_*"]}, "nuisances", "a column of weights"),
        ({}, {"nuisances": ["pt_true"]}, "nuisances", "used as something else"),
        (VARIED, {"nuisances": ["w_a"], "weights": "genWeight"}, "nuisance_weights", "total or factor"),
        (VARIED, {"nuisances": ["w_a"], "nuisance_weights": "factor"}, "nuisances", "changes by"),
        ({}, {"bins": {"pt": [0, 0]}}, "bins", "rising edges"),
        ({}, {"bins": {"eta": [0, 1]}}, "bins", "one of the observables"),
        ({}, {"bins": {"pt": [0, 1, 90, 91]}}, "bins", "there are none"),
        ({}, {"units": {"eta": "1"}}, "units", "one of the observables"),
    ],
)
def test_what_cannot_be_is_named(
    changed: dict[str, Any], options: dict[str, Any], field: str, words: str, tmp_path: Path
) -> None:
    weighted = {} if "genWeight" not in changed.get("simulation", {}) else {"alternative": {"genWeight": 1.0}}
    with pytest.raises(TaskError, match=words) as error:
        prepared(write(tmp_path, weighted | changed), tmp_path, **options)
    assert error.value.field == field


def test_a_rule_that_is_given_decides_between_two(tmp_path: Path) -> None:
    both = {name: {"pt_gen": 0.0, "w/d_gen": 0.0} for name in ("simulation", "alternative")}
    facts, _ = prepared(write(tmp_path, both), tmp_path, observables=["pt"], gen="{name}_true")
    assert facts["observables"] == ["pt"]
    assert read_columns(tmp_path / "inputs" / "simulation.parquet")["gen_pt"].std() > 0.5


def test_a_folder_that_lacks_a_file_or_has_two(tmp_path: Path) -> None:
    write(tmp_path)
    (tmp_path / "nature.parquet").write_bytes((tmp_path / "simulation.parquet").read_bytes())
    with pytest.raises(TaskError, match="one file in"):
        prepared(tmp_path, tmp_path)
    for name in ("nature.csv", "nature.parquet"):
        (tmp_path / name).unlink()
    with pytest.raises(TaskError, match="nature is missing"):
        prepared(tmp_path, tmp_path)
