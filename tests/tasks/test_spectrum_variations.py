"""Systematic variations of the simulated signal of `spectrum`: moved columns and varied weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from agents.crew.memory import verdict
from tasks.catalogue import make_task
from tasks.page import Table
from tasks.spectrum import published
from tasks.spectrum.details import SpectrumDetails
from tasks.spectrum.submission import SpectrumSubmission
from tasks.spectrum.task import SpectrumTask
from tasks.task import TaskError
from tests.tasks.spectrum_toys import prepared, written


def simulation(folder: Path, **more: Any) -> str:
    """1,000 selected signal events of 2,000: moved columns, varied weights, and columns that are none."""
    rng = np.random.default_rng(2)
    mass, pt = rng.normal(60, 1.2, 2000), np.where(np.arange(2000) % 2, 25.0, 15.0)
    columns = {"m_ll": mass, "pt": pt, "m_ll_jes_up": 1.02 * mass, "m_ll_jes_down": 0.99 * mass}
    columns |= {"pt_jes_up": np.where(np.arange(2000) % 10 == 0, 21.0, pt), "pt_jes_down": pt}
    columns |= {"w_tag_up": np.full(2000, 1.1), "w_tag_down": np.full(2000, 0.95)}
    columns |= {"m_ll_jer_up": 60 + 1.3 * (mass - 60)}
    path = folder / "signal.parquet"
    pd.DataFrame(columns | more).to_parquet(path)
    return str(path)


SIGNAL = {"column": "m_ll", "cut": "pt > 20", "unit": "GeV", "limits": True, "luminosity": 10.0, "fit_range": [22, 120]}


def test_variations_of_the_signal_become_nuisances_of_its_limit(tmp_path: Path) -> None:
    """Selection and mass are made again with moved columns: 20% more events pass with jes_up."""
    data, signal = str(written(tmp_path, "e.csv")), simulation(tmp_path)
    options = SIGNAL | {"data": data, "signal_file": signal, "search_range": [59.5, 60.5]}
    task = make_task("spectrum", options | {"nuisances": "jes_*,w_tag_*,jer_up", "resolution_uncertainty": 0.05})
    task.prepare(tmp_path / "inputs", tmp_path / "held_out", tmp_path / "sealed")
    score = task.grade(SpectrumSubmission(fit_range=(22, 120), width=0.02), tmp_path / "inputs", tmp_path, 1)
    of = {each["name"]: each for each in score.details["nuisances"]}
    assert list(of) == ["resolution", "signal_statistics", "w_tag", "jes", "jer"]
    assert of["w_tag"]["efficiency"] == pytest.approx((0.95, 1.1))
    assert of["jes"]["efficiency"] == pytest.approx((1.0, 1.2))
    assert of["jes"]["mass"] == pytest.approx((0.99, 1.02), abs=0.002)
    assert of["jer"]["width"] == pytest.approx((1 / 1.3, 1.3), abs=0.01)  # one-sided: mirrored
    (table,) = [b for b in task.shown(score) if isinstance(b, Table) and b.title == "Systematic uncertainties"]
    assert [row[0] for row in table.rows] == list(of)
    assert "jer_up is one-sided" in (table.note or "")
    assert all(row[-2] == table.rows[0][-2] and row[-2].endswith(" fb") for row in table.rows)
    at, impacts = score.details["limit_at"], score.details["impacts"]
    assert at["expected"] > 1.005 * impacts["w_tag"]["expected"]
    words = SpectrumTask.policy.claim(
        {"facts": {"discovery_below_p_global": 1e-7}, "history": [verdict(score)], "iteration": 1, "observations": []}
    ).text
    assert "Of 5 sources of error" in words
    (made,) = published.document(SpectrumDetails.of(score), None).values()
    modifiers = {m["name"] for sample in made["channels"][0]["samples"] for m in sample["modifiers"]}
    assert set(of) < modifiers


@pytest.mark.parametrize(
    ("options", "more", "field", "words"),
    [
        ({}, {}, "nuisances", "which of jes_up, jes_down, jer_up, w_tag_up, w_tag_down are variations"),
        ({"nuisances": "jes_up,jfs_up"}, {}, "nuisances", "endings of moved columns: jes_up, jes_down, jer_up"),
        ({"nuisances": "w_same"}, {"w_same": 1.0}, "nuisances", "the nominal in all rows"),
        ({"nuisances": "w_nan"}, {"w_nan": [1.1] * 7 + [np.nan] * 1993}, "nuisances", "row 7 is not, 1993 in all"),
        ({"nuisances": "w_x_*"}, {"w_x_up": 1.1, "w_x_down": 1.1}, "nuisances", "up and down that differ"),
        ({"nuisances": "w_big"}, {"w_big": 3.0}, "nuisances", "nuisance_weights right?"),
        ({"nuisances": "mev_up"}, {"m_ll_mev_up": 60_000.0}, "nuisances", "Are unit and"),
        ({"nuisances": "w_tag_*", "signal_weights": "gw"}, {"gw": 2.0}, "nuisance_weights", "total or factor"),
        ({"nuisances": "jes_*", "signal_file": None, "luminosity": None}, {}, "nuisances", "with `signal_file`"),
        ({"nuisances": "w_text"}, {"w_text": "one"}, "nuisances", "a column of numbers"),
    ],
)
def test_a_variation_that_cannot_be_is_named(
    options: dict[str, Any], more: dict[str, Any], field: str, words: str, tmp_path: Path
) -> None:
    signal = {"signal_file": simulation(tmp_path, **more), "width": 0.02}
    with pytest.raises(TaskError) as error:
        prepared(tmp_path, **SIGNAL | {"data": str(written(tmp_path, "e.csv"))} | signal | options)
    assert error.value.field == field
    assert words in str(error.value)


def test_columns_of_different_lengths_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "signal.npz", m_ll=np.full(100, 60.0), w_tag_up=np.full(99, 1.1))
    with pytest.raises(TaskError) as error:
        prepared(
            tmp_path, data=str(written(tmp_path, "e.csv")), column="m_ll", signal_file=str(tmp_path / "signal.npz")
        )
    assert "a column of 100 rows; it has 99" in str(error.value)


def test_factors_to_the_nominal_weights_are_taken_as_such(tmp_path: Path) -> None:
    """Weights of two: the efficiency stays, and a factor of 1.1 changes it by 1.1."""
    signal = simulation(tmp_path, gw=2.0)
    options = SIGNAL | {"data": str(written(tmp_path, "e.csv")), "signal_file": signal, "signal_weights": "gw"}
    task = SpectrumTask(**options | {"nuisances": ["w_tag_up", "w_tag_down"], "nuisance_weights": "factor"})
    found = task.signal
    assert found is not None
    assert found.nominal.efficiency == pytest.approx(0.5)
    assert found.nuisances[0].efficiency == pytest.approx((0.95, 1.1))
