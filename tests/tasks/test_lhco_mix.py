"""Mixed data sets: counted, reproducible, no event twice, nothing shared with the reference; refusals; the presets."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tasks.catalogue import catalogue, make_task
from tasks.lhco.mix import SAMPLE, SIGNALS, mix, unused_background
from tasks.lhco.task import window_around
from tasks.task import TaskError
from tools.events.parquet import read_columns, write_events
from tools.events.simulate import Simulation

Toy = Callable[..., tuple[dict[str, np.ndarray], np.ndarray]]
SIGNAL = "3500_500_100"
QCD_ROWS, SIGNAL_ROWS = 12_000, 800


@pytest.fixture(scope="module")
def sample(toy: Toy, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Reservoirs in which `mj1` numbers the events: QCD from 1 on, signal from 1,000,001 on."""
    folder = tmp_path_factory.mktemp("sample")
    qcd, _ = toy(QCD_ROWS, seed=1)
    write_events(folder / "qcd.parquet", qcd | {"mj1": np.arange(QCD_ROWS) + 1.0})
    columns, is_signal = toy(10, n_signal=SIGNAL_ROWS, seed=2)
    columns = {name: values[is_signal] for name, values in columns.items()}
    write_events(folder / f"signal_{SIGNAL}.parquet", columns | {"mj1": np.arange(SIGNAL_ROWS) + 1_000_001.0})
    return folder


def test_counts_are_right_and_no_event_comes_twice(sample: Path) -> None:
    mixed = mix(11_000, SIGNAL, 300, 5, sample)
    number = mixed.columns["mj1"]
    assert mixed.is_signal.sum() == 300
    assert len(number) == len(np.unique(number)) == 11_300
    np.testing.assert_array_equal(number > 1_000_000, mixed.is_signal)
    # Rows stay together: mjj belongs to the numbered event.
    qcd = read_columns(sample / "qcd.parquet")
    background = number[~mixed.is_signal].astype(int) - 1
    np.testing.assert_array_equal(mixed.columns["mjj"][~mixed.is_signal], qcd["mjj"][background])


def test_same_seed_same_data_another_seed_another(sample: Path) -> None:
    one, same, other = (mix(11_000, SIGNAL, 300, seed, sample) for seed in (1, 1, 2))
    for name in one.columns:
        np.testing.assert_array_equal(one.columns[name], same.columns[name])
    np.testing.assert_array_equal(one.is_signal, same.is_signal)
    assert not np.array_equal(one.columns["mj1"], other.columns["mj1"])


def test_the_row_order_says_nothing(sample: Path) -> None:
    ranks = []
    for seed in range(20):
        mixed = mix(11_000, SIGNAL, 400, seed, sample)
        where = np.flatnonzero(mixed.is_signal) / len(mixed.is_signal)
        ranks.append((where.mean() - 0.5) * np.sqrt(12 * 400))  # unit Gaussian for uniform positions
        assert abs(ranks[-1]) < 4.5
        # Neither does the reservoir's own order survive.
        assert abs(np.corrcoef(mixed.columns["mj1"][~mixed.is_signal], np.arange(11_000))[0, 1]) < 4.5 / np.sqrt(11_000)
    assert abs(np.mean(ranks)) < 4 / np.sqrt(20)


def test_unused_background_is_what_the_mix_left_out(sample: Path) -> None:
    used = set(mix(11_000, SIGNAL, 300, 7, sample).columns["mj1"])
    rest = unused_background(11_000, 7, sample)["mj1"]
    assert len(rest) == QCD_ROWS - 11_000
    assert used.isdisjoint(rest)
    assert len(used | set(rest)) == QCD_ROWS + 300


@pytest.mark.parametrize(
    ("changes", "field", "allowed"),
    [
        ({"signal": "9000"}, "signal", SIGNAL),
        ({"n_signal": -1}, "n_signal", "0 to"),
        ({"n_signal": 3001}, "n_signal", "0 to"),
        ({"n_signal": SIGNAL_ROWS + 1}, "n_signal", f"0 to {SIGNAL_ROWS}"),
        ({"background": 9_999}, "background", f"10000 to {QCD_ROWS}"),
        ({"background": QCD_ROWS + 1}, "background", f"10000 to {QCD_ROWS}"),
        ({"signal": "3000_400_250"}, "sample", "missing or unreadable"),  # not in this folder
    ],
)
def test_refusals_name_the_option_and_what_is_allowed(
    sample: Path, changes: dict[str, Any], field: str, allowed: str
) -> None:
    with pytest.raises(TaskError) as caught:
        mix(**{"background": 11_000, "signal": SIGNAL, "n_signal": 10, "seed": 1, "sample": sample} | changes)
    assert caught.value.field == field
    assert allowed in caught.value.allowed


def test_a_damaged_sample_is_blamed_on_the_sample(tmp_path: Path) -> None:
    (tmp_path / "qcd.parquet").write_text("broken")
    with pytest.raises(TaskError) as caught:
        mix(11_000, SIGNAL, 10, 1, tmp_path)
    assert caught.value.field == "sample"


def test_the_shipped_sample_has_events_enough_and_resonances_where_they_belong() -> None:
    assert len(read_columns(SAMPLE / "qcd.parquet", ["mjj"])["mjj"]) >= 200_000
    assert len(SIGNALS) >= 6
    for name, (mass, heavy, light, width) in SIGNALS.items():
        assert name == "_".join(f"{1000 * m:.0f}" for m in (mass, heavy, light))
        columns = read_columns(SAMPLE / f"signal_{name}.parquet")
        assert len(columns["mjj"]) >= 8000
        # Heavy quanta are produced below their mass the more often, the wider they are.
        assert mass * (0.97 - width) < np.median(columns["mjj"]) < mass * 1.02
        low, high = window_around(mass)
        # What a Breit-Wigner of this width leaves inside, times what the detector leaves of that.
        inside = 2 / np.pi * np.arctan((high - low) / (width * mass))
        assert np.mean((columns["mjj"] >= low) & (columns["mjj"] < high)) > 0.65 * inside
        near = np.abs(columns["mj2"] / heavy - 1) < 0.15
        assert near.mean() > 0.4
        assert np.median(columns["mj1"][near]) == pytest.approx(light, rel=0.15)


def test_the_shipped_sample_looks_like_the_official_one() -> None:
    """Of the R&D files: 77% of the signal in 3.3-3.7 TeV, and the means of the features there, within 4%."""
    means = {"qcd": (0.1356, 0.1722, 0.579, 0.481), "signal_3500_500_100": (0.1269, 0.3597, 0.390, 0.230)}
    for name, expected in means.items():
        columns = read_columns(SAMPLE / f"{name}.parquet")
        inside = (columns["mjj"] > 3.3) & (columns["mjj"] < 3.7)
        tau21 = [columns[f"tau2_{jet}"][inside] / columns[f"tau1_{jet}"][inside] for jet in ("j1", "j2")]
        found = [columns["mj1"][inside], (columns["mj2"] - columns["mj1"])[inside], *tau21]
        np.testing.assert_allclose([f.mean() for f in found], expected, rtol=0.04, err_msg=name)
        if name != "qcd":
            assert inside.mean() == pytest.approx(0.77, abs=0.02)


def test_the_provenance_says_how_the_files_were_made() -> None:
    provenance = json.loads((SAMPLE / "provenance.json").read_text())
    assert set(provenance) == {path.stem for path in SAMPLE.glob("*.parquet")}
    assert set(provenance) == {"qcd", *(f"signal_{name}" for name in SIGNALS)}
    text = (SAMPLE / "PROVENANCE.md").read_text()
    for name, facts in provenance.items():
        simulation = Simulation.model_validate(facts["simulation"])
        columns = read_columns(SAMPLE / f"{name}.parquet")
        assert len(columns["mjj"]) == simulation.events
        assert list(columns) == facts["columns"]
        assert simulation.process.settings() == facts["pythia_settings"]
        assert f"--events {simulation.events} --seed {simulation.seed}" in text
        if name != "qcd":
            resonance = SIGNALS[name.removeprefix("signal_")]
            assert (*(simulation.process.masses or ()), simulation.process.width) == resonance
    assert sum(path.stat().st_size for path in SAMPLE.iterdir()) < 12e6


@pytest.mark.parametrize(
    ("name", "options", "field", "allowed"),
    [
        ("lhco", {}, "task", "lhco-demo, lhco-rnd, lhco-jets, lhco-sr"),
        ("lhco-demo", {"signals": 3}, "signals", "n_signal"),
        ("lhco-demo", {"n_signal": "many"}, "n_signal", "valid integer"),
        ("lhco-demo", {"alpha": 0}, "alpha", "greater than 0"),
        ("lhco-demo", {"data": "folder"}, "data", "lhco-demo has no such option"),
        ("lhco-rnd", {"n_signal": -1}, "n_signal", "greater than or equal to 0"),
        ("lhco-sr", {"n_signal": 5}, "n_signal", "has no such option"),
    ],
)
def test_tasks_that_cannot_be_made(name: str, options: dict[str, Any], field: str, allowed: str) -> None:
    with pytest.raises(TaskError) as caught:
        make_task(name, options)
    assert caught.value.field == field
    assert allowed in caught.value.allowed


@pytest.mark.parametrize("name", list(catalogue()))
def test_options_make_the_very_same_task_again(name: str) -> None:
    task = make_task(name, {"seed": 3, "patience": 2} | ({"data": "/some/folder"} if name != "lhco-demo" else {}))
    assert make_task(name, task.options()) == task
    assert task.rule.patience == 2
