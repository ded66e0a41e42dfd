"""Clustering: analytic masses, N-subjettiness against a plain implementation, symmetries."""

from __future__ import annotations

import awkward as ak
import numpy as np
import pytest
from scipy.optimize import minimize

from tools.events.cluster import COLUMNS, cluster

Particle = tuple[float, float, float]  # pt [GeV], eta, phi


def events(*each: list[Particle]) -> ak.Array:
    return ak.Array([[{"pt": pt, "eta": eta, "phi": phi} for pt, eta, phi in event] for event in each])


def pair(pt: tuple[float, float], phi: float, distance: float) -> list[Particle]:
    return [(pt[0], 0.0, phi), (pt[1], distance, phi)]


def random_dijet(rng: np.random.Generator, size: int = 30) -> list[Particle]:
    jets = []
    for phi, pt in ((0.5, 1600.0), (0.5 + np.pi, 1500.0)):
        fractions = rng.dirichlet(np.full(size, 0.5)) * pt
        jets += list(zip(fractions, rng.normal(0.1, 0.2, size), rng.normal(phi, 0.2, size), strict=True))
    return [(float(a), float(b), float(c)) for a, b, c in jets]


def features(*each: list[Particle]) -> dict[str, np.ndarray]:
    columns, passed = cluster(events(*each))
    assert passed.all()
    assert tuple(columns) == COLUMNS
    return columns


def test_mass_of_two_massless_particles() -> None:
    light, heavy = pair((1300.0, 200.0), 0.0, 0.3), pair((1200.0, 300.0), np.pi, 0.5)
    columns = features(light + heavy)
    for name, (a, b), distance in (("mj1", (1300.0, 200.0), 0.3), ("mj2", (1200.0, 300.0), 0.5)):
        expected = np.sqrt(2 * a * b * (np.cosh(distance) - 1)) / 1000
        assert columns[name][0] == pytest.approx(expected, rel=1e-6)


def test_back_to_back_mjj_is_the_total_energy() -> None:
    one = [(1000.0, 0.2, 0.1), (1000.0, -0.2, -0.1)]
    other = [(1000.0, 0.2, np.pi + 0.1), (1000.0, -0.2, np.pi - 0.1)]
    columns = features(one + other)
    assert columns["mjj"][0] == pytest.approx(4 * 1000.0 * np.cosh(0.2) / 1000, rel=1e-9)
    assert columns["delta_r_jj"][0] == pytest.approx(np.pi)


def test_delta_r_wraps_around_phi_and_counts_eta() -> None:
    shifted = [(pt, eta + 0.5, phi) for pt, eta, phi in pair((1400.0, 10.0), 3.0, 0.01)]
    columns = features(shifted + pair((1400.0, 10.0), -1.0, 0.01))
    assert columns["delta_r_jj"][0] == pytest.approx(np.hypot(0.5, 2 * np.pi - 4.0), rel=1e-4)


def test_lighter_jet_comes_first_whichever_leads_in_pt() -> None:
    light, heavy = pair((1300.0, 100.0), 0.0, 0.2), pair((1200.0, 100.0), np.pi, 0.8)
    heavy_leads = [(1.5 * pt, eta, phi) for pt, eta, phi in heavy]
    columns = features(light + heavy, light + heavy_leads)
    assert np.all(columns["mj1"] < columns["mj2"])
    assert np.all(columns["tau1_j1"] < columns["tau1_j2"])  # the substructure goes with its jet


def test_two_jets_leading_in_pt_are_used() -> None:
    dijet = pair((1300.0, 200.0), 0.0, 0.3) + pair((1200.0, 300.0), np.pi, 0.5)
    reference = features(dijet)
    with_third = features(pair((300.0, 200.0), 1.6, 0.9) + dijet)
    for name in COLUMNS:
        np.testing.assert_allclose(with_third[name], reference[name], rtol=1e-9, err_msg=name)


def test_two_particles_have_analytic_tau() -> None:
    """With beta = 1 the best single axis lies on the harder particle: tau1 = pt_soft * d / (pt_soft + pt_hard)."""
    columns = features(pair((1300.0, 200.0), 0.0, 0.3) + pair((1200.0, 300.0), np.pi, 0.5))
    assert columns["tau1_j1"][0] == pytest.approx(200 * 0.3 / 1500, rel=0.01)
    assert columns["tau1_j2"][0] == pytest.approx(300 * 0.5 / 1500, rel=0.01)
    for name in ("tau2_j1", "tau2_j2", "tau3_j1", "tau3_j2"):
        assert columns[name][0] == pytest.approx(0.0, abs=1e-9)


def plain_tau(jet: list[Particle], n: int, starts: np.ndarray) -> float:
    """sum pt min_k dR / sum pt, minimised over the axes from given starts: slow and obvious."""
    pt, eta, phi = np.array(jet).T

    def tau(axes: np.ndarray) -> float:
        eta_axis, phi_axis = axes.reshape(n, 2).T
        distance = np.hypot(eta[:, None] - eta_axis, phi[:, None] - phi_axis)
        return float(np.sum(pt * distance.min(axis=1)) / pt.sum())

    options = {"xatol": 1e-9, "fatol": 1e-12, "maxiter": 20_000, "maxfev": 20_000}
    return min(float(minimize(tau, start, method="Nelder-Mead", options=options).fun) for start in starts)


def test_njettiness_agrees_with_plain_minimisation() -> None:
    rng = np.random.default_rng(5)
    centres = np.array([[-0.3, 0.2], [0.3, -0.1], [0.1, 0.5]])
    jet = []
    for centre, pt in zip(centres, (700.0, 500.0, 300.0), strict=True):
        for fraction in rng.dirichlet(np.ones(5)):
            eta, phi = centre + rng.normal(0, 0.03, 2)
            jet.append((float(pt * fraction), float(eta), float(phi)))
    other = pair((1400.0, 10.0), np.pi, 0.05)
    columns = features(jet + other)
    for n in (1, 2, 3):
        starts = np.array([rng.permutation(centres)[:n].ravel() for _ in range(6)])
        assert columns[f"tau{n}_j2"][0] == pytest.approx(plain_tau(jet, n, starts), rel=0.02)
    assert columns["tau3_j2"][0] < columns["tau2_j2"][0] < columns["tau1_j2"][0]


def test_rotation_in_phi_changes_nothing() -> None:
    event = random_dijet(np.random.default_rng(6))
    reference = features(event)
    for angle in (0.7, 2.0, -2.9):
        turned = features([(pt, eta, phi + angle) for pt, eta, phi in event])
        for name in COLUMNS:
            np.testing.assert_allclose(turned[name], reference[name], rtol=1e-6, err_msg=name)


def test_order_of_particles_and_of_events_changes_nothing() -> None:
    rng = np.random.default_rng(7)
    first, second = random_dijet(rng), random_dijet(rng)
    reference = features(first, second)
    shuffled = [first[i] for i in rng.permutation(len(first))]
    swapped = features(second, shuffled)
    for name in COLUMNS:
        np.testing.assert_allclose(swapped[name][::-1], reference[name], rtol=1e-6, err_msg=name)


def test_events_that_do_not_pass_are_left_out_and_named() -> None:
    good = pair((1300.0, 200.0), 0.0, 0.3) + pair((1200.0, 300.0), np.pi, 0.5)
    soft = [(pt / 2, eta, phi) for pt, eta, phi in good]
    one_jet, single = good[:2], [*good[:2], (1300.0, 0.0, np.pi)]
    columns, passed = cluster(events(soft, good, [], one_jet, single))
    np.testing.assert_array_equal(passed, [False, True, False, False, False])
    assert all(len(values) == 1 for values in columns.values())
    assert cluster(events(soft, good), leading_pt_min=0.0)[1].all()


def test_no_events_give_empty_columns() -> None:
    for particles in (events(pair((1.0, 1.0), 0.0, 0.1)), events(pair((1.0, 1.0), 0.0, 0.1))[:0]):
        columns, passed = cluster(particles)
        assert not passed.any()
        assert all(len(columns[name]) == 0 for name in COLUMNS)
