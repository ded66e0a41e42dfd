"""Inputs without truth in them, the sealed side, and the verdict, for the demo and the R&D data set."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from no_truth import assert_no_truth, assert_order_is_random

from tasks.catalogue import make_task
from tasks.lhco import truth
from tasks.lhco.claims import SearchSubmission
from tasks.lhco.mix import unused_background
from tasks.lhco.presets import RND_FILE
from tasks.task import TaskError
from tools.catalogue import find
from tools.events.frame import write_frame
from tools.events.lhco import FEATURES
from tools.events.parquet import read_columns, write_events
from tools.events.table import COLUMNS, derive


def test_demo_inputs_hold_the_events_and_nothing_of_the_truth(tmp_path: Path) -> None:
    task = make_task("lhco-demo", {"n_signal": 500, "events": 20_000, "seed": 4})
    facts = task.prepare(tmp_path / "inputs", tmp_path / "held_out", tmp_path / "sealed")
    inputs = tmp_path / "inputs"
    assert [path.name for path in inputs.iterdir()] == ["events.parquet"]
    assert_no_truth(inputs, {*COLUMNS, "delta_r_jj"})
    true, is_signal, unseen = truth.read(tmp_path / "sealed")
    everything = read_columns(tmp_path / "held_out" / "events.parquet")
    events = read_columns(inputs / "events.parquet")
    assert facts["rows"] == len(events["mjj"]) == facts["held_out_rows"] == unseen.sum() == 10_000
    assert len(everything["mjj"]) == len(is_signal) == 20_000
    for name, values in events.items():
        np.testing.assert_array_equal(values, everything[name][~unseen])
    assert is_signal.sum() == true.n_signal == 500
    assert abs(is_signal[unseen].sum() - 250) < 5 * np.sqrt(125)  # drawn at random, signal or not
    is_signal = is_signal[~unseen]
    assert true.mass == 3.5
    assert_order_is_random(is_signal)
    # Labels belong to their rows: the labelled events are the resonance.
    assert np.median(events["mjj"][is_signal]) == pytest.approx(3.5, rel=0.02)
    assert np.median(events["mj2"][is_signal]) > 1.5 * np.median(events["mj2"][~is_signal])
    told = str(
        {key: value for key, value in facts.items() if key not in ("mass_quantiles_0_5_50_95_100", "search_range")}
    )
    assert not [word for word in ("500", "3.5") if word in told]
    assert "mjj" not in facts["features"]
    derive(events, facts["features"])  # every name that agents are told can be computed
    assert not [word for word in ("500", "600 ", "3.5 ", "is_signal") if word in task.brief()]


def test_signal_and_background_are_stored_alike(tmp_path: Path) -> None:
    """The stored digits must not tell them apart: the same mantissa bits are used in both."""
    task = make_task("lhco-demo", {"n_signal": 500, "events": 20_000})
    task.prepare(tmp_path / "inputs", tmp_path / "held_out", tmp_path / "sealed")
    _, is_signal, unseen = truth.read(tmp_path / "sealed")
    is_signal = is_signal[~unseen]
    for name, values in read_columns(tmp_path / "inputs" / "events.parquet").items():
        bits = values.astype(np.float32).view(np.uint32)
        used = [np.bitwise_or.reduce(bits[rows]) & 0x7FFFFF for rows in (is_signal, ~is_signal)]
        assert used[0] == used[1], name


def test_without_signal_there_is_no_mass_and_a_verdict_all_the_same(tmp_path: Path) -> None:
    task = make_task("lhco-demo", {"n_signal": 0, "events": 20_000})
    task.prepare(tmp_path / "inputs", tmp_path / "held_out", tmp_path / "sealed")
    true, is_signal, unseen = truth.read(tmp_path / "sealed")
    assert true.mass is None
    assert not is_signal.any()
    write_events(tmp_path / "scores.parquet", {"score": np.random.default_rng(1).normal(size=(~unseen).sum())})
    submission = SearchSubmission(scores="scores.parquet", window=(3.3, 3.7))
    verdict = task.seal([], submission, tmp_path, tmp_path / "sealed", None)
    assert [metric.value for metric in verdict.metrics] == [None]
    assert task.seal([], None, tmp_path, tmp_path / "sealed", None).metrics == []


def test_demo_verdict_measures_the_true_separation(tmp_path: Path) -> None:
    task = make_task("lhco-demo", {"n_signal": 500, "events": 20_000, "seed": 2})
    task.prepare(tmp_path / "inputs", tmp_path / "held_out", tmp_path / "sealed")
    _, is_signal, unseen = truth.read(tmp_path / "sealed")
    score = np.random.default_rng(1).normal(size=len(is_signal)) + 1.5 * is_signal
    write_events(tmp_path / "scores.parquet", {"score": score[~unseen]})
    (tmp_path / "claim").mkdir()
    write_events(tmp_path / "claim" / "scores.parquet", {"score": score})
    submission = SearchSubmission(
        scores="scores.parquet", window=(3.0, 3.4)
    )  # the true window counts, not the chosen one
    errors = []
    for confirmed in (None, tmp_path / "claim"):
        metrics = {m.name: m for m in task.seal([], submission, tmp_path, tmp_path / "sealed", confirmed).metrics}
        errors.append(metrics["auc"].error or 0)
        assert abs((metrics["auc"].value or 0) - 0.8556) < 4 * errors[-1]  # Phi(1.5 / sqrt 2)
    assert errors[1] == pytest.approx(errors[0] / np.sqrt(2), rel=0.2)  # the claim's scores are of all events


def write_rnd(folder: Path, label: bool = True) -> None:
    """A small feature file in the official layout: back-to-back jets, GeV."""
    rng = np.random.default_rng(6)
    n = 3000
    table = {name: np.zeros(n) for name in FEATURES}
    pt, phi = rng.uniform(1200, 2000, n), rng.uniform(-np.pi, np.pi, n)
    for jet, turn in ((1, 0.0), (2, np.pi)):
        table[f"pxj{jet}"], table[f"pyj{jet}"] = pt * np.cos(phi + turn), pt * np.sin(phi + turn)
        table[f"pzj{jet}"] = rng.normal(0, 300, n)
        table[f"mj{jet}"] = rng.uniform(50, 500, n)
        for k in (1, 2, 3):
            table[f"tau{k}j{jet}"] = rng.uniform(0.1, 0.3, n) / k
    columns = [table[name] for name in FEATURES] + ([1.0 * (np.arange(n) >= 2500)] if label else [])
    names = (*FEATURES, "label") if label else FEATURES
    write_frame(folder / RND_FILE, [np.column_stack(columns).astype(np.float32)], names)


def test_rnd_has_the_number_of_signal_events_asked_for_in_a_fixed_total(tmp_path: Path) -> None:
    write_rnd(tmp_path)
    task = make_task("lhco-rnd", {"data": str(tmp_path), "n_signal": 120})
    facts = task.prepare(tmp_path / "inputs", tmp_path / "held_out", tmp_path / "sealed")
    true, is_signal, _ = truth.read(tmp_path / "sealed")
    assert facts["rows"] + facts["held_out_rows"] == len(is_signal) == 2500
    assert is_signal.sum() == true.n_signal == 120
    assert_order_is_random(is_signal)
    assert_no_truth(tmp_path / "inputs", {*COLUMNS, "delta_r_jj"})
    events = read_columns(tmp_path / "held_out" / "events.parquet")
    assert len(np.unique(events["mjj"])) > 2480  # no event twice, but for float32
    assert 2 < np.median(events["mjj"]) < 5  # TeV
    with pytest.raises(TaskError, match="0 to 500"):
        make_task("lhco-rnd", {"data": str(tmp_path), "n_signal": 501}).load()


def test_tasks_without_their_data_say_where_it_comes_from(tmp_path: Path) -> None:
    for name, source in (("lhco-rnd", "beamcrew data lhco"), ("lhco-sr", "Zenodo")):
        for data in (None, str(tmp_path)):
            with pytest.raises(TaskError, match=source) as caught:
                make_task(name, {"data": data}).prepare(tmp_path / "i", tmp_path / "h", tmp_path / "s")
            assert caught.value.field == "data"
    write_rnd(tmp_path, label=False)
    with pytest.raises(TaskError, match="no labels"):
        make_task("lhco-rnd", {"data": str(tmp_path)}).load()
    (tmp_path / RND_FILE).write_text("broken")
    with pytest.raises(TaskError, match="not a readable HDF5"):
        make_task("lhco-rnd", {"data": str(tmp_path)}).load()


def test_the_reference_of_a_mix_shares_no_event_with_it() -> None:
    task = make_task("lhco-demo", {"n_signal": 0, "events": 90_000, "seed": 3})
    columns = task.load()[0]
    rest = unused_background(90_000, 3)
    mixed, left_out = (np.column_stack([c[name] for name in columns]) for c in (columns, rest))
    assert len(np.unique(mixed, axis=0)) == len(mixed)
    assert len(np.unique(np.concatenate([mixed, left_out]), axis=0)) == len(mixed) + len(left_out)


def test_the_number_of_rows_does_not_tell_the_injection() -> None:
    rows = {n: len(make_task("lhco-demo", {"n_signal": n, "events": 20_000}).load()[1]) for n in (0, 500, 3000)}
    assert set(rows.values()) == {20_000}


@pytest.mark.parametrize("name", ["lhco-demo", "lhco-rnd", "lhco-jets", "lhco-sr", "search"])
def test_what_a_worker_reads_fits_a_small_model(name: str) -> None:
    """Tools and brief take about 5,500 tokens of a context that may have 8,192."""
    task = make_task(name, {})
    schemas = [json.dumps(find(tool).schema()) for tool in task.tools]
    assert sum(map(len, schemas)) + len(task.brief()) < 21_000
    assert all(tool in task.brief() or tool in ("events.describe", "anomaly.latent") for tool in task.tools)
