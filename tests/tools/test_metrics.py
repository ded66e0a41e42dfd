"""Numbers of merit against their definitions, taken cut by cut and pair by pair."""

from __future__ import annotations

import doctest
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tools import metrics
from tools.metrics import argos, auc, auc_error, bootstrap_error, efficiencies, max_sic, sic_at

Floats = np.ndarray
# Few distinct values, so that ties within and between the samples are the rule.
tied = st.lists(st.integers(-3, 3).map(float), min_size=1, max_size=12).map(np.array)
RNG = np.random.default_rng(7)
SIGNAL, BACKGROUND = RNG.normal(1.2, 1, 800), RNG.normal(0, 1, 5000)


def slow_auc(signal: Floats, background: Floats) -> float:
    pairs = [(s > b) + 0.5 * (s == b) for s in signal for b in background]
    return float(sum(pairs) / len(pairs))


def slow_curve(signal: Floats, background: Floats) -> list[tuple[float, float, int]]:
    """(eff_S, eff_B, background kept) for `score >= t` at every score that occurs."""
    curve = []
    for t in {*signal.tolist(), *background.tolist()}:
        kept = sum(b >= t for b in background)
        curve.append((sum(s >= t for s in signal) / len(signal), kept / len(background), kept))
    return curve


@given(tied, tied)
def test_auc_counts_pairs(signal: Floats, background: Floats) -> None:
    assert auc(signal, background) == pytest.approx(slow_auc(signal, background), abs=1e-12)
    assert auc(signal, background) + auc(background, signal) == pytest.approx(1, abs=1e-12)


@given(tied, tied, st.integers(1, 12))
def test_max_sic_is_the_largest_over_all_cuts_above_the_floor(signal: Floats, background: Floats, floor: int) -> None:
    allowed = [s / np.sqrt(b) for s, b, kept in slow_curve(signal, background) if kept >= floor]
    if not allowed:
        with pytest.raises(ValueError, match=f"min_background={floor}: only {len(background)} "):
            max_sic(signal, background, floor)
        return
    assert max_sic(signal, background, floor) == pytest.approx(max(allowed), rel=1e-12)


@given(tied, tied, st.integers(1, 12))
def test_argos_is_the_largest_over_all_cuts_that_keep_template(data: Floats, template: Floats, floor: int) -> None:
    allowed = [s / np.sqrt(b) - np.sqrt(b) for s, b, kept in slow_curve(data, template) if kept >= floor]
    if not allowed:
        with pytest.raises(ValueError, match="min_template"):
            argos(data, template, floor)
        return
    assert argos(data, template, floor) == pytest.approx(max(allowed), rel=1e-12, abs=1e-12)


@given(tied, tied)
def test_sic_at_full_efficiency_is_one_and_the_curve_runs_from_tight_to_loose(s: Floats, b: Floats) -> None:
    assert sic_at(s, b, 1.0) == pytest.approx((s >= b.min()).mean())
    eff_s, eff_b, kept = efficiencies(s, b)
    assert (eff_s[-1], eff_b[-1], kept[-1]) == (1, 1, len(b))
    assert np.all(np.diff(eff_s) >= 0)
    assert np.all(np.diff(eff_b) >= 0)


def test_random_scores_separate_nothing() -> None:
    rng = np.random.default_rng(3)
    signal, background = rng.normal(size=4000), rng.normal(size=20_000)
    assert abs(auc(signal, background) - 0.5) < 4 * auc_error(0.5, len(signal), len(background))
    for efficiency in (0.5, 0.1, 0.01):
        # eff_S is binomial around eff_B, whose own cut is uncertain by 1/sqrt(kept): within 4 sigma.
        error = np.sqrt(efficiency) * np.hypot(1 / np.sqrt(efficiency * 4000), 1 / np.sqrt(efficiency * 20_000))
        assert sic_at(signal, background, efficiency) == pytest.approx(np.sqrt(efficiency), abs=4 * error)
    # Nothing beats the loosest cut, which has SIC 1, except by the noise of a maximum over tight cuts.
    assert 1 <= max_sic(signal, background, 25) < 1.2


def test_argos_of_one_distribution_is_about_zero_and_rises_with_an_excess() -> None:
    rng = np.random.default_rng(4)
    data, template = rng.normal(size=20_000), rng.normal(size=60_000)
    assert 0 <= argos(data, template, 25) < 0.04
    excess = np.concatenate([data, rng.normal(4, 0.5, 200)])
    assert argos(excess, template, 25) > 0.15


@pytest.mark.parametrize("change", [np.exp, lambda x: 3 * x - 7, np.arctan, lambda x: x**3])
def test_only_the_order_of_scores_matters(change: Callable[[Floats], Floats]) -> None:
    s, b = change(SIGNAL), change(BACKGROUND)
    assert auc(s, b) == auc(SIGNAL, BACKGROUND)
    assert max_sic(s, b, 5) == max_sic(SIGNAL, BACKGROUND, 5)
    assert argos(s, b, 5) == argos(SIGNAL, BACKGROUND, 5)
    assert sic_at(s, b, 0.01) == sic_at(SIGNAL, BACKGROUND, 0.01)


def test_auc_of_two_gaussians_is_known_in_closed_form() -> None:
    # P(s > b) = Phi(1.2 / sqrt 2) = 0.80193
    assert auc(SIGNAL, BACKGROUND) == pytest.approx(0.80193, abs=4 * auc_error(0.80193, 800, 5000))


def test_a_higher_floor_never_gives_a_larger_sic() -> None:
    values = [max_sic(SIGNAL, BACKGROUND, floor) for floor in (1, 5, 25, 100, 1000, 5000)]
    assert values == sorted(values, reverse=True)
    assert values[0] > values[-1]
    assert values[-1] == pytest.approx((SIGNAL - BACKGROUND.min() >= 0).mean())


@pytest.mark.parametrize(("n_signal", "n_background", "shift"), [(800, 5000, 0.0), (300, 300, 0.7), (5000, 400, 1.2)])
def test_the_error_of_an_auc_agrees_with_resampling(n_signal: int, n_background: int, shift: float) -> None:
    rng = np.random.default_rng(5)
    s, b = rng.normal(shift, 1, n_signal), rng.normal(0, 1, n_background)
    formula = auc_error(auc(s, b), n_signal, n_background)
    # 400 resamplings know a standard deviation to 3.5%; the formula assumes exponential scores: 20% in all.
    assert formula == pytest.approx(bootstrap_error(auc, s, b, seed=1, n=400), rel=0.2)


def test_bootstrap_error_is_that_of_a_mean_where_the_metric_is_one() -> None:
    def difference(a: Floats, b: Floats) -> float:
        return float(a.mean() - b.mean())

    expected = np.hypot(SIGNAL.std() / np.sqrt(len(SIGNAL)), BACKGROUND.std() / np.sqrt(len(BACKGROUND)))
    # 400 resamplings: 3.5% one sigma.
    assert bootstrap_error(difference, SIGNAL, BACKGROUND, seed=2, n=400) == pytest.approx(expected, rel=0.14)
    assert bootstrap_error(difference, SIGNAL, BACKGROUND, 2, 5) == bootstrap_error(
        difference, SIGNAL, BACKGROUND, 2, 5
    )


@settings(max_examples=20)
@given(st.sampled_from([np.array([]), np.array([1.0, np.nan]), np.array([np.inf, 0.0])]), st.booleans())
def test_empty_and_not_finite_scores_are_refused(bad: Floats, first: bool) -> None:
    good = np.array([0.0, 1.0])
    pair = (bad, good) if first else (good, bad)
    name = "signal" if first else "background"
    for metric in (auc, argos, lambda s, b: max_sic(s, b, 1), lambda s, b: sic_at(s, b, 0.5)):
        with pytest.raises(ValueError, match=f"{name}: needs at least one event"):
            metric(*pair)


def test_a_cut_that_keeps_no_background_is_refused() -> None:
    with pytest.raises(ValueError, match="keeps no event of 2"):
        sic_at(np.ones(2), np.zeros(2), 0.01)


def test_examples_in_the_docstrings_hold() -> None:
    done = doctest.testmod(metrics)
    assert done.failed == 0
    assert done.attempted >= 4
