"""The module for scripts and notebooks: its tables hold what the run has, and it refuses what the command line does."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from report_runs import converged, failed

import beamcrew
from sandbox.reader import PNG_START, UnsafeFile
from tasks.task import TaskError
from tools.catalogue import CATALOGUE
from tools.contract import ToolError


def test_tables_say_what_the_result_says(tmp_path: Path) -> None:
    run = beamcrew.load(converged(tmp_path / "run"))
    result = run.result
    assert f"{result.status}>" in repr(run)
    assert list(run.iterations.index) == [each.iteration for each in result.iterations]
    for each in result.iterations:
        value = run.iterations.loc[each.iteration, "value"]
        assert value == each.value or (each.value is None and pd.isna(value))
    assert list(run.claims.index) == [check.name for check in result.claims]
    assert run.claims.loc["mass", "claimed"] == next(c.claimed for c in result.claims if c.name == "mass")
    assert list(run.sealed.index) == [metric.name for metric in result.sealed]
    np.testing.assert_array_equal(run.sealed["value"], [metric.value for metric in result.sealed])


def test_the_trace_has_a_row_for_every_event(tmp_path: Path) -> None:
    run = beamcrew.load(converged(tmp_path / "run"))
    assert len(run.trace) == len((run.folder / "trace.jsonl").read_text().splitlines())
    assert run.trace["kind"].iloc[[0, -1]].tolist() == ["run_started", "run_finished"]
    assert run.trace["time"].is_monotonic_increasing
    assert len(run.calls) == (run.trace["kind"] == "tool_called").sum() > 0
    assert run.calls["tool"].notna().all()


def test_figures_are_pictures_with_captions_and_nothing_is_written(tmp_path: Path) -> None:
    folder = converged(tmp_path / "run")
    before = sorted(folder.rglob("*"))
    figures = beamcrew.load(folder).figures
    assert len(figures) >= 3
    assert all(figure.caption and figure._repr_png_().startswith(PNG_START) for figure in figures)
    assert sorted(folder.rglob("*")) == before


def test_a_run_that_came_to_nothing_has_empty_tables(tmp_path: Path) -> None:
    run = beamcrew.load(failed(tmp_path / "run"))
    assert run.claims.empty
    assert run.sealed.empty


def test_files_of_a_run_are_read_strictly(tmp_path: Path) -> None:
    run = beamcrew.load(converged(tmp_path / "run"))
    (run.folder / "workspace").mkdir(exist_ok=True)
    table = pd.DataFrame({"score": np.linspace(0, 1, 5)})
    table.to_parquet(run.folder / "workspace/a.parquet")
    pd.testing.assert_frame_equal(run.read("workspace/a.parquet"), table)
    table.to_parquet(tmp_path / "outside.parquet")
    (run.folder / "workspace/link.parquet").symlink_to(tmp_path / "outside.parquet")
    for path in ("../outside.parquet", "workspace/link.parquet", "trace.jsonl"):
        with pytest.raises(UnsafeFile):
            run.read(path)


def test_what_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Exception, match=r"trace\.jsonl"):
        beamcrew.load(tmp_path)


def test_tools_are_those_of_the_catalogue(tmp_path: Path) -> None:
    assert beamcrew.tools is CATALOGUE
    facts = beamcrew.prepare("lhco-demo", tmp_path, events=20_000, n_signal=0)
    described = beamcrew.tools["events.describe"](events=str(tmp_path / "inputs/events.parquet"))
    assert described.rows == facts["rows"]
    with pytest.raises(ToolError, match="no such file"):
        beamcrew.tools["events.describe"](events=str(tmp_path / "none.parquet"))


def test_pictures_are_shown_unless_they_are_not_wanted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chosen: list[bool] = []
    monkeypatch.setattr(
        "agents.runs.run.start", lambda settings, backend, _, **more: chosen.append(backend.dialect.pictures)
    )
    monkeypatch.setattr("beamcrew.running.load", lambda _: None)
    where = {"model": "m", "base_url": "http://127.0.0.1:9/v1", "runs": tmp_path}
    beamcrew.run(**where)  # type: ignore[arg-type]
    beamcrew.run(**where, pictures=False)  # type: ignore[arg-type]
    assert chosen == [True, False]


def test_wrong_arguments_are_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(TaskError, match="no-such-task"):
        beamcrew.run(task="no-such-task", backend="analyst", runs=tmp_path)
    with pytest.raises(ValueError, match="workers"):
        beamcrew.run(backend="analyst", runs=tmp_path, workers=0)
    with pytest.raises(ValueError, match="no-such-backend"):
        beamcrew.run(backend="no-such-backend", runs=tmp_path)
    assert not list(tmp_path.iterdir())
