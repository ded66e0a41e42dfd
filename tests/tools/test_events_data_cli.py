"""`beamcrew data`: what it prints and writes, and one clear line for what is wrong."""

from __future__ import annotations

from pathlib import Path

import awkward as ak
import numpy as np
import pytest
from typer.testing import CliRunner, Result

from tools import data_cli, data_simulate
from tools.contract import ToolError
from tools.events.lhco import write_particles
from tools.events.parquet import read_columns


@pytest.fixture
def cathode(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    rows = np.column_stack([rng.uniform(3.3, 3.7, 50), *rng.uniform(0.1, 0.5, (4, 50)), np.arange(50) % 5 == 0])
    np.save(tmp_path / "in.npy", rows)
    return tmp_path / "in.npy"


def call(*arguments: object) -> Result:
    return CliRunner().invoke(data_cli.app, [str(a) for a in arguments])


def assert_one_line(result: Result, *words: str) -> None:
    assert result.exit_code == 2, result.output
    lines = [line for line in result.stderr.splitlines() if line.startswith("error:")]
    assert len(lines) == 1, result.output
    for word in words:
        assert word in lines[0]
    assert "Traceback" not in result.output


def test_convert_keeps_the_truth_apart(cathode: Path, tmp_path: Path) -> None:
    target = tmp_path / "new" / "out.parquet"
    result = call("convert", cathode, target)
    assert result.exit_code == 0, result.output
    assert set(read_columns(target)) == {"mjj", "mj1", "delta_mj", "tau21_j1", "tau21_j2"}
    truth = read_columns(data_cli.labels_path(target))
    np.testing.assert_array_equal(truth["is_signal"], np.arange(50) % 5 == 0)
    assert_one_line(call("convert", cathode, target), "OUT", "exists")


def test_info_describes_without_telling_the_truth(cathode: Path) -> None:
    result = call("info", cathode)
    assert result.exit_code == 0, result.output
    for words in ("rows 50, columns 5, labels: yes", "mjj", "TeV", "3."):
        assert words in result.stdout
    assert "10" not in result.stdout.split("labels")[1]  # the number of signal events


def test_info_clusters_only_the_first_events_of_particles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dijet = [
        {"pt": pt, "eta": 0.0, "phi": phi} for phi, pt in ((0.0, 1500.0), (0.1, 200.0), (3.0, 1400.0), (3.2, 200.0))
    ]
    write_particles(tmp_path / "p.h5", ak.Array([dijet] * 7), np.zeros(7))
    monkeypatch.setattr(data_cli, "INFO_EVENTS", 3)
    result = call("info", tmp_path / "p.h5")
    assert "7 events of particles; ranges are those of the first 3" in result.stdout
    assert "rows 3, columns 10, labels: yes" in result.stdout


def test_info_finds_labels_beside_the_events(cathode: Path, tmp_path: Path) -> None:
    call("convert", cathode, tmp_path / "out.parquet")
    assert "labels: in" in call("info", tmp_path / "out.parquet").stdout
    data_cli.labels_path(tmp_path / "out.parquet").unlink()
    assert "labels: no" in call("info", tmp_path / "out.parquet").stdout


def test_what_is_wrong_with_a_file_is_one_line(tmp_path: Path) -> None:
    text = tmp_path / "x.txt"
    text.write_text("hello")
    assert_one_line(call("info", text), str(text), "npy, parquet or HDF5")
    assert_one_line(call("info", tmp_path / "none.h5"), "No such file")
    assert_one_line(call("convert", tmp_path, tmp_path / "o.parquet"), "directory")


@pytest.mark.parametrize(
    ("process", "options", "words"),
    [
        ("qcd", ["--events", "0"], ["events=0", "greater than 0"]),
        ("zjets", ["--seed", "-1"], ["seed=-1"]),
        ("resonance", ["--masses", "1,2"], ["masses='1,2'", "three numbers"]),
        ("resonance", ["--width", "0.5"], ["width=0.5", "less than or equal to 0.15"]),
        ("resonance", ["--masses", "1,2,3"], ["m_B + m_C < m_A"]),
        ("qcd", ["--workers", "0"], ["workers=0", "at least 1"]),
    ],
)
def test_impossible_simulations_are_one_line(
    tmp_path: Path, process: str, options: list[str], words: list[str]
) -> None:
    assert_one_line(call("simulate", process, tmp_path / "o.parquet", *options), *words)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("process", "option"),
    [
        ("qcd", "--masses"),
        ("resonance", "--tune"),
        ("zjets", "--width"),
        ("jets", "--particles"),
        ("showers", "--workers"),
        ("showers", "--kinds"),
    ],
)
def test_what_a_process_does_not_use_is_no_option_of_it(tmp_path: Path, process: str, option: str) -> None:
    result = call("simulate", process, tmp_path / "o.h5", option)
    assert result.exit_code == 2
    assert f"No such option: {option}" in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_simulate_and_then_say_how_to_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stopped(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(data_simulate, "simulate", stopped)
    result = call("simulate", "qcd", tmp_path / "o.parquet")
    assert result.exit_code == 130
    assert "run the same command again" in result.stderr

    seen = {}

    def record(simulation, target, workers, progress):  # type: ignore[no-untyped-def]
        seen.update(simulation=simulation, target=target, workers=workers)
        progress(3, 3)
        return {"acceptance": 0.5}

    monkeypatch.setattr(data_simulate, "simulate", record)
    options = ["--masses", "3,0.4,0.2", "--events", 3, "--seed", 9, "--workers", 2, "--particles"]
    result = call("simulate", "resonance", tmp_path / "o.parquet", *options)
    assert result.exit_code == 0, result.output
    assert seen["simulation"].process.masses == (3.0, 0.4, 0.2)
    assert (seen["simulation"].events, seen["simulation"].seed, seen["simulation"].particles) == (3, 9, True)
    assert seen["workers"] == 2


def test_lhco_downloads_each_file_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fetched = []

    def fetch(name, folder, base_url, progress):  # type: ignore[no-untyped-def]
        if name == "bad":
            raise ToolError("file", name, "allowed are others")
        fetched.append((name, folder, base_url))
        progress(1, 2)
        return folder / name

    monkeypatch.setattr(data_cli.download, "fetch_official", fetch)
    result = call("lhco", "--out", tmp_path, "--file", "a", "--file", "b", "--base-url", "http://127.0.0.1:1")
    assert result.exit_code == 0, result.output
    assert [name for name, _, _ in fetched] == ["a", "b"]
    assert fetched[0][1:] == (tmp_path, "http://127.0.0.1:1")
    call("lhco", "--out", tmp_path)
    assert fetched[-1][0] == "events_anomalydetection_v2.features.h5"
    assert_one_line(call("lhco", "--file", "bad"), "file='bad'", "allowed")
