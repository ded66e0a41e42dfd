"""Iterative Bayesian unfolding: a plain loop, the inverse matrix, efficiency, fakes, and when to stop."""

from __future__ import annotations

from itertools import islice

import numpy as np
import pytest
from scipy.stats import norm
from unfolding_toys import MEAN, WIDTH, gaussian, misses_and_fakes

from tools.contract import ToolError
from tools.unfolding.cells import Cells, carry
from tools.unfolding.ibu import Ibu, ibu
from tools.unfolding.problem import Problem

RESPONSE = np.array([[0.6, 0.2, 0.0], [0.1, 0.5, 0.2], [0.0, 0.1, 0.6]])  # efficiencies 0.7, 0.8, 0.8
FAKES = np.array([5.0, 10.0, 0.0])
TRUTH = np.array([100.0, 300.0, 50.0])


def test_it_is_bayes_theorem_in_a_loop() -> None:
    data = np.array([90.0, 150.0, 70.0])
    t = np.array([150.0, 200.0, 100.0])
    for truth in islice(ibu(data, RESPONSE, t, FAKES), 5):
        new = np.zeros(3)
        for i in range(3):
            folded = sum(RESPONSE[i, k] * t[k] for k in range(3)) + FAKES[i]
            for j in range(3):
                new[j] += RESPONSE[i, j] * t[j] / folded * data[i] / RESPONSE[:, j].sum()
        t = new
        np.testing.assert_allclose(truth, t, rtol=1e-12)


def test_without_noise_it_ends_at_the_inverse() -> None:
    data = RESPONSE @ TRUTH + FAKES
    last = next(islice(ibu(data, RESPONSE, np.full(3, 150.0), FAKES), 3000, None))
    np.testing.assert_allclose(last, np.linalg.solve(RESPONSE, data - FAKES), rtol=1e-6)
    np.testing.assert_allclose(last, TRUTH, rtol=1e-6)


def test_a_bin_that_is_never_seen_keeps_its_prior() -> None:
    response = RESPONSE * np.array([1.0, 0.0, 1.0])
    truth = next(ibu(np.array([60.0, 20.0, 30.0]), response, np.array([100.0, 70.0, 50.0]), np.zeros(3)))
    assert truth[1] == 70


def test_events_with_misses_and_fakes_are_unfolded() -> None:
    n = 50_000
    problem = misses_and_fakes(n, 1, 0.3)
    done = Ibu().unfold(problem)
    push, x = done.push[:n], problem.gen[:n, 0]
    assert push.sum() == pytest.approx(n, abs=4 * np.sqrt(2 * 0.8 * n) / 0.7)
    assert np.average(x, weights=push) == pytest.approx(0.3, abs=0.02)
    np.testing.assert_array_equal(done.push[n:], 1)
    assert done.discrepancy[-1][0] < 1 < done.discrepancy[0][0]
    assert 1 <= done.iterations < 30


def test_the_data_ask_for_enough_iterations() -> None:
    """Over toys no bias is left beside the errors, and it does not depend on luck how often is iterated."""
    edges = norm.ppf(np.linspace(0, 1, 9), MEAN, WIDTH)
    bins, numbers = [], []
    for seed in range(80):
        problem, _ = gaussian(5000, seed)
        done = Ibu().unfold(problem)
        numbers.append(done.iterations)
        bins.append(np.histogram(problem.gen[:, 0], edges, weights=done.push)[0] - 5000 / 8)
    bias = np.mean(bins, axis=0) / np.std(bins, axis=0, ddof=1)
    # Each has an error of 80^-1/2 = 0.11. Where chi^2 first falls to the number of bins the first one is off by 1.2.
    assert np.sqrt(np.mean(bias**2)) < 0.25
    assert np.abs(bias).max() < 0.5
    assert 4 <= min(numbers) <= max(numbers) <= 8


def test_a_given_number_of_iterations_is_kept() -> None:
    problem = misses_and_fakes(2000, 2, 0.3)
    assert Ibu(iterations=7).unfold(problem).iterations == 7
    assert Ibu().fixed(3).unfold(problem).iterations == 3


def test_two_observables_are_unfolded_together() -> None:
    rng = np.random.default_rng(3)
    n = 50_000

    def sample(rho: float) -> tuple[np.ndarray, np.ndarray]:
        x = rng.standard_normal((n, 2)) @ np.linalg.cholesky([[1, rho], [rho, 1]]).T
        return x, x + 0.3 * rng.standard_normal((n, 2))

    (gen, reco), (_, data) = sample(0.0), sample(0.4)
    push = Ibu(iterations=4).unfold(Problem.of(data, gen, reco)).push
    assert np.cov(gen.T, aweights=push)[0, 1] == pytest.approx(0.4, abs=0.03)


def test_cells_hold_equal_shares_and_reach_to_infinity() -> None:
    rng = np.random.default_rng(4)
    x = rng.exponential(size=(4000, 1))
    cells = Cells.of(Problem.of(x, x, x), "gen", 8)
    counts = cells.fill(cells.index(x), np.ones(4000))
    np.testing.assert_allclose(counts, 500)
    assert list(cells.index(np.array([[-1e9], [1e9]]))) == [0, 7]
    whole = np.round(2 * x)
    cells = Cells.of(Problem.of(whole, whole, whole), "gen", 40)
    # Integers: no edge falls on a value twice, and no cell is empty.
    assert (cells.fill(cells.index(whole), np.ones(4000)) > 0).all()


def test_a_truth_is_carried_to_other_events_cell_by_cell() -> None:
    rng = np.random.default_rng(5)
    a, b = rng.standard_normal((5000, 1)), rng.normal(0.3, 1, (7000, 1))
    problem, other = Problem.of(a, a, a), Problem.of(b, b, b)
    weight = rng.uniform(0.5, 1.5, 7000)
    carried = carry(problem, other, weight, 10)
    cells = Cells.of(problem, "gen", 10)
    np.testing.assert_allclose(cells.fill(cells.index(a), carried), cells.fill(cells.index(b), weight))


def test_three_observables_are_too_many() -> None:
    x = np.random.default_rng(6).standard_normal((100, 3))
    with pytest.raises(ToolError, match="one or two"):
        Ibu().unfold(Problem.of(x, x, x))


def test_data_where_there_is_no_simulation_are_named() -> None:
    rng = np.random.default_rng(7)
    x = rng.standard_normal((3000, 2))
    x[:, 1] = x[:, 0]  # all on a line; the data are not
    with pytest.raises(ToolError, match="of the data"):
        Ibu().unfold(Problem.of(rng.standard_normal((3000, 2)), x, x))
