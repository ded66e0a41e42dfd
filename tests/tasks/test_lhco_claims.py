"""Claims beside the harness's numbers, and the sealed metrics, on cases with known answers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import norm

from tasks.claim import best_score
from tasks.lhco import claims, sealed, truth
from tasks.lhco.claims import SearchClaim
from tasks.lhco.truth import Truth
from tasks.score import CheckedNumber, Score

ALPHA = 2.87e-7


def score(value: float | None, **details: Any) -> Score:
    return Score(metric="significance", value=value, reason="test", details=details)


GRADED = [
    score(None),
    score(3.0, p_global=0.3, mass=4.0, mass_error=0.01, n_signal=50.0, n_signal_error=40.0),
    score(8.0, p_global=1e-9, mass=3.5, mass_error=0.01, n_signal=600.0, n_signal_error=100.0),
]


def agreement(claim: SearchClaim, scores: list[Score]) -> dict[str, bool | None]:
    return {check.name: check.agrees for check in claims.check(claim, best_score(scores), ALPHA)}


def test_numbers_are_compared_with_the_best_submission_within_the_larger_error() -> None:
    good = SearchClaim(discovery=True, mass=3.508, n_signal=690, n_signal_error=20, p_value=2e-9)
    assert agreement(good, GRADED) == {"discovery": True, "p_value": True, "mass": True, "n_signal": True}
    wrong = SearchClaim(discovery=False, mass=3.52, mass_error=0.001, n_signal=480, p_value=1e-7)
    assert agreement(wrong, GRADED) == {"discovery": False, "p_value": False, "mass": False, "n_signal": False}
    modest = wrong.model_copy(update={"mass_error": 0.03, "n_signal_error": 150.0})
    assert agreement(modest, GRADED) | {"p_value": False} == {
        "discovery": False, "p_value": False, "mass": True, "n_signal": True
    }  # fmt: skip


def test_without_a_claimed_number_or_a_graded_score_there_is_nothing_to_compare() -> None:
    nothing = {"p_value": None, "mass": None, "n_signal": None}
    assert agreement(SearchClaim(discovery=True), GRADED) == {"discovery": True} | nothing
    assert agreement(SearchClaim(discovery=True, mass=3.5), [score(None)]) == {"discovery": None} | nothing


@pytest.mark.parametrize(
    ("claimed", "harness", "agrees"),
    [(1e-9, 2.9e-9, True), (1e-9, 3.3e-9, False), (3e-10, 1e-9, False), (0.0, 0.0, True), (0.0, 1e-9, False)],
)
def test_p_values_agree_within_half_a_decade(claimed: float, harness: float, agrees: bool) -> None:
    assert agreement(SearchClaim(discovery=True, p_value=claimed), [score(1.0, p_global=harness)])["p_value"] is agrees


def test_the_best_score_may_be_negative() -> None:
    scores = [score(-2.0), score(None), score(-0.5), score(-1.0)]
    assert best_score(scores) is scores[2]
    assert best_score([score(None)]) is None


TRUTH = Truth(mass=3.5, n_signal=600, window=(3.3, 3.7))
CHECKS = [
    CheckedNumber(name="discovery", claimed=True, harness=True, agrees=True),
    CheckedNumber(name="mass", claimed=3.57, claimed_error=0.035, harness=3.5, agrees=True),
    CheckedNumber(name="n_signal", claimed=450.0, harness=600.0, agrees=True),
]


def test_biases_are_relative_to_the_truth() -> None:
    mass, count = sealed.biases(CHECKS, TRUTH)
    assert (mass.name, count.name) == ("mass_bias", "n_signal_bias")
    assert mass.value == pytest.approx(0.02)
    assert mass.error == pytest.approx(0.01)
    assert count.value == pytest.approx(-0.25)
    assert count.error is None
    # Where nothing was injected nothing is relative to it.
    assert sealed.biases(CHECKS, Truth(mass=None, n_signal=0, window=(3.3, 3.7))) == []


def test_the_table_of_claims_gets_the_truth_beside_it() -> None:
    assert [check.truth for check in sealed.with_truth(CHECKS, TRUTH)] == [True, 3.5, 600.0]
    empty = Truth(mass=None, n_signal=0, window=(3.3, 3.7))
    assert [check.truth for check in sealed.with_truth(CHECKS, empty)] == [False, None, 0.0]


def test_separation_of_two_gaussians_is_known() -> None:
    rng = np.random.default_rng(1)
    signal, background = rng.normal(2, 1, 2000), rng.normal(0, 1, 50_000)
    metrics, curves = sealed.separation(signal, background)
    by_name = {metric.name: metric for metric in metrics}
    expected = {"auc": norm.cdf(2 / np.sqrt(2))}
    for efficiency in (0.01, 0.001):
        expected[f"sic_at_{efficiency:g}"] = norm.sf(norm.isf(efficiency) - 2) / np.sqrt(efficiency)
    for name, value in expected.items():
        metric = by_name[name]
        assert metric.error is not None
        assert abs((metric.value or 0) - value) < 4 * metric.error
        assert 0 < metric.error < 0.1 * value
    assert (by_name["max_sic_5"].value or 0) >= (by_name["max_sic_25"].value or 0)
    assert max(curves["sic"]) <= (by_name["max_sic_5"].value or 0) + 1e-12
    assert np.all(np.diff(curves["background_efficiency"]) >= 0)
    assert np.all(np.diff(curves["signal_efficiency"]) >= 0)
    np.testing.assert_allclose(
        curves["sic"], np.array(curves["signal_efficiency"]) / np.sqrt(curves["background_efficiency"])
    )
    assert curves["signal_efficiency"][-1] == curves["background_efficiency"][-1] == 1


def test_too_few_events_give_no_number_instead_of_an_error() -> None:
    for n_signal, n_background in ((0, 5000), (1, 5000), (50, 99)):
        metrics, curves = sealed.separation(np.ones(n_signal), np.zeros(n_background))
        assert [metric.value for metric in metrics] == [None]
        assert curves == {}
    rng = np.random.default_rng(2)
    few = {m.name: m.value for m in sealed.separation(rng.normal(1, 1, 50), rng.normal(0, 1, 300))[0]}
    assert few["sic_at_0.01"] is not None
    assert few["sic_at_0.001"] is None  # 0.3 events kept


def test_truth_comes_back(tmp_path: Path) -> None:
    labels = np.random.default_rng(3).uniform(size=50) < 0.3
    truth.write(tmp_path / "sealed", TRUTH, labels, ~labels)
    true, is_signal, held_out = truth.read(tmp_path / "sealed")
    assert true == TRUTH
    np.testing.assert_array_equal(is_signal, labels)
    np.testing.assert_array_equal(held_out, ~labels)
