"""Gates of an unfolding on a Gaussian whose truth is known: what passes, and what must not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tasks.catalogue import make_task
from tasks.page import Graded as GradedScore
from tasks.page import Plot, Run, Table, Text
from tasks.score import Score
from tasks.unfolding.gates import condition
from tasks.unfolding.submission import WeightsSubmission
from tasks.unfolding.task import UnfoldingTask
from tools.events.parquet import write_events
from tools.unfolding import unfold
from tools.unfolding.read import read

N = 8000
SHIFT, SMEAR = 0.3, 0.5
NAMES = ("stress 5%", "stress 10%", "stress 20%", "stress 50%", "sloped prior", "flat prior", "other method")
Weights = dict[str, np.ndarray]


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> tuple[UnfoldingTask, Path, Weights]:
    """A task with a unit normal as simulation, one shifted by SHIFT as nature, and what IBU makes of it."""
    folder = tmp_path_factory.mktemp("gaussian")
    for seed, (name, mean) in enumerate((("simulation", 0.0), ("nature", SHIFT))):
        rng = np.random.default_rng(seed)
        x = rng.normal(mean, 1, N)
        write_events(folder / f"{name}.parquet", {"gen_x": x, "reco_x": x + SMEAR * rng.standard_normal(N)})
    task = make_task("unfolding", {"data": str(folder)})
    assert isinstance(task, UnfoldingTask)
    task.prepare(folder / "inputs", folder / "held", folder / "sealed")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        unfold(
            data=str(folder / "inputs" / "data.parquet"),
            simulation=str(folder / "inputs" / "simulation.parquet"),
            observables=["x"],
            method={"kind": "ibu", "bins": 20, "iterations": 6},
            beside={"kind": "transport", "bins": 20},
            bootstraps=12,
            stress=True,
        )
    return task, folder, read(folder / "unfolded.parquet").weights


def graded(case: tuple[UnfoldingTask, Path, Weights], changed: dict[str, Any], into: Path) -> Score:
    """The score of the weights with some changed, or left out if None."""
    task, folder, weights = case
    every = {f"weights_{name}": w for name, w in (weights | changed).items() if w is not None}
    x = read(folder / "unfolded.parquet").gen["x"]
    write_events(into / "u.parquet", {"gen_x": x, **every})
    return task.grade(WeightsSubmission(weights="u.parquet"), folder / "inputs", into, 1)


def test_a_method_that_unfolds_passes_all(case: tuple[UnfoldingTask, Path, Weights], tmp_path: Path) -> None:
    found = graded(case, {}, tmp_path)
    gates = found.details["gates"]
    assert set(NAMES) < set(gates)
    assert {name: gate["more"] for name, gate in gates.items() if gate["passed"] is not True} == {}
    assert "warning" not in found.details
    # The slope is 50% at the ends of the rank; the mean of the lowest tenth is at rank 0.05.
    assert gates["stress 50%"]["numbers"]["change"] == pytest.approx(0.45 / 0.55, abs=0.02)
    assert gates["stress 50%"]["numbers"]["recovered"] > 0.9
    assert found.details["iterations"] == 6


def test_a_method_that_ignores_the_data_fails(case: tuple[UnfoldingTask, Path, Weights], tmp_path: Path) -> None:
    """It gives the simulation back whatever the data are, with statistical errors."""
    start = case[2]["prior_slope"].sum() / N * np.ones(N)
    rng = np.random.default_rng(1)
    ignoring = dict.fromkeys(case[2], start) | {f"bootstrap_{i}": start * rng.poisson(1, N) for i in range(12)}
    found = graded(case, ignoring, tmp_path)
    failed = {name for name, gate in found.details["gates"].items() if gate["passed"] is False}
    assert {"stress 20%", "stress 50%"} <= failed
    assert found.details["gates"]["stress 50%"]["numbers"]["recovered"] == pytest.approx(0, abs=0.01)
    assert any(name.startswith("bottom line") for name in failed)  # nothing is left of what the data say
    assert "stress 50%" in found.details["warning"]
    # Errors that are large enough for any bias do not help.
    wide = {f"bootstrap_{i}": start * (1 + 0.5 * (-1) ** i) for i in range(12)}
    again = graded(case, ignoring | wide, tmp_path).details["gates"]["stress 50%"]
    assert again["value"] < 1
    assert again["passed"] is False


def test_small_errors_singular_covariances_and_lost_events_fail(
    case: tuple[UnfoldingTask, Path, Weights], tmp_path: Path
) -> None:
    nominal = case[2]["nominal"]

    def failed(changed: dict[str, Any]) -> set[str]:
        gates = graded(case, changed, tmp_path).details["gates"]
        return {name.partition(",")[0] for name, gate in gates.items() if gate["passed"] is False}

    alternating = {f"bootstrap_{i}": nominal * (1 + 0.01 * (-1) ** i) for i in range(12)}
    assert "covariance x" in failed(alternating)
    sure = {f"bootstrap_{i}": nominal + 0.01 * (case[2][f"bootstrap_{i}"] - nominal) for i in range(12)}
    assert {"stress 50%", "bottom line"} <= failed(sure | {"method": None})
    assert "normalisation" in failed({"nominal": 1.2 * nominal})
    few = np.where(np.arange(N) < N // 10, 10 * nominal, 0)
    assert "effective sample" in failed({"nominal": few})


def test_what_was_not_made_has_not_passed(case: tuple[UnfoldingTask, Path, Weights], tmp_path: Path) -> None:
    left_out = {name: None for name in case[2] if name.startswith(("stress", "prior", "method"))}
    found = graded(case, left_out, tmp_path)
    assert {name for name, gate in found.details["gates"].items() if gate["passed"] is None} == set(NAMES)
    assert "stress 50%: not made (unfold with stress=true)" in found.details["warning"]


def test_the_condition_number_is_that_of_the_correlations() -> None:
    r, error = 0.6, np.array([1.0, 1000.0])
    covariance = np.array([[1, r], [r, 1]]) * np.outer(error, error)
    assert condition(covariance) == pytest.approx((1 + r) / (1 - r))
    assert condition(np.ones((2, 2))) == 1e300
    assert condition(np.array([[1.0, 2.0], [2.0, 1.0]])) == 1e300  # not positive definite
    assert condition(np.diag([1.0, 0.0])) == 1e300


def test_the_page_shows_gates_correlations_and_findings(
    case: tuple[UnfoldingTask, Path, Weights], tmp_path: Path
) -> None:
    good, bad = (graded(case, changed, tmp_path) for changed in ({}, {"stress_50": case[2]["stress_5"]}))

    def page(score: Score) -> tuple[Any, Run]:
        run = Run(graded=[GradedScore(0, None, score)], best=0)
        return case[0].page(run), run

    fine, _ = page(good)
    (table,) = (b for b in fine.best if isinstance(b, Table) and b.title == "Gates")
    assert {row[3] for row in table.rows} == {"passed"}
    (plot,) = (b for b in fine.best if isinstance(b, Plot) and b.name == "correlations")
    assert plot.draw() is not None
    assert any("gates passed" in b.text for b in fine.answer if isinstance(b, Text))
    wrong, run = page(bad)
    (table,) = (b for b in wrong.best if isinstance(b, Table) and b.title == "Gates")
    assert [row[0] for row in table.rows if row[3] == "FAILED"] == ["stress 50%"]
    assert any("stress 50%" in warning.text for warning in run.warnings())
