"""The grader with sidebands: refuses with reasons, never raises; finds what is there, and nothing where nothing is."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scipy.stats import binomtest, norm

from tasks.lhco import grader
from tasks.lhco.claims import SearchSubmission
from tasks.lhco.variable import dijets
from tasks.score import Score
from tools.bumphunt.background import known
from tools.bumphunt.fit import scan_spectrum
from tools.bumphunt.measure import threshold, usable
from tools.bumphunt.scan import EFFICIENCIES
from tools.bumphunt.spectrum import RANGE, histogram, hypotheses, make_edges
from tools.bumphunt.windows import SEARCH
from tools.events.parquet import write_events

Table = dict[str, np.ndarray]
Toy = Callable[..., tuple[Table, np.ndarray]]
ROWS, SIGNAL = 20_000, 120
WINDOW = (3.3, 3.7)


@pytest.fixture(scope="module")
def events(toy: Toy) -> tuple[Table, np.ndarray]:
    return toy(ROWS, n_signal=SIGNAL, seed=5)


@pytest.fixture
def folders(events: tuple[Table, np.ndarray], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    monkeypatch.setattr(grader, "BOOTSTRAPS", 3)
    monkeypatch.setattr(grader, "TOYS", 100)
    inputs, workspace = tmp_path / "inputs", tmp_path / "workspace"
    inputs.mkdir()
    workspace.mkdir()
    write_events(inputs / "events.parquet", events[0])
    return inputs, workspace


def grade(folders: tuple[Path, Path], score: Any = None, n_graded: int = 1, **changes: Any) -> Score:
    if score is not None:
        pq.write_table(pa.table({"score": score}), folders[1] / "scores.parquet")
    submission = SearchSubmission(**{"scores": "scores.parquet", "window": WINDOW} | changes)
    return grader.grade(submission, *folders, n_graded)


def good_scores(is_signal: np.ndarray) -> np.ndarray:
    rng = np.random.default_rng(1)
    return rng.normal(size=len(is_signal)) + 3 * is_signal


@pytest.mark.parametrize(
    ("score", "words"),
    [
        (np.zeros(5), f"5 rows, but {ROWS + SIGNAL} events"),
        (np.arange(ROWS + SIGNAL + 1.0), "one score per event"),
        (np.full(ROWS + SIGNAL, 0.5), "all scores are equal"),
        (np.where(np.arange(ROWS + SIGNAL) == 3, np.nan, 0.1), "1 scores are not finite"),
        (np.where(np.arange(ROWS + SIGNAL) == 3, np.inf, 0.1), "1 scores are not finite"),
        ([None, *range(ROWS + SIGNAL - 1)], "1 scores are not finite"),
        (["high"] * (ROWS + SIGNAL), "plain numbers"),
        (np.where(np.arange(ROWS + SIGNAL) % 2, -1.7e308, 1.7e308), "too far apart"),
        (np.arange(ROWS + SIGNAL) < 3.0, None),  # three chosen events: a bad idea, and a valid score
    ],
)
def test_scores_that_are_not_one_finite_number_per_event(folders: tuple[Path, Path], score: Any, words: str) -> None:
    graded = grade(folders, score)
    assert graded.ok == (words is None)
    if words:
        assert words in graded.reason
        assert graded.details == {}
    else:
        assert abs(graded.value or 0) < 5


def test_files_that_are_not_taken_over(folders: tuple[Path, Path], events: tuple[Table, np.ndarray]) -> None:
    workspace = folders[1]
    write_events(workspace / "real.parquet", {"score": good_scores(events[1])})
    write_events(workspace / "named.parquet", {"value": good_scores(events[1])})
    (workspace / "link.parquet").symlink_to("real.parquet")
    (workspace / "text.parquet").write_text("scores")
    for path, words in (
        ("link.parquet", "link"),
        ("named.parquet", "needs a column 'score', has ['value']"),
        ("text.parquet", "not a parquet file"),
        ("absent.parquet", "No such file"),
        ("../inputs/events.parquet", "not a path inside"),
        (str(workspace / "real.parquet"), "not a path inside"),
        ("nul\0.parquet", "not a path inside"),
        ("", "not a path inside"),
    ):
        graded = grade(folders, scores=path)
        assert not graded.ok
        assert words in graded.reason, path


@pytest.mark.parametrize(
    "window", [(2.0, 2.5), (5.4, 5.9), (3.3, 3.35), (3.0, 4.5), (3.7, 3.3), (float("nan"), 3.7), (3.3, float("inf"))]
)
def test_windows_outside_the_search_range_are_refused(folders: tuple[Path, Path], window: tuple[float, float]) -> None:
    graded = grade(folders, window=window)
    assert not graded.ok
    assert "(2.7, 5.5) TeV, with a width of 0.025 to 0.3 of its centre" in graded.reason


def test_good_scores_find_the_resonance(folders: tuple[Path, Path], events: tuple[Table, np.ndarray]) -> None:
    score = good_scores(events[1])
    graded = grade(folders, score)
    details = graded.details
    assert graded.value is not None
    assert graded.value > 6
    assert 0.05 < (graded.error or 0) < 4
    assert abs(details["mass"] - 3.5) < 4 * details["mass_error"] + 0.01
    assert abs(details["n_signal"] - SIGNAL) < 4 * details["n_signal_error"]
    assert details["n_signal_error"] < SIGNAL
    assert details["p_local"] == pytest.approx(norm.sf(graded.value))
    assert details["p_global"] == pytest.approx(details["trials"] * details["p_local"], rel=0.01)
    assert graded.artefact == hashlib.sha256((folders[1] / "scores.parquet").read_bytes()).hexdigest()
    best = details["cuts"][details["best"]]
    assert best["z"] == graded.value == max(cut["z"] for cut in details["cuts"])
    drawn = details["spectrum"]
    assert sum(drawn["passed"]) == pytest.approx(sum(drawn["background"]) + sum(drawn["signal"]), rel=0.02)
    json.dumps(graded.model_dump(), allow_nan=False)  # the trace holds JSON
    assert grade(folders, score) == graded


def test_p_global_grows_with_the_number_of_graded_submissions(folders: tuple[Path, Path]) -> None:
    score = np.random.default_rng(8).normal(size=ROWS + SIGNAL)
    one, ten = (grade(folders, score, n_graded=n).details for n in (1, 10))
    trials = grader.OVERLAP * 3 * len(hypotheses(*SEARCH))
    assert (one["trials"], ten["trials"]) == (trials, 10 * trials)
    assert one["p_local"] == ten["p_local"]
    assert one["p_local"] <= one["p_global"] <= ten["p_global"] <= 1
    assert ten["p_global"] == pytest.approx(1 - (1 - one["p_global"]) ** 10)


@pytest.mark.slow
def test_p_global_is_valid_for_a_crew_that_tries_windows_and_hands_in_the_best(
    folders: tuple[Path, Path], toy: Toy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No signal; scores of their own in windows that overlap by half, of which the grader sees the best alone."""
    monkeypatch.setattr(grader, "BOOTSTRAPS", 2)
    search, edges, found = (2.9, 4.1), make_edges(*RANGE), []
    for seed in range(8):
        mjj, rng = toy(15_000, seed=200 + seed)[0]["mjj"], np.random.default_rng(seed)
        write_events(folders[0] / "events.parquet", {"mjj": mjj})
        tried = []
        for low in np.arange(2.9, 3.71, 0.2):
            window, score = (round(low, 2), round(low + 0.4, 2)), rng.normal(size=len(mjj))
            cuts = [
                score >= threshold(score, mjj, window, efficiency) for efficiency in usable(EFFICIENCIES, mjj, window)
            ]
            tested = hypotheses(*window)
            spectra = [known(histogram(mjj, cut, edges), window, tested) for cut in cuts]
            tried.append((max(scan_spectrum(each, tested)[0].max() for each in spectra), window, score))
        _, window, score = max(tried, key=lambda each: each[0])
        pq.write_table(pa.table({"score": score}), folders[1] / "scores.parquet")
        submission = SearchSubmission(scores="scores.parquet", window=window)
        graded = grader.grade(submission, *folders, 1, dijets(search), seed=seed)
        assert graded.value == pytest.approx(max(z for z, _, _ in tried), abs=1e-3)
        found.append((graded.details["p_local"], graded.details["p_global"]))
    p_local, p_global = np.array(found).T
    for level in (0.1, 0.3, 0.5):
        assert binomtest(int((p_global < level).sum()), len(p_global), level, alternative="greater").pvalue > 0.01
    assert (p_local < 0.1).mean() > 0.8  # what would be claimed without any of this


@pytest.mark.slow
def test_random_scores_find_nothing(folders: tuple[Path, Path]) -> None:
    for seed in range(4):
        graded = grade(folders, np.random.default_rng(seed).normal(size=ROWS + SIGNAL))
        assert graded.value is not None
        assert abs(graded.value) < 5
        assert graded.details["p_global"] > 0.02  # 0.08 were the bound exact; it is conservative


def test_a_sample_at_the_edge_of_what_can_be_cut_is_refused_not_broken(
    folders: tuple[Path, Path], events: tuple[Table, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(grader, "BOOTSTRAPS", 20)
    mjj = events[0]["mjj"]
    side = np.flatnonzero((mjj < WINDOW[0]) | (mjj >= WINDOW[1]))
    inside = np.setdiff1d(np.arange(len(mjj)), side)
    rows = np.concatenate([side[:9500], inside])  # 10 events pass the tightest cut, 9 in every other resampling
    write_events(folders[0] / "events.parquet", {"mjj": mjj[rows]})
    score = np.random.default_rng(3).normal(size=len(rows))
    monkeypatch.setattr(grader, "EFFICIENCIES", [1e-3])
    graded = grade(folders, score)
    assert not graded.ok
    assert "at least 10 are needed" in graded.reason


def test_a_score_that_sculpts_is_graded_with_a_warning(folders: tuple[Path, Path], events: tuple[Table, Any]) -> None:
    columns, is_signal = events
    honest = grade(folders, good_scores(is_signal))
    assert honest.details["warning"] is None
    assert all(cut["smooth_p"] > 1e-3 for cut in honest.details["cuts"])
    prefers = good_scores(is_signal) + 3 * (np.abs(columns["mjj"] - 3.0) < 0.05)
    sculpted = grade(folders, prefers)
    # Behind the best cut too few events pass beside the bump: the test of a looser one counts.
    cuts, best = sculpted.details["cuts"], sculpted.details["cuts"][sculpted.details["best"]]
    told = next(c for c in cuts[::-1] if c["efficiency"] >= best["efficiency"] and c["smooth_p"] is not None)
    assert told["smooth_p"] < 0.01
    assert f"efficiency {told['efficiency']:g}" in sculpted.details["warning"]
    assert sculpted.details["warning"].startswith("The score sculpts the mass")
