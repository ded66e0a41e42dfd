"""What `beamcrew export` writes: the numbers of the trace, in forms that others can read, the same every time."""

from __future__ import annotations

import csv
import itertools
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
import yaml
from matplotlib.figure import Figure
from report_runs import converged, failed, graded_details
from typer.testing import CliRunner

from agents.cli.main import app
from agents.trace import store
from agents.trace.pdf import lines_of, report
from agents.trace.publish import export
from tasks.page import Plot, Table, Text
from tasks.plotting import figure, pdf, png


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    clock = itertools.count(1.79e9, 7.5)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(store.time, "time", lambda: next(clock))
        return converged(tmp_path_factory.mktemp("runs") / "one")


@pytest.fixture(scope="module")
def files(run: Path) -> Path:
    assert export(run, run / "export") == []
    return run / "export"


def test_every_figure_comes_with_its_numbers(files: Path) -> None:
    names = {path.stem for path in (files / "figures").iterdir()}
    assert names == {"claim", "spectrum", "scores", "sic", "steering"}
    for name in names:
        found = {path.suffix: path.read_bytes() for path in (files / "figures").glob(f"{name}.*")}
        assert found[".pdf"].startswith(b"%PDF"), name
        assert found[".png"].startswith(b"\x89PNG"), name
        assert found.keys() == {".pdf", ".png", ".csv"}, name
    with (files / "figures" / "claim.csv").open() as file:
        rows = list(csv.DictReader(file))
    told = graded_details()["spectrum"]
    for column, name in (("events after the cut", "passed"), ("fitted signal", "signal"), ("mjj low [TeV]", "edges")):
        np.testing.assert_allclose([float(row[column]) for row in rows], told[name][: len(rows)])
    errors = [float(row["events after the cut error (statistical)"]) for row in rows]
    np.testing.assert_allclose(errors, np.sqrt(told["passed"]))


def test_hepdata_gets_the_harness_numbers_and_none_of_the_truth(files: Path) -> None:
    tables = files / "hepdata" / "tables"
    results = yaml.safe_load((tables / "results.yaml").read_text())
    named = [each["value"] for each in results["independent_variables"][0]["values"]]
    values = dict(zip(named, results["dependent_variables"][0]["values"], strict=True))
    assert (values["mass [TeV]"]["value"], values["mass [TeV]"]["errors"][0]["symerror"]) == (3.512, 0.0213)
    assert values["signal events"]["value"] == 93.2  # not the claimed 190
    assert {path.stem for path in tables.glob("*.yaml")} == {"results", "claim", "spectrum", "scores", "submission"}
    assert (files / "hepdata" / "submission.tar.gz").is_file()


def test_the_same_blocks_give_the_same_paper() -> None:
    def drawn() -> Figure:
        made, axes = figure(2, 1)
        axes.plot([1, 2])
        return made

    assert pdf(drawn()) == pdf(drawn())
    plot = Plot("one", "A caption.", drawn)
    sections = [("Answer", [Text("A line. " * 900), Table("T", ("a",), [("$x",)]), plot])]
    paper = report("What is there?", sections, {"one": png(drawn())})
    assert paper == report("What is there?", sections, {"one": png(drawn())})
    assert paper.count(b"/Type /Page ") == 3  # the text ends on the second, and the figure does not fit below it
    assert paper.count(b"/Subtype /Image") == 1


def test_the_script_checks_the_trace_and_reruns_this_run(run: Path, files: Path, tmp_path: Path) -> None:
    fake = tmp_path / "bin" / "beamcrew"
    fake.parent.mkdir()
    fake.write_text('#!/bin/sh\necho "$@"\n')
    fake.chmod(0o755)
    environment = os.environ | {"PATH": f"{fake.parent}:{os.environ['PATH']}"}

    def call(*words: str) -> subprocess.CompletedProcess[str]:
        script = ["sh", str(files / "rerun.sh"), *words]
        return subprocess.run(script, capture_output=True, text=True, env=environment, check=False)

    assert call().stdout.split() == ["rerun", f"{files}/.."]
    assert call(str(run), "--json").stdout.split() == ["rerun", str(run), "--json"]
    (tmp_path / "trace.jsonl").write_text("another")
    other = call(str(tmp_path))
    assert other.returncode != 0
    assert "rerun" not in other.stdout


def test_a_run_without_an_answer_is_exported_as_far_as_it_came(tmp_path: Path) -> None:
    left_out = export(failed(tmp_path / "run"), tmp_path / "out")
    assert left_out == ["hepdata: the run has no numbers to publish"]
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"report.pdf", "rerun.sh"}


def test_nothing_that_is_there_is_replaced(run: Path, tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["export", str(run), "--out", str(tmp_path)])
    assert (result.exit_code, "is there already" in result.stderr) == (2, True)
    assert not list(tmp_path.iterdir())
    assert CliRunner().invoke(app, ["export", str(tmp_path)]).exit_code == 2


def test_tables_on_paper_keep_all_words_in_columns() -> None:
    words = "a long remark that does not fit into a cell"
    lines = lines_of(Table("T", ("name", "why"), [("x", words)], mark=0))
    assert [lines[0].text, lines[2].text[:2]] == ["T", "* "]
    assert " ".join(line.text[lines[1].text.index("why") :].strip() for line in lines[2:]).strip() == words
