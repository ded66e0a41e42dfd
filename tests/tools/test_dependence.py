"""1/JSD of a cut: closed forms, the ceiling of random selections, and p-values that are uniform without dependence."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.distance import jensenshannon
from scipy.stats import kstest

from tools.bumphunt.sculpting import sculpting
from tools.dependence import BINS, dependence, edges, jsd


def test_jsd_is_that_of_scipy_and_one_for_disjoint_spectra() -> None:
    rng = np.random.default_rng(1)
    p, q = rng.integers(1, 50, (2, 12))
    assert jsd(p, q) == pytest.approx(jensenshannon(p, q, base=2) ** 2, rel=1e-9)
    assert jsd(np.array([3, 0]), np.array([0, 9])) == pytest.approx(1.0)
    both = jsd(np.stack([p, q]), p)
    assert both[0] < 1e-12 < both[1]


def test_half_of_the_masses_has_the_closed_form() -> None:
    """A cut that keeps the upper half of the masses: p is 0 or 2q, whatever the spectrum."""
    mass = np.random.default_rng(2).exponential(size=60_000)
    found = dependence(mass, mass > np.median(mass))
    expected = (np.log2(4 / 3) + 0.5 * np.log2(2 / 3) + 0.5 * np.log2(2)) / 2
    assert found.inverse_jsd == pytest.approx(1 / expected, rel=1e-3)
    assert found.p_value < 0.01
    assert found.over_ceiling < 0.01


def test_the_ceiling_is_that_of_statistics() -> None:
    mass = np.random.default_rng(3).normal(size=40_000)
    for passing in (400, 4000, 20_000):
        found = dependence(mass, np.arange(len(mass)) < passing)
        expected = 8 * np.log(2) / ((BINS - 1) * (1 / passing - 1 / len(mass)))
        assert found.ceiling == pytest.approx(expected, rel=0.12)
        assert found.low < found.ceiling < found.high
        assert 0.3 < found.over_ceiling < 3
    assert np.all(np.diff(edges(mass)) > 0)


def test_p_values_are_uniform_without_dependence() -> None:
    rng = np.random.default_rng(4)
    found = []
    for _ in range(150):
        mass = rng.exponential(size=3000)
        found.append(dependence(mass, rng.random(3000) < 0.1, n_toys=200).p_value)
    assert kstest(found, "uniform").pvalue > 1e-3


@pytest.mark.parametrize("passing", [0, 50])
def test_cuts_that_keep_all_or_nothing_are_refused(passing: int) -> None:
    with pytest.raises(ValueError, match="of 50 events pass"):
        dependence(np.arange(50.0), np.arange(50) < passing)


def test_the_sculpting_test_says_how_much_and_keeps_its_p_values() -> None:
    rng = np.random.default_rng(5)
    mass = 2.5 + rng.exponential(0.8, 20_000)
    hump = rng.normal(size=len(mass)) + 1.5 * np.exp(-(((mass - 3.5) / 0.2) ** 2))
    free = sculpting(mass, rng.random(len(mass)) < 0.05)
    shaped = sculpting(mass, hump > np.quantile(hump, 0.95))
    assert shaped.smooth_p < 0.01 < free.smooth_p
    assert shaped.dependence.over_ceiling < 0.2 < free.dependence.over_ceiling
