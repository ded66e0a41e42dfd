"""The claim on held-out events: right where there is signal, uniform p-values where there is none."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import kstest

from tasks.lhco import confirm as confirming
from tasks.lhco.claims import SearchSubmission
from tasks.lhco.confirm import METRIC, confirm
from tasks.score import Score
from tools.bumphunt.limits import limit_by_toys, upper_limit
from tools.bumphunt.measure import measure
from tools.events.parquet import write_events

Toy = Callable[..., tuple[dict[str, np.ndarray], np.ndarray]]
WINDOW = (3.3, 3.7)
WIDTH = 0.009  # of the toys' resonances
SUBMISSION = SearchSubmission(scores="scores.parquet", window=WINDOW)


@pytest.fixture(autouse=True)
def fewer_toys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(confirming, "TOYS", 100)
    monkeypatch.setattr(confirming, "limit_by_toys", partial(limit_by_toys, n_toys=200))


def choice(mass: float, width: float = WIDTH, efficiency: float = 1e-2) -> Score:
    """What the grader said of a submission that was chosen."""
    details: dict[str, Any] = {"efficiency": efficiency, "mass": mass, "width": width}
    return Score(metric="significance", value=5.0, reason="chosen", details=details)


def judged(
    folder: Path,
    mjj: np.ndarray,
    score: np.ndarray,
    held_out: np.ndarray,
    mass: float = 3.5,
    width: float = WIDTH,
) -> Score:
    write_events(folder / "events.parquet", {"mjj": mjj})
    write_events(folder / "scores.parquet", {"score": score})
    return confirm(SUBMISSION, choice(mass, width), folder, folder, held_out)


def test_the_claim_is_about_all_events_and_looks_at_the_unseen_ones_alone(toy: Toy, tmp_path: Path) -> None:
    columns, is_signal = toy(40_000, n_signal=300, seed=3)
    rng = np.random.default_rng(2)
    score = rng.normal(size=len(is_signal)) + 3 * is_signal
    held_out = rng.uniform(size=len(is_signal)) < 0.4
    result = judged(tmp_path, columns["mjj"], score, held_out)
    assert result.metric == METRIC
    assert (result.value or 0) > 6
    details = result.details
    assert abs(details["mass"] - 3.5) < 4 * details["mass_error"]
    assert abs(details["n_signal"] - 300) < 3 * details["n_signal_error"]
    assert details["fraction"] == pytest.approx(0.4, abs=0.01)
    # What was looked at is counted: by pseudo-experiments, about as the number of trials says.
    assert details["p_local"] < details["p_global"] < 3 * details["trials"] * details["p_local"]
    other = np.where(held_out, score, rng.permutation(score))
    assert judged(tmp_path, columns["mjj"], other, held_out).details == details


@pytest.mark.slow
def test_without_signal_p_values_are_valid_whatever_was_chosen_on_the_other_half(
    toy: Toy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The largest fluctuation of one half; taken at its word there, it would be no p-value.

    Here the background is smooth, and the likelihood reckons with 10% that are not: p-values are a little too large.
    """
    monkeypatch.setattr(confirming, "limit_by_toys", upper_limit)  # quicker, and not looked at here
    at_its_word, p_values = [], []
    for seed in range(16):
        columns, _ = toy(12_000, n_signal=0, seed=100 + seed)
        mjj, rng = columns["mjj"], np.random.default_rng(seed)
        score, held_out = rng.normal(size=len(mjj)), np.arange(len(mjj)) % 2 == 0
        chosen = measure(mjj[~held_out], score[~held_out], WINDOW, 1e-2)
        at_its_word.append(chosen.fit.p_value)
        best = int(np.argmax(chosen.z))
        mass, width = float(chosen.tested.masses[best]), float(chosen.tested.widths[best])
        p_values.append(judged(tmp_path, mjj, score, held_out, mass, width).details["p_global"])
    assert kstest(p_values, "uniform", alternative="greater").pvalue > 0.01
    assert np.mean(p_values) < 0.75
    assert kstest(at_its_word, "uniform").pvalue < 1e-4


def test_where_nothing_is_found_a_limit_says_how_much_could_be_there(toy: Toy, tmp_path: Path) -> None:
    """On the signal behind the cut among the held-out events: less of them, less of it; the band holds the observed."""
    columns, _ = toy(40_000, n_signal=0, seed=6)
    score = np.random.default_rng(3).normal(size=40_000)
    limits = []
    for fraction in (0.8, 0.2):
        details = judged(tmp_path, columns["mjj"], score, np.arange(40_000) % 10 < 10 * fraction).details
        low, *_, high = details["upper_limit_expected"]
        assert low < details["upper_limit"] < high
        limits.append(details["upper_limit_expected"][2])
    assert limits[0] / limits[1] == pytest.approx(2, rel=0.4)  # the root of the number of events


def test_what_cannot_be_judged_says_why(tmp_path: Path) -> None:
    mjj = np.linspace(2.5, 6, 1000)
    write_events(tmp_path / "events.parquet", {"mjj": mjj})
    held_out = np.ones(1000, dtype=bool)
    missing = confirm(SUBMISSION, choice(3.5), tmp_path, tmp_path, held_out)
    assert missing.value is None
    assert "scores" in missing.reason
    short = judged(tmp_path, mjj[:-1], np.arange(998.0), held_out[:-1])
    assert short.value is None
    assert "998 rows, but 999 events" in short.reason
