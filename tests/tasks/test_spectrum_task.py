"""The task `spectrum`: tables as people have them, the analyst's answer, and what it refuses."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from agents.backends.select import choose_backend
from agents.crew.memory import verdict
from agents.runs import run as runs
from tasks.catalogue import make_task
from tasks.claim import Measurement
from tasks.page import Plot, Table
from tasks.spectrum import grader, page
from tasks.spectrum.samples import YIELDS
from tasks.spectrum.submission import SpectrumSubmission
from tasks.spectrum.task import SpectrumTask
from tasks.task import TaskError
from tests.tasks.spectrum_toys import frame, prepared, written

REAL = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "dimuons"
DIMUONS = Path(os.environ.get("DIMUONS", REAL))


@pytest.mark.parametrize(
    "name",
    [
        "events.csv",
        "events.csv.gz",
        "tab.txt",
        "semi.txt",
        "space.txt",
        "events.parquet",
        "events.h5",
        "events.hdf5",
        "events.npz",
        "events.root",
    ],
)
def test_the_same_events_come_from_every_kind_of_file(name: str, tmp_path: Path) -> None:
    facts = prepared(tmp_path, data=str(written(tmp_path, name)), column="m_ll", cut="pt > 10")
    expected = frame().query("pt > 10")
    stored = pd.read_parquet(tmp_path / "inputs" / "events.parquet")
    assert facts["rows"] == len(expected) == len(stored)
    assert np.allclose(stored["mass"], expected["m_ll"], rtol=1e-6)
    assert "is_signal" not in stored.columns  # truth reaches no agent
    assert "is_signal" not in json.dumps(facts)


@pytest.mark.parametrize(
    ("options", "field", "words"),
    [
        ({"column": "mass"}, "column", "no column 'mass'; there are m_ll"),
        ({"column": "charge"}, "column", "numbers needed"),
        ({"column": "log(pt - 5)"}, "column", "not finite"),
        ({"column": "m_ll", "cut": "pt > 1e9"}, "cut", "selects none"),
        ({"column": "m_ll", "cut": "pt + 1"}, "cut", "condition"),
        ({"column": "m_ll", "search_range": [8000, 12000]}, "search_range", "is the unit right?"),
        ({"column": "m_ll", "fit_range": [1e5, 2e5]}, "fit_range", "0 of"),
        ({"column": "m_ll", "window": [70, 60]}, "window", "low < high"),
        ({"column": "m_ll - 100"}, "fit_range", "masses above 0"),
        ({"column": "m_ll", "unit": "eV"}, "unit", "MeV"),
    ],
)
def test_what_does_not_go_is_named(options: dict[str, Any], field: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(TaskError) as error:
        prepared(tmp_path, data=str(written(tmp_path, "events.csv")), **options)
    assert error.value.field == field
    assert words in str(error.value)


@pytest.mark.parametrize("text", ["", "a,b\n", "{", None])
def test_a_file_that_is_no_table_is_refused(text: str | None, tmp_path: Path) -> None:
    path = tmp_path / "events.csv"
    if text is not None:
        path.write_text(text)
    with pytest.raises(TaskError) as error:
        prepared(tmp_path, data=str(path), column="m_ll")
    assert error.value.field in ("data", "column")


def test_a_choice_that_misses_the_masses_asked_for_is_refused(tmp_path: Path) -> None:
    task = make_task(
        "spectrum",
        {"data": str(written(tmp_path, "e.csv")), "column": "m_ll", "width": 0.015, "search_range": [50, 70]},
    )
    task.prepare(tmp_path / "inputs", tmp_path / "held_out", tmp_path / "sealed")
    few = SpectrumSubmission(fit_range=(55, 100))
    assert task.grade(few, tmp_path / "inputs", tmp_path, 1).value is None
    once, thrice = (
        task.grade(SpectrumSubmission(fit_range=(22, 120), width=0.015), tmp_path / "inputs", tmp_path, n)
        for n in (1, 3)
    )
    assert once.ok
    (bump,) = once.details["resonances"]
    assert bump["mass"] == pytest.approx(60, abs=4 * bump["mass_error"])
    assert thrice.details["resonances"][0]["p_global"] == pytest.approx(3 * bump["p_global"])  # every choice is a trial


def test_nothing_found_is_said_in_words(tmp_path: Path) -> None:
    smooth = pd.DataFrame({"mass": 20 + np.random.default_rng(3).exponential(25, 3000)})
    smooth.to_csv(tmp_path / "e.csv", index=False)
    task = make_task("spectrum", {"data": str(tmp_path / "e.csv"), "width": 0.02})
    facts = task.prepare(tmp_path / "inputs", tmp_path / "held_out", tmp_path / "sealed")
    score = task.grade(SpectrumSubmission(fit_range=(22, 120), width=0.02), tmp_path / "inputs", tmp_path, 1)
    claim = SpectrumTask.policy.claim({"facts": facts, "history": [verdict(score)], "iteration": 1, "observations": []})
    assert claim.model_dump()["numbers"] == {}
    assert claim.text.startswith("No resonance is found in this spectrum. The largest bump")


def analysed(folder: Path, request: str | None = None, **options: Any) -> Any:
    settings = runs.Settings(
        request=request or SpectrumTask.request, task="spectrum", options=options, sandbox="bubblewrap"
    )
    return runs.start(settings, choose_backend("analyst"), folder / "run")


def test_the_analyst_finds_what_was_made_up(tmp_path: Path) -> None:
    result = analysed(tmp_path, width=0.015)
    assert result.status == "converged"
    claim = Measurement.model_validate(result.claim)
    events = [claim.numbers[f"events_{k}"] for k in (1, 2)]
    for found, true in zip(events, YIELDS, strict=True):
        assert found.error is not None
        assert abs(found.value - true) < 4 * found.error
    assert {metric.name: metric.value for metric in result.sealed}["resonances_found"] == 2


@pytest.mark.skipif(not DIMUONS.is_dir(), reason=f"no CMS dimuon events in {DIMUONS}")
def test_the_analyst_finds_three_upsilons_in_a_csv_file_of_muon_pairs(tmp_path: Path) -> None:
    every = pd.read_parquet(DIMUONS / "masses_after_cuts.parquet")
    pairs = every[every.selection == "no_isolation_cut"]
    pairs[["charge", "mass"]].to_csv(tmp_path / "muons.csv", index=False)
    request = "Which resonances are there between 8 and 12 GeV, and how many events has each?"
    chosen = {"cut": "charge == 'OS'", "search_range": [8, 12], "window": [9.0, 10.6], "width": 0.0105}
    result = analysed(tmp_path, request, data=str(tmp_path / "muons.csv"), **chosen)
    claim = Measurement.model_validate(result.claim)
    masses = [claim.numbers[f"mass_{k}"].value for k in (1, 2, 3)]
    assert np.allclose(masses, [9.4604, 10.0234, 10.3551], rtol=3e-3)
    assert "mass_4" not in claim.numbers
    report = (tmp_path / "run" / "report.md").read_text()
    assert "no truth is known for these data" in report
    assert "observed: **6542**" in report  # opposite-sign pairs in the window


def test_a_blind_window_reaches_nobody_until_it_is_opened(tmp_path: Path) -> None:
    """The events are in no file of the run, and change nothing in it; opened, they are counted once."""
    path = written(tmp_path, "e.csv")
    table = frame()
    inside = table.m_ll.between(55, 65)
    table[~inside].to_csv(tmp_path / "without.csv", index=False)
    options = {"column": "m_ll", "blind": [55, 65], "fit_range": [22, 120], "width": 0.03}
    facts = [
        prepared(tmp_path / str(k), data=str(p), **options) for k, p in enumerate((path, tmp_path / "without.csv"))
    ]
    assert facts[0] == facts[1]
    result = analysed(tmp_path, data=str(path), limits=True, **options)
    run, stored = tmp_path / "run", [*(tmp_path / "run").rglob("*.parquet")]
    assert run / "inputs" / "events.parquet" in stored
    for file in stored:
        seen = pd.read_parquet(file)
        column = seen["mass"] if "mass" in seen else np.sqrt(seen["low"] * seen["high"])
        assert not column.between(55, 65).any(), file
    assert not (run / "held_out").exists()
    expected = Measurement.model_validate(result.claim)
    assert "Nobody has looked between 55 and 65 GeV" in expected.text
    report = (run / "report.md").read_text()
    assert "Nobody has seen the events from 55 to 65 GeV" in report
    assert "Expected upper limits" in report
    opened = runs.start(
        runs.Settings(
            request="opened",
            task="spectrum",
            options=options | {"data": str(path), "unblind": True},
            sandbox="bubblewrap",
        ),
        choose_backend("analyst"),
        tmp_path / "opened",
    )
    claim = Measurement.model_validate(opened.claim)
    assert claim.numbers["background"].value == pytest.approx(expected.numbers["background"].value, rel=1e-6)
    assert f"was opened: {inside.sum()} events" in claim.text
    assert "The blind window was opened here" in (tmp_path / "opened" / "report.md").read_text()
    seen = pd.read_parquet(tmp_path / "opened" / "inputs" / "events.parquet")
    assert not seen["mass"].between(55, 65).any()  # the crew of the opened run did not see it either


def test_limits_on_a_cross_section_follow_from_simulated_signal(tmp_path: Path) -> None:
    """Half of 2,000 generated events are selected: at 10 / fb, one fb gives five events."""
    rng = np.random.default_rng(2)
    pd.DataFrame({"m_ll": rng.normal(60, 1.2, 1000), "pt": 30.0}).to_csv(tmp_path / "signal.csv", index=False)
    options = {"data": str(written(tmp_path, "e.csv")), "column": "m_ll", "limits": True, "fit_range": [22, 120]}
    signal = {"signal_file": str(tmp_path / "signal.csv"), "signal_generated": 2000, "luminosity": 10.0}
    task = make_task("spectrum", options | signal | {"search_range": [70, 90]})
    task.prepare(tmp_path / "inputs", tmp_path / "held_out", tmp_path / "sealed")
    score = task.grade(SpectrumSubmission(fit_range=(22, 120), width=0.02), tmp_path / "inputs", tmp_path, 1)
    assert score.details["limit_width"] == pytest.approx(0.02, rel=0.1)
    found = score.details["limits"]
    assert np.allclose(np.array(found["observed"]) / found["observed_fb"], 5.0)
    names = [block.name for block in task.shown(score) if isinstance(block, Plot)]
    assert names == ["spectrum", "limits", "limits_fb"]
    assert all(block.draw() and block.data for block in task.shown(score) if isinstance(block, Plot))


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"limits": True}, "limits"),
        ({"injections": 5}, "injections"),
        ({"luminosity": 10}, "luminosity"),
        ({"efficiency_uncertainty": 0.1, "width": 0.02}, "efficiency_uncertainty"),
        ({"unblind": True}, "unblind"),
        ({"blind": [50, 60], "window": [50, 60]}, "window"),
        ({"blind": [1, 2]}, "blind"),
        ({"weights": "nothing"}, "weights"),
        ({"weights": "charge"}, "weights"),
        ({"signal_file": "nothing.csv"}, "signal_file"),
    ],
)
def test_an_option_that_lacks_another_is_named(options: dict[str, Any], field: str, tmp_path: Path) -> None:
    with pytest.raises(TaskError) as error:
        prepared(tmp_path, data=str(written(tmp_path, "e.csv")), column="m_ll", **options)
    assert error.value.field == field


def test_systematic_errors_are_in_those_of_mass_and_yield(tmp_path: Path) -> None:
    data, choice = str(written(tmp_path, "e.csv")), SpectrumSubmission(fit_range=(22, 120), width=0.015)
    found = []
    for errors in ({}, {"scale_uncertainty": 0.01, "background_uncertainty": 0.2}):
        task = make_task("spectrum", {"data": data, "column": "m_ll"} | errors)
        task.prepare(tmp_path / "inputs", tmp_path / "held_out", tmp_path / "sealed")
        found.append(task.grade(choice, tmp_path / "inputs", tmp_path, 1).details["resonances"][0])
    plain, more = found
    assert more["mass_error"] == pytest.approx(np.hypot(plain["mass_error"], np.log(1.01) * plain["mass"]))
    assert more["n_signal"] == plain["n_signal"]
    assert more["n_signal_error"] > 1.2 * plain["n_signal_error"]


def test_the_analyst_asks_the_tools_how_sensitive_the_search_is(tmp_path: Path) -> None:
    data = str(written(tmp_path, "e.csv"))
    request = "What would you have seen, and what are the upper limits?"
    result = analysed(tmp_path, request, data=data, column="m_ll", width=0.03, limits=True, injections=2)
    assert result.status == "converged"
    events = [json.loads(line) for line in (tmp_path / "run" / "trace.jsonl").read_text().splitlines()]
    calls = [event["tool"] for event in events if event.get("tool", "").startswith("spectrum.")]
    assert {"spectrum.hunt", "spectrum.limit", "spectrum.inject"} <= set(calls)


def test_what_was_injected_is_told(tmp_path: Path) -> None:
    task = make_task(
        "spectrum", {"data": str(written(tmp_path, "e.csv")), "column": "m_ll", "width": 0.03, "injections": 3}
    )
    facts = task.prepare(tmp_path / "inputs", tmp_path / "held_out", tmp_path / "sealed")
    score = task.grade(SpectrumSubmission(fit_range=(22, 120), width=0.03), tmp_path / "inputs", tmp_path, 1)
    (table,) = [b for b in task.shown(score) if isinstance(b, Table) and b.title.startswith("What the search")]
    assert len(table.rows) == 9
    claim = SpectrumTask.policy.claim({"facts": facts, "history": [verdict(score)], "iteration": 1, "observations": []})
    assert "The same search would have found" in claim.text


def test_the_plot_keeps_every_event_and_leaves_gaps() -> None:
    edges, counts = np.linspace(1, 2, 1001), np.random.default_rng(1).poisson(3.0, 1000).astype(float)
    seen = np.abs(np.arange(1000) - 500) > 50
    columns = {"low": edges[:-1][seen], "high": edges[1:][seen]}
    columns |= dict.fromkeys(("count", "error", "fit", "background"), counts[seen])
    shown = grader.plotted(columns)
    assert sum(shown["count"]) == counts[seen].sum()
    assert (shown["low"][0], shown["high"][-1]) == (1.0, 2.0)
    gaps = [(a, b) for a, b in zip(shown["high"][:-1], shown["low"][1:], strict=True) if a < b]
    assert len(gaps) == 1
    assert gaps[0] == (pytest.approx(1.45), pytest.approx(1.551))
    assert page.draw(shown, "GeV") is not None
