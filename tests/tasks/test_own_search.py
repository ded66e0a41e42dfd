"""A search in any mass with any features: the same numbers whatever the unit and the names, and where it may look."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from pydantic import ValidationError

from tasks.lhco import confirm as confirming
from tasks.lhco import grader, page
from tasks.lhco import own as searching
from tasks.lhco.claims import SearchClaim, SearchSubmission, check
from tasks.lhco.files import EVENTS
from tasks.lhco.own import NARROWEST, OwnSearch, step_of
from tasks.lhco.spectrum_ends import fitted, searchable, turn_on
from tasks.lhco.variable import DIJETS, Variable, own
from tasks.page import Plot, Table, Text
from tasks.score import Score
from tasks.task import TaskError
from tests.tasks.own_toys import SIGNAL, events, prepared
from tools.anomaly.classify import classify
from tools.anomaly.template import template
from tools.bumphunt.limits import limit_by_toys
from tools.bumphunt.scan import WIDEST, scan
from tools.bumphunt.windows import HALF_WIDTH, SEARCH, centres, overlapping, window_at
from tools.events.copies import originals
from tools.events.parquet import read_columns, write_events
from tools.events.steps import spread

Toy = Callable[..., tuple[dict[str, np.ndarray], np.ndarray]]
RENAMED = {"mj1": "met", "mj2": "lep_pt", "tau1_j1": "x", "tau2_j1": "z"}
WINDOW, WIDTH = (3.3, 3.7), 0.019
M_TT = own("m_tt", "GeV", (2400.0, 6400.0), (2700.0, 5500.0), HALF_WIDTH, ())
MASSES = ("mass", "mass_error", "limit_mass", "tested_mass")
PLAIN = ("p_local", "p_global", "n_signal", "passing", "width", "delta", "upper_limit")


@pytest.fixture(autouse=True)
def fewer_toys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grader, "TOYS", 40)
    monkeypatch.setattr(grader, "BOOTSTRAPS", 3)
    monkeypatch.setattr(confirming, "TOYS", 20)
    monkeypatch.setattr(confirming, "limit_by_toys", partial(limit_by_toys, n_toys=40))


def graded(folder: Path, columns: dict[str, np.ndarray], score: np.ndarray, window: Any, of: Variable) -> list[Score]:
    """Grade and confirm these scores, half of the events unseen."""
    folder.mkdir()
    write_events(folder / EVENTS, columns)
    write_events(folder / "scores.parquet", {"score": score})
    submission = SearchSubmission(scores="scores.parquet", window=window)
    first = grader.grade(submission, folder, folder, 1, of, WIDTH)
    unseen = np.arange(len(score)) % 2 == 0
    return [first, confirming.confirm(submission, first, folder, folder, unseen, WIDTH, of)]


def test_unit_and_names_change_no_result(toy: Toy, tmp_path: Path) -> None:
    columns, is_signal = toy(10_000, n_signal=120, seed=3)
    score = np.random.default_rng(2).normal(size=len(is_signal)) + 3 * is_signal
    ours = {RENAMED.get(name, name): v for name, v in columns.items() if name != "mjj"} | {"mass": 1e3 * columns["mjj"]}
    shipped = graded(tmp_path / "shipped", columns, score, WINDOW, DIJETS)
    renamed = graded(tmp_path / "renamed", ours, score, (3300.0, 3700.0), M_TT)
    for a, b in zip(shipped, renamed, strict=True):
        assert a.value == pytest.approx(b.value, rel=1e-3)
        for name in set(PLAIN) & set(a.details):
            assert a.details[name] == pytest.approx(b.details[name], rel=5e-3), name
        for name in set(MASSES) & set(a.details):
            assert 1e3 * a.details[name] == pytest.approx(b.details[name], rel=1e-3), name
        assert (b.details["variable"], b.details["unit"]) == ("m_tt", "GeV")
        assert "GeV" in b.reason
        assert "TeV" not in b.reason
    assert {*PLAIN, *MASSES} <= {*shipped[0].details, *shipped[1].details}
    claim = SearchClaim(discovery=True, mass=3500.0, mass_error=30.0, unit="GeV", text="")
    assert claim.headline.endswith("GeV")
    mass = next(each for each in check(claim, renamed[1], 1e-3) if each.name == "mass")
    assert (mass.unit, mass.agrees) == ("GeV", True)
    assert "TeV" not in shown(renamed[1])


def shown(score: Score) -> str:
    """All text on the page of a score."""
    blocks = page.shown(score)
    texts = [block.text for block in blocks if isinstance(block, Text)]
    texts += [f"{block.caption} {block.data}" for block in blocks if isinstance(block, Plot)]
    return " ".join([*texts, *(f"{block.title} {block.head}" for block in blocks if isinstance(block, Table))])


def test_tools_give_the_same_in_units_and_names_of_their_own(
    toy: Toy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a unit 1024 times as small, which is exact in binary, not a digit changes."""
    monkeypatch.chdir(tmp_path)
    columns, _ = toy(12_000, n_signal=150, seed=4)
    columns = {name: v.astype(np.float32).astype(np.float64) for name, v in columns.items()}
    ours = {RENAMED.get(name, name): v for name, v in columns.items() if name != "mjj"} | {
        "mass": 1024 * columns["mjj"]
    }
    found = []
    for k, (table, unit) in enumerate(((columns, 1.0), (ours, 1024.0))):
        write_events(Path(f"e{k}.parquet"), table)
        features = [name if k == 0 else RENAMED[name] for name in ("mj1", "mj2")]
        common: dict[str, Any] = {"events": f"e{k}.parquet", "window": [unit * edge for edge in WINDOW]}
        learn = common | {"features": features, "out": f"t{k}.parquet"}
        made = template(**learn, method="sideband", oversample=1, closure="events")
        score = {"template": f"t{k}.parquet", "control": made.control.path, "out_template": "ts.parquet"}
        scored = classify(**learn | score | {"out": f"s{k}.parquet"}, folds=2, ensemble=1)
        cut = scan(**common, scores=f"s{k}.parquet", efficiencies=[1e-2], fit_range=(2.4 * unit, 6.4 * unit)).cuts[0]
        found.append([made.closure_auc, scored.argos, scored.auc, cut.mass / unit, cut.z, cut.signal, cut.smooth_p])
    np.testing.assert_allclose(found[0], found[1], rtol=1e-6)


def test_windows_are_the_same_in_tev_and_gev() -> None:
    for centre in centres(SEARCH):
        low, high = window_at(centre, SEARCH)
        assert window_at(1000 * centre, (2700.0, 5500.0)) == pytest.approx((1000 * low, 1000 * high), rel=1e-12)
    low, high = window_at(0.35, (0.25, 0.6))
    assert (high - low) / (high + low) == pytest.approx(HALF_WIDTH, rel=5e-3)


def test_a_turn_on_is_found_and_a_resonance_is_not_taken_for_one() -> None:
    for seed in range(10):
        mass = events(30_000, 600, seed)["m_tt"].to_numpy()
        low, rises = turn_on(mass)
        assert rises
        assert 225 < low < 275  # 95% efficient at 233; the maximum of the spectrum is there
        falls = mass[mass > 300]  # the resonance is in it
        low, rises = turn_on(falls)
        assert not rises
        assert low < np.quantile(falls, 0.01)


def test_a_spectrum_over_many_decades_is_fitted_where_a_fit_can_be() -> None:
    (low, high), why = fitted(np.random.default_rng(1).exponential(100.0, 20_000))
    assert 900 < high / low <= WIDEST
    assert "no fit takes more" in why


def test_a_claim_in_another_unit_is_compared_in_that_of_the_harness() -> None:
    found = {"unit": "GeV", "mass": 900.0, "mass_error": 5.0, "p_global": 1e-9}
    judged = Score(metric="z", value=9.0, error=1.0, reason="", details=found)

    def agrees(mass: float, unit: Any) -> bool | None:
        claim = SearchClaim(discovery=True, mass=mass, mass_error=mass / 200, unit=unit, text="")
        return next(each for each in check(claim, judged, 1e-3) if each.name == "mass").agrees

    assert [agrees(900.0, "GeV"), agrees(0.9, "TeV"), agrees(9e5, "MeV")] == [True] * 3
    assert agrees(900.0, "TeV") is False
    with pytest.raises(ValidationError, match="unit"):
        OwnSearch.claim.model_validate({"discovery": True, "mass": 900.0, "text": ""})


def test_narrow_windows_stay_wide_enough_for_the_harness_whatever_their_mass() -> None:
    for search in ((1.003, 9.97), (103.0, 997.0), (180.0, 1210.0)):
        for centre in centres(search, NARROWEST, overlapping(NARROWEST)):
            low, high = window_at(centre, search, NARROWEST)
            assert 2 * (high - low) / (high + low) >= grader.WIDTH[0]


def test_all_searched_windows_and_their_sidebands_hold_enough_events() -> None:
    mass = events(40_000, 0, 1)["m_tt"].to_numpy()
    search = searchable(mass, (250.0, 790.0), HALF_WIDTH, 0.5)
    assert search is not None
    assert search[0] > 1.1 * 250
    for centre in centres(search):
        low, high = window_at(centre, search)
        held = [((mass >= a) & (mass < b)).sum() for a, b in ((250, low), (low, high), (high, 790))]
        assert min(held) * 0.5 > 500
    assert searchable(mass[:2000], (250.0, 790.0), HALF_WIDTH, 0.5) is None


@pytest.mark.parametrize("n_signal", [300, 0])
def test_a_resonance_behind_a_turn_on_is_found_and_its_absence_too(n_signal: int, tmp_path: Path) -> None:
    task, facts = prepared(tmp_path, events(25_000, n_signal, 7 + n_signal), alpha=1e-3, width=SIGNAL[1])
    held_out = read_columns(tmp_path / "h" / EVENTS)
    assert set(held_out) == {"mass", "lep_pt", "dphi"}
    assert facts["fit_range"][0] > 225
    assert held_out["mass"].min() >= 0.9999 * facts["fit_range"][0]
    assert [path.name for path in (tmp_path / "s").iterdir()] == ["labels.parquet"]
    window = window_at(350.0, facts["search_range"])
    scores = []
    for folder in ("i", "h"):
        columns = read_columns(tmp_path / folder / EVENTS)
        score = -np.hypot(columns["lep_pt"] - 2.5, columns["dphi"] - 2.5)
        write_events(tmp_path / f"{folder}.parquet", {"score": score})
        scores.append(SearchSubmission(scores=f"{folder}.parquet", window=window))
    first = task.grade(scores[0], tmp_path / "i", tmp_path, 1)
    claimed = task.confirm(scores[1], first, tmp_path / "h", tmp_path, tmp_path / "s")
    assert first.ok
    if n_signal:
        assert first.value > 5
        assert claimed.details["p_global"] < 1e-3
        assert abs(claimed.details["mass"] - SIGNAL[0]) < 4 * claimed.details["mass_error"] + 3.0
        assert claimed.details["mass_error"] < 10
        decoy = task.audit.decoy(scores[1], first, claimed, tmp_path / "h", tmp_path / "s", tmp_path / "d")
        assert decoy == claimed.ok
        moved = read_columns(tmp_path / "d" / EVENTS)
        np.testing.assert_allclose(np.sort(moved["dphi"]), np.sort(held_out["dphi"]))
        assert abs(np.median(moved["mass"]) / np.median(held_out["mass"]) - 1) > 0.05
    else:
        assert claimed.details["p_global"] > 1e-3
    assert "begins at" in shown(first)


@pytest.mark.parametrize("scale", [1e-4, pytest.param(1.0, marks=pytest.mark.slow)])
def test_weights_are_used_in_all_that_the_harness_does(scale: float, tmp_path: Path) -> None:
    """Events with a weight of 2, each beside one that was thrown away, and others of weight 1: nothing has changed."""
    table = events(40_000, 500, 11)
    rng = np.random.default_rng(2)
    half = rng.random(len(table)) < 0.5
    table["genWeight"] = np.where(half, np.where(rng.random(len(table)) < 0.5, 2.0, 0.0), 1.0) * scale
    task, facts = prepared(tmp_path, table, weights="genWeight", alpha=1e-3, width=SIGNAL[1])
    assert facts["features"] == ["lep_pt", "dphi"]
    assert [note for note in facts["notes"] if "sums of these weights" in note and ("divided" in note) == (scale < 1)]
    kept = read_columns(tmp_path / "h" / EVENTS)
    assert kept["weight"].min() > 0
    window, scores = window_at(350.0, facts["search_range"]), []
    for folder in ("i", "h"):
        columns = read_columns(tmp_path / folder / EVENTS)
        write_events(
            tmp_path / f"{folder}.parquet", {"score": -np.hypot(columns["lep_pt"] - 2.5, columns["dphi"] - 2.5)}
        )
        scores.append(SearchSubmission(scores=f"{folder}.parquet", window=window))
    first = task.grade(scores[0], tmp_path / "i", tmp_path, 1)
    claimed = task.confirm(scores[1], first, tmp_path / "h", tmp_path, tmp_path / "s")
    assert claimed.ok, claimed.reason
    details, unit = claimed.details, scale / np.average(table["genWeight"][table["genWeight"] > 0]) if scale < 1 else 1
    assert details["p_global"] < 1e-3
    assert abs(details["n_signal"] - 500 * unit) < 4 * details["n_signal_error"]
    assert details["n_signal"] > 200 * unit
    decoy = tmp_path / "d"
    assert task.audit.decoy(scores[1], first, claimed, tmp_path / "h", tmp_path / "s", decoy)
    np.testing.assert_allclose(np.sort(read_columns(decoy / EVENTS)["weight"]), np.sort(kept["weight"]))


def test_the_turn_on_is_that_of_the_weighted_spectrum() -> None:
    mass = np.random.default_rng(1).uniform(100, 800, 40_000)
    falls = np.exp(-mass / 150)
    assert not turn_on(mass, falls)[1]
    low, rises = turn_on(mass, falls * 0.5 * (1 + np.tanh((mass - 250) / 15)))
    assert rises
    assert 255 < low < 340


@pytest.mark.parametrize("held", [0.0, 1.0, 3.0])
def test_what_a_window_holds_decides_nothing_before_it_is_searched(held: float, tmp_path: Path) -> None:
    """However many events lie in the window, and whatever their features, all choices stay the same."""
    table, window = events(40_000, 0, 3), (320.0, 380.0)
    inside = table["m_tt"].between(*window)
    rng = np.random.default_rng(5)
    extra = table[inside].sample(int(held * inside.sum()), replace=True, random_state=1)
    extra = extra.assign(dphi=extra["m_tt"], lep_pt=rng.normal(size=len(extra)), m_tt=rng.uniform(*window, len(extra)))
    _, facts = prepared(tmp_path, pd.concat([table, extra]), window=list(window))
    _, first = prepared(tmp_path / "again", table, window=list(window))
    for name in ("search_range", "fit_range", "half_width"):
        assert facts[name] == first[name], name
    decided = [[note for note in each["notes"] if "predicted" in note or "decided" in note] for each in (facts, first)]
    assert decided[0] == decided[1]
    assert len(decided[0]) == 1


def test_a_turn_on_is_found_beside_a_window() -> None:
    mass = events(30_000, 0, 1)["m_tt"].to_numpy()
    for window in ((300.0, 340.0), (225.0, 245.0)):
        seen = (mass < window[0]) | (mass >= window[1])
        low, rises = turn_on(mass[seen], unseen=[window])
        assert rises
        assert 215 < low < 290


def test_steps_are_filled_and_copies_stay_copies() -> None:
    rng = np.random.default_rng(3)
    values = rng.integers(0, 4, 10_000) / 2
    first = np.arange(10_000)
    first[5000:] = np.arange(5000)
    values[5000:] = values[:5000]
    step = step_of(values)
    assert step == 0.5
    found = spread(values, step, rng, first)
    np.testing.assert_array_equal(found[5000:], found[:5000])
    np.testing.assert_array_equal(np.rint(2 * found) / 2, values)
    table = {"mass": rng.random(10_000)[first], "a": found, "b": rng.random(10_000)[first], "c": found}
    assert (originals(table) == first).all()


@pytest.mark.parametrize(
    ("change", "options", "said"),
    [
        ({}, {"unit": None}, "MeV, GeV or TeV"),
        ({}, {"features": []}, "--task spectrum"),
        ({}, {"features": ["m_tt"]}, "the mass itself"),
        ({}, {"features": ["run"]}, "not constant"),
        ({}, {"features": ["pt"]}, "no such feature"),
        ({"dphi": np.nan}, {}, "finite"),
        ({"m_tt": -1.0}, {}, "masses above 0"),
        ({"weight": 2.0}, {}, "not weighted by weight"),
        ({"weight": -1.0}, {"weights": "weight"}, "numbers of 0 or more; selected row 0 has -1"),
        ({"weight": 0.0}, {"weights": "weight"}, "some weights above 0"),
        ({"weight": 1.0}, {"weights": "w"}, "a column of numbers"),
        ({"weight": 2.0}, {"unweighted": True, "features": ["weight"]}, "no such feature"),
        ({}, {"search_range": [0.25, 0.6]}, "Unit right"),
        ({}, {"window": [200.0, 230.0]}, "above the turn-on"),
        ({}, {"cut": "m_tt > 600"}, "enough events"),
        ({}, {"cut": "m_tt > 796"}, "enough events"),
        ({}, {"fit_range": [500.0, 400.0]}, "low < high"),
        ({}, {"fit_range": [0.1, 700.0]}, "a factor of 1000 apart"),
        ({}, {"window": [349.0, 352.0]}, "of its centre wide"),
    ],
)
def test_what_cannot_be_searched_is_named(
    change: dict[str, Any], options: dict[str, Any], said: str, tmp_path: Path
) -> None:
    with pytest.raises(TaskError, match=said):
        prepared(tmp_path, events(20_000, 0, 1).assign(**change), **options)


def test_more_windows_than_one_survey_takes_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(searching, "MOST", 3)
    with pytest.raises(TaskError, match=r"at most 3 windows; .* GeV would take .*: search less"):
        prepared(tmp_path, events(40_000, 0, 1))


def test_features_from_which_the_mass_follows_are_named_and_others_are_needed(tmp_path: Path) -> None:
    table = events(12_000, 0, 2)
    table["met"] = table["m_tt"] * np.random.default_rng(1).normal(1, 0.1, len(table))
    _, facts = prepared(tmp_path, table, features=["met", "dphi"])
    assert [note for note in facts["notes"] if "predicted with met:" in note]
    with pytest.raises(TaskError, match="does not follow"):
        prepared(tmp_path, table, features=["met"])


def test_one_window_is_all_that_is_searched(tmp_path: Path) -> None:
    _, facts = prepared(tmp_path, events(40_000, 0, 1), window=[320.0, 380.0])
    assert facts["search_range"] == (320.0, 380.0)
    assert window_at(350.0, facts["search_range"], facts["half_width"]) == (320.0, 380.0)
    assert len(centres(facts["search_range"], facts["half_width"])) == 1
