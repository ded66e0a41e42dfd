"""Unfolding with a Wasserstein loss: convex solvers on small cases, Gaussians, efficiency and fakes."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import linprog, minimize
from unfolding_toys import MEAN, WIDTH, gaussian, misses_and_fakes

from tools.unfolding.problem import Problem
from tools.unfolding.transport import Kernel, Transport, merge, transport


def small(atoms: int, points: int, seed: int) -> tuple[Kernel, np.ndarray, np.ndarray]:
    """Three truth cells at 0, 1, 2 with noise, and data of weight 1 in all."""
    rng = np.random.default_rng(seed)
    cell = np.repeat(np.arange(3), atoms)
    kappa = rng.dirichlet(np.ones(atoms), 3).ravel()
    y = (cell + 0.5 * rng.standard_normal(len(cell)))[:, None]
    return Kernel(y, cell, kappa, 3), rng.uniform(-0.5, 2.5, (points, 1)), rng.dirichlet(np.ones(points))


def constraints(kernel: Kernel, z: np.ndarray, nu: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(cost, matrix, right-hand side) for the variables (plan, row by row, and t)."""
    m, points = len(kernel.y), len(z)
    rows = np.zeros((m, m * points + kernel.n_cells))
    columns = np.zeros((points, m * points + kernel.n_cells))
    for k in range(m):
        rows[k, k * points : (k + 1) * points] = 1
        rows[k, m * points + kernel.cell[k]] = -kernel.kappa[k]
    for at in range(points):
        columns[at, at : m * points : points] = 1
    return ((kernel.y - z.T) ** 2).ravel(), np.concatenate([rows, columns]), np.concatenate([np.zeros(m), nu])


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_its_cost_goes_to_that_of_the_linear_programme(seed: int) -> None:
    kernel, z, nu = small(4, 7, seed)
    cost, matrix, right = constraints(kernel, z, nu)
    exact = linprog(np.concatenate([cost, np.zeros(3)]), A_eq=matrix, b_eq=right)
    for blur, above in ((0.3, 0.3), (0.06, 0.03)):
        t, _, reached = transport(kernel, z, nu, blur, 50_000, 1e-9, {})
        assert t.sum() == pytest.approx(1, abs=1e-3)
        assert exact.fun - 1e-3 < reached < exact.fun * (1 + above) + above * 0.1


def test_it_solves_the_entropic_problem() -> None:
    """Against a general convex solver, which knows nothing of projections."""
    kernel, z, nu = small(2, 3, 4)
    blur = 0.6
    cost, matrix, right = constraints(kernel, z, nu)
    n = len(cost)

    def objective(v: np.ndarray) -> float:
        plan = np.maximum(v[:n], 1e-12)
        return float(plan @ cost + blur**2 * np.sum(plan * np.log(plan) - plan))

    found = minimize(
        objective,
        np.full(n + 3, 0.1),
        method="SLSQP",
        bounds=[(1e-12, None)] * (n + 3),
        constraints={"type": "eq", "fun": lambda v: matrix @ v - right, "jac": lambda v: matrix},
        options={"maxiter": 1000, "ftol": 1e-12},
    )
    assert found.success
    t, _, _ = transport(kernel, z, nu, blur, 50_000, 1e-10, {})
    np.testing.assert_allclose(t, found.x[n:], atol=2e-4)


def test_data_that_the_detector_could_have_made_give_their_truth() -> None:
    kernel, _, _ = small(5, 1, 5)
    truth = np.array([0.5, 0.2, 0.3])
    t, _, cost = transport(kernel, kernel.y, truth[kernel.cell] * kernel.kappa, 0.02, 100_000, 1e-10, {})
    np.testing.assert_allclose(t, truth, atol=2e-3)
    assert cost < 1e-3


def test_points_far_apart_do_not_underflow() -> None:
    kernel, z, nu = small(4, 7, 6)
    t, _, cost = transport(kernel, z + 50, nu, 0.05, 100, 1e-6, {})
    assert t.sum() == pytest.approx(1)
    assert cost == pytest.approx(50**2, rel=0.1)


def test_a_gaussian_is_unfolded() -> None:
    problem, _ = gaussian(20_000, seed=1)
    done = Transport().unfold(problem)
    x = problem.gen[:, 0]
    mean = np.average(x, weights=done.push)
    assert mean == pytest.approx(MEAN, abs=0.03)
    assert np.sqrt(np.average((x - mean) ** 2, weights=done.push)) == pytest.approx(WIDTH, abs=0.04)
    assert done.push.sum() == pytest.approx(20_000, rel=0.01)
    assert done.discrepancy[1][0] < 3 < done.discrepancy[0][0]
    np.testing.assert_array_equal(done.push, Transport().unfold(problem, seed=2).push)  # nothing is random


def test_two_observables_are_unfolded_together() -> None:
    rng = np.random.default_rng(2)
    n = 20_000

    def sample(rho: float, mean: float) -> tuple[np.ndarray, np.ndarray]:
        x = mean + rng.standard_normal((n, 2)) @ np.linalg.cholesky([[1, rho], [rho, 1]]).T
        return x, x + 0.3 * rng.standard_normal((n, 2))

    (gen, reco), (_, data) = sample(0.0, 0.0), sample(0.4, 0.2)
    push = Transport(points=1000, steps=100).unfold(Problem.of(data, gen, reco)).push
    np.testing.assert_allclose(np.average(gen, axis=0, weights=push), 0.2, atol=0.05)
    assert np.cov(gen.T, aweights=push)[0, 1] == pytest.approx(0.4, abs=0.08)


def test_efficiency_and_fakes_are_undone() -> None:
    n = 20_000
    problem = misses_and_fakes(n, 3, 0.3)
    gen = problem.gen[:n, 0]
    push = Transport().unfold(problem).push
    assert push[:n].sum() == pytest.approx(n, rel=0.05)
    assert np.average(gen, weights=push[:n]) == pytest.approx(0.3, abs=0.06)
    np.testing.assert_array_equal(push[n:], 1)


@pytest.mark.parametrize("dimensions", [1, 2])
def test_merging_keeps_mean_and_weight_and_stays_near(dimensions: int) -> None:
    rng = np.random.default_rng(4)
    x, w = rng.standard_normal((5000, dimensions)), rng.uniform(0, 2, 5000)
    points, weight = merge(x, w, 500)
    assert 500 <= len(points) <= 1024
    assert weight.sum() == pytest.approx(w.sum())
    np.testing.assert_allclose(np.average(points, axis=0, weights=weight), np.average(x, axis=0, weights=w))
    lost = np.average(x**2, axis=0, weights=w) - np.average(points**2, axis=0, weights=weight)
    assert (lost >= 0).all()
    assert lost.max() < (1e-3 if dimensions == 1 else 0.05)
    few, _ = merge(x[:3], w[:3], 500)
    assert len(few) == 3
