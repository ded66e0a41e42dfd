"""The finished study under benchmarks/ is the shipped one, whole, and its tables follow from its list of runs."""

from __future__ import annotations

import csv
from pathlib import Path
from statistics import fmean

import pytest

from agents.studies.results import StudyResult
from agents.studies.study import Study, read_study

FOLDER = Path(__file__).parents[3] / "benchmarks" / "studies" / "example"


def test_it_is_the_shipped_study_and_whole() -> None:
    result = StudyResult.model_validate_json((FOLDER / "results.json").read_bytes())
    assert Study.model_validate(result.study) == read_study("example")
    assert (result.planned, result.done, result.missing, result.damaged) == (200, 200, 0, [])


def test_its_tables_follow_from_its_runs() -> None:
    result = StudyResult.model_validate_json((FOLDER / "results.json").read_bytes())
    with (FOLDER / "outcomes.csv").open() as file:
        runs = list(csv.DictReader(file))
    assert len({run["cell"] for run in runs}) == 200
    for arm in (arm for arm in result.arms if arm.derived is None):
        mine = [run for run in runs if run["backend"] == arm.name]
        assert (len(mine), arm.success.successes) == (40, sum(run["success"] == "True" for run in mine))
        metric = [float(run["metric"]) for run in mine if run["metric"]]
        assert arm.metric.mean == pytest.approx(fmean(metric))
        null = [run for run in mine if run["truth_signal"] == "False"]
        assert (arm.claims.n, arm.claims.false) == (len(null), sum(run["answer_signal"] == "True" for run in null))
