"""What commands and tools write: never over an input or a part of a run, over other files only when asked to."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from agents.cli.main import app
from tests.files.toys import assert_refused, data, events, jets, parquet, refused
from tools import data_cli
from tools.anomaly.classify import classify
from tools.arrays import save_arrays
from tools.contract import ToolError
from tools.events.parquet import read_columns
from tools.files import below, new_file, written
from tools.jet_model.jets_file import read_jets, write_jets


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_split_needs_two_files_and_keeps_its_input() -> None:
    write_jets(Path("in.h5"), jets(40))
    before = Path("in.h5").read_bytes()
    Path("link.h5").symlink_to("in.h5")
    assert_refused(data("split", "in.h5", "a.h5", "a.h5"), "HELD", "REST")
    assert_refused(data("split", "in.h5", "a.h5", "./a.h5"), "HELD", "REST")
    assert not Path("a.h5").exists()
    for target in ("in.h5", "link.h5"):
        assert_refused(data("split", "in.h5", target, "b.h5", "--force"), "REST", "the input")
    Path("a.h5").write_text("mine")
    assert_refused(data("split", "in.h5", "a.h5", "b.h5"), "REST", "--force")
    assert Path("a.h5").read_text() == "mine"
    assert Path("in.h5").read_bytes() == before
    assert data("split", "in.h5", "a.h5", "b.h5", "--force").exit_code == 0
    assert len(read_jets(Path("a.h5"))) + len(read_jets(Path("b.h5"))) == 40
    assert_refused(data("split", "in.h5", "c.h5", "b.parquet"), "HELD", ".h5")


@pytest.mark.parametrize("name", ["out.csv", "out.hdf5", "out", "out.parquet.gz"])
def test_convert_refuses_a_name_that_does_not_fit(name: str) -> None:
    parquet(Path("in.parquet"), events(100))
    assert_refused(data("convert", "in.parquet", name), "OUT", ".parquet")
    assert not Path(name).exists()


def test_convert_keeps_what_is_there() -> None:
    parquet(Path("in.parquet"), events(100))
    before = Path("in.parquet").read_bytes()
    assert_refused(data("convert", "in.parquet", "in.parquet", "--force"), "the input")
    assert Path("in.parquet").read_bytes() == before
    labels = data_cli.labels_path(Path("out.parquet"))
    labels.write_text("mine")
    assert_refused(data("convert", "in.parquet", "out.parquet"), str(labels), "--force")
    assert data("convert", "in.parquet", "out.parquet", "--force").exit_code == 0
    assert not labels.exists()  # they were of another file
    parquet(Path("labelled.parquet"), events(100) | {"truth": np.arange(100) % 2})
    assert data("convert", "labelled.parquet", "out.parquet", "--force").exit_code == 0
    assert read_columns(labels)["is_signal"].sum() == 50
    write_jets(Path("jets.h5"), jets())
    assert_refused(data("convert", "jets.h5", "jets.parquet"), "OUT", ".h5")


@pytest.mark.parametrize("process", ["qcd", "zjets", "jets", "showers"])
def test_simulations_refuse_a_name_that_does_not_fit(process: str) -> None:
    assert_refused(data("simulate", process, "out.csv", "--events", 1), "OUT", "a name that ends in")
    for name in ("out.parquet", "out.h5"):
        Path(f"{name}.provenance.json").write_text("mine")
    target = "out.h5" if process in ("jets", "showers") else "out.parquet"
    assert_refused(data("simulate", process, target, "--events", 1), "provenance.json", "exists")
    assert not Path(target).exists()


def run_of(name: str) -> Path:
    run = Path("runs", name)
    run.mkdir(parents=True)
    for file in ("trace.jsonl", "result.json", "report.html"):
        (run / file).write_text("record")
    return run


@pytest.mark.parametrize(
    ("command", "option", "suffix"), [(["trace", "export"], "--out", ".json"), (["compare"], "--html", ".html")]
)
def test_exports_never_replace_the_record_of_a_run(command: list[str], option: str, suffix: str) -> None:
    a, b = run_of("a"), run_of("b")
    Path(f"mine{suffix}").write_text("mine")
    runs = [str(a), str(b)] if command == ["compare"] else [str(a)]

    def said(*more: object) -> str:
        result = CliRunner().invoke(app, [*command, *runs, option, *map(str, more)])
        assert result.exit_code == 2, result.output
        return " ".join(result.stderr.split())

    for target in (a / f"result{suffix}", b / f"report{suffix}"):
        if target.exists():
            assert "a run's folder" in said(target, "--force")
    assert "--force" in said(f"mine{suffix}")
    assert suffix in said(a / "trace.jsonl", "--force")
    assert suffix in said("out.txt")
    assert {p.read_text() for run in (a, b) for p in run.iterdir()} == {"record"}
    assert Path(f"mine{suffix}").read_text() == "mine"


def test_tools_never_replace_an_input() -> None:
    parquet(Path("events.parquet"), events(3000))
    parquet(Path("t.parquet"), events(3000))
    before = Path("events.parquet").read_bytes()
    call: dict[str, Any] = {"events": "events.parquet", "window": (3.0, 3.4), "template": "t.parquet"}
    refused(lambda: classify(**call, out="events.parquet"), "out='events.parquet'", "`events`")
    refused(lambda: classify(**call, out_template="./t.parquet"), "out_template", "`template`")
    assert Path("events.parquet").read_bytes() == before


def test_paths_that_cannot_be_files() -> None:
    Path("folder.parquet").mkdir()
    Path("file").write_text("")
    for path, words in {
        "folder.parquet": "folder",
        "file/out.parquet": "file is a file",
        "nul\0.parquet": "NUL",
        f"{'x' * 300}.parquet": "240 bytes",
        "../out.parquet": "below the working directory",
    }.items():
        refused(lambda path=path: below("out", path, ".parquet"), words)
        refused(lambda path=path: save_arrays(path, {"score": np.zeros(2)}), "out", words)
    refused(lambda: classify(events="nul\0.parquet", window=(3.0, 3.4), template="t"), "events", "NUL")
    refused(lambda: below("folder", "file", folder=True), "file is a file")
    assert below("folder", "folder.parquet", folder=True) == Path("folder.parquet")
    assert_refused(data("convert", "file", "folder.parquet"), "folder")
    with pytest.raises(ToolError, match="can be written"), written(Path("file", "out")):
        pass


def test_a_file_in_a_folder_of_a_run_may_be_new() -> None:
    run = run_of("a")
    assert new_file("--html", run / "new.html", (".html",)) == run / "new.html"
    refused(lambda: new_file("--html", run / "report.html", (".html",), force=True), "run's folder")
