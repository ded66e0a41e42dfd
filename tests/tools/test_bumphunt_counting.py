"""Significance of a count over an uncertain background, against its own likelihood and its limits."""

from __future__ import annotations

import doctest

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar
from scipy.stats import binomtest

from tools.bumphunt import counting
from tools.bumphunt.counting import closure_delta, count, significance


def profile_likelihood(n: float, background: float, error: float) -> float:
    """sqrt(q0) of n ~ Poisson(s + b), m ~ Poisson(b / k), k = sigma^2 / b0, m = b0 / k seen; maximised by search."""
    k = error**2 / background
    m = background / k

    def loss(b: float) -> float:  # without signal
        return 2 * (b - n * np.log(b) + b / k - m * np.log(b / k))

    # Deviances, not likelihoods: each is taken relative to its value at a perfect fit, which keeps the digits.
    perfect = 2 * (n - (n * np.log(n) if n > 0 else 0) + m - m * np.log(m))
    top = max(n, background)
    low = min(n, background)
    found = minimize_scalar(
        loss, bounds=(max(low / 2, 1e-9), 2 * top), method="bounded", options={"xatol": 1e-10 * top}
    )
    return float(np.sign(n - background) * np.sqrt(max(found.fun - perfect, 0)))


@given(st.integers(0, 400), st.floats(0.5, 300), st.floats(0.03, 1.0))
def test_it_is_the_profile_likelihood_of_counts_with_a_control_region(n: int, b: float, relative: float) -> None:
    assert significance(n, b, relative * b) == pytest.approx(profile_likelihood(n, b, relative * b), rel=1e-3, abs=3e-3)


@given(st.integers(1, 500), st.floats(0.5, 500))
def test_a_known_background_gives_the_poisson_deviance(n: int, b: float) -> None:
    expected = np.sign(n - b) * np.sqrt(max(2 * (n * np.log(n / b) - (n - b)), 0))
    assert significance(n, b, 0.0) == pytest.approx(expected, abs=1e-6)
    # No step where the formula changes over to its limit.
    for error in (1e-6, 1e-5, 1e-4, 1e-3):
        assert significance(n, b, error * np.sqrt(b)) == pytest.approx(expected, rel=1e-3, abs=2e-3)


@given(st.floats(0.5, 500), st.floats(0, 2))
def test_what_was_expected_is_not_significant_and_nothing_at_all_is_a_deficit(b: float, relative: float) -> None:
    assert abs(significance(b, b, relative * b)) < 1e-4
    nothing = significance(0, b, relative * b)
    assert -np.sqrt(2 * b) * (1 + 1e-9) <= nothing < 0


def test_an_empty_count_of_a_known_background_has_the_significance_of_exp_minus_b() -> None:
    assert significance(0, 8.0, 0.0) == pytest.approx(-4.0)  # sqrt(2 b)


def test_uncertainty_lowers_and_excess_raises_it() -> None:
    by_error = [significance(150, 100, error) for error in (0, 1, 5, 10, 20, 50)]
    assert by_error == sorted(by_error, reverse=True)
    by_count = [significance(n, 100, 10) for n in (0, 1, 50, 99, 100, 101, 200)]
    assert by_count == sorted(by_count)
    # For large counts it is (n - b) / sqrt(b + sigma^2).
    assert significance(1_003_000, 1e6, 1000) == pytest.approx(3000 / np.sqrt(2e6), rel=0.01)


@pytest.mark.parametrize(
    "arguments", [(-1, 10, 1), (10, 0, 1), (10, -1, 1), (10, 10, -1), (np.nan, 10, 1), (1, np.nan, 1)]
)
def test_impossible_counts_are_refused(arguments: tuple[float, float, float]) -> None:
    with pytest.raises(ValueError, match="need n >= 0"):
        significance(*arguments)


def test_a_count_over_its_template_is_uniform_when_the_template_closes() -> None:
    rng = np.random.default_rng(3)
    for efficiency, level in ((1e-2, 0.05), (1e-3, 0.05)):
        found = [
            count(rng.normal(size=rng.poisson(10_000)), rng.normal(size=20_000), efficiency, 0.0) for _ in range(400)
        ]
        assert found[0].n_template == round(efficiency * 20_000)
        assert found[0].background == pytest.approx(efficiency * 10_000, rel=0.05)
        above = sum(c.p_value < level for c in found)
        assert binomtest(above, 400, level).pvalue > 1e-3
        assert found[0].error == pytest.approx(found[0].background / np.sqrt(found[0].n_template))


def test_delta_is_the_spread_that_statistics_do_not_explain_and_keeps_false_alarms_away() -> None:
    rng = np.random.default_rng(4)
    b, kept = np.full(300, 500.0), np.full(300, 1000.0)
    for true in (0.0, 0.1, 0.3):
        n = rng.poisson(b * rng.gamma(kept, 1 / kept) * np.maximum(1 + true * rng.standard_normal(300), 0.01))
        delta = closure_delta(n, b, kept)
        assert delta == pytest.approx(true, abs=0.03)
        z = np.array([significance(count, 500, 500 * np.sqrt(1 / 1000 + delta**2)) for count in n])
        assert abs(z.std() - 1) < 0.2
    assert closure_delta(b, b, kept) == 0
    with pytest.raises(ValueError, match="keeps 0"):
        count(np.ones(5), np.ones(10), 0.01, 0.0)


def test_examples_in_the_docstring_hold() -> None:
    failed, attempted = doctest.testmod(counting)
    assert failed == 0 < attempted
