"""Known resonances: their events decide nothing, no window overlaps them, and what lies beside them is still found."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tasks.lhco import answer, grader, plans
from tasks.lhco.blackbox import LhcoBlackBox
from tasks.lhco.claims import SearchSubmission
from tasks.lhco.files import EVENTS
from tasks.lhco.known import beside, between, overlaps, room, window_around, windows
from tasks.lhco.variable import dijets
from tasks.task import TaskError
from tests.tasks.own_toys import events, prepared
from tools.bumphunt.measure import measure
from tools.bumphunt.windows import HALF_WIDTH, SEARCH
from tools.events.parquet import read_columns, write_events

KNOWN = [(3.2, 3.8)]


def test_windows_cover_what_lies_beside_known_resonances() -> None:
    found = windows(SEARCH, KNOWN)
    assert not any(overlaps(window, KNOWN) for window in found)
    for mass in np.linspace(*SEARCH, 500, endpoint=False):
        assert any(low <= mass < high for low, high in [*found, *KNOWN]) or np.min(np.abs(mass - found)) < 0.001
    assert windows(SEARCH, []) == windows(SEARCH, [(1.0, 2.0)])
    # 2.7 to 2.9 TeV is too narrow for a window 11% wide
    assert room(SEARCH, [(2.9, 3.8)]) == [(3.8, 5.5)]
    assert between(SEARCH, [(2.0, 6.0)]) == []


def test_a_window_around_a_mass_stays_beside_known_resonances() -> None:
    assert window_around(4.5, SEARCH, KNOWN) == window_around(4.5, SEARCH, [])
    for mass in (3.15, 3.5, 3.85):
        low, high = window_around(mass, SEARCH, KNOWN)
        assert not overlaps((low, high), KNOWN)
        assert (high - low) / (high + low) == pytest.approx(HALF_WIDTH, rel=0.2)
    assert window_around(3.85, SEARCH, KNOWN)[0] == pytest.approx(3.8, abs=0.002)
    assert window_around(3.15, SEARCH, KNOWN)[1] == pytest.approx(3.2, abs=0.002)


def test_events_at_a_known_resonance_decide_nothing(tmp_path: Path) -> None:
    """A peak ten times as high as the spectrum, left out, changes no fact of the search, and no event of its inputs."""
    table, known = events(40_000, 0, 3), [[300.0, 340.0]]
    peak = events(40_000, 20_000, 4).query("300 < m_tt < 340")
    _, with_peak = prepared(tmp_path / "peak", pd.concat([table, peak]), known=known)
    task, without = prepared(tmp_path / "none", table[~table["m_tt"].between(300, 340)], known=known)
    assert with_peak["known"] == tuple(map(tuple, known))
    for name in ("fit_range", "search_range", "rows", "held_out_rows"):
        assert with_peak[name] == without[name]
    mass = read_columns(tmp_path / "peak" / "i" / EVENTS)["mass"]
    assert not np.any((mass >= 300) & (mass < 340))
    assert "known resonances were left out: 300 to 340 GeV" in " ".join(task.variable.notes)
    survey = plans.survey(with_peak, 1).steps[0].calls[0].arguments
    assert survey["windows"]
    assert not any(overlaps(window, task.known) for window in survey["windows"])


@pytest.mark.parametrize(
    ("options", "field", "allowed"),
    [
        ({"known": [[340.0, 300.0]]}, "known", "0 < low < high"),
        ({"known": [[10.0, 900.0]]}, "known", "there are events"),
        ({"known": [[300.0, 340.0]], "window": [330.0, 370.0]}, "window", "beside known resonances"),
    ],
)
def test_known_masses_that_leave_no_search_are_refused(
    options: dict[str, Any], field: str, allowed: str, tmp_path: Path
) -> None:
    with pytest.raises(TaskError, match=allowed) as caught:
        prepared(tmp_path, events(40_000, 0, 1), **options)
    assert caught.value.field == field


def test_dijets_need_room_beside_known_resonances(tmp_path: Path) -> None:
    with pytest.raises(TaskError, match="room for a window"):
        _ = LhcoBlackBox(data=tmp_path, known=[(2.6, 6.0)]).variable
    assert LhcoBlackBox(data=tmp_path, known=KNOWN).variable.known == tuple(KNOWN)


def test_a_window_over_a_known_resonance_is_refused(tmp_path: Path) -> None:
    mass = np.random.default_rng(1).exponential(0.5, 5000) + 2.4
    write_events(tmp_path / EVENTS, {"mjj": mass[beside(mass, KNOWN)], "mj1": mass[beside(mass, KNOWN)]})
    submission = SearchSubmission(scores="scores.parquet", window=(3.7, 4.1))
    score = grader.grade(submission, tmp_path, tmp_path, 1, dijets(known=KNOWN))
    assert not score.ok
    assert "must not share masses with known resonances, [(3.2, 3.8)]" in score.reason


def test_a_gap_in_the_spectrum_makes_neither_excess_nor_deficit_beside_it() -> None:
    """Local significances of background beside a gap have no bias, and are close to those of the whole spectrum."""
    found: dict[str, list[float]] = {"gap": [], "whole": []}
    for seed in range(40):
        rng = np.random.default_rng(seed)
        mass, score = 2.4 + rng.exponential(0.7, 60_000), rng.random(60_000)
        for name, seen in (("gap", beside(mass, KNOWN)), ("whole", np.ones(len(mass), dtype=bool))):
            cut = measure(mass[seen], score[seen], (3.81, 4.25), 0.01, width=0.02)
            found[name].append(float(cut.z[np.argmin(np.abs(cut.tested.masses - 4.0))]))
    assert abs(np.mean(found["gap"])) < 4 / np.sqrt(40)
    assert np.std(np.subtract(found["gap"], found["whole"])) < 0.4
    assert np.corrcoef(found["gap"], found["whole"])[0, 1] > 0.7


def test_an_answer_says_how_to_look_for_others() -> None:
    numbers = {"mass": 3.5, "width": 0.02}
    said = answer._others({"known": [[4.0, 4.4]]}, numbers)
    low, high = ast.literal_eval(said.split("known=")[1].split('"')[0])[1]
    assert low < 3.5 * (1 - 2 * 0.02) < 3.5 * (1 + 2 * 0.02) < high
    assert "[[4.0,4.4],[" in said
    assert answer._others({}, numbers) == ""
