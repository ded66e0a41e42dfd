"""Observables of jets against plain sums over pairs and triplets, and limits that are known."""

from __future__ import annotations

from itertools import combinations

import numpy as np

from tools.events.jets_substructure import nsubjettiness
from tools.jet_model.jets import from_momenta
from tools.jet_model.observables import CHUNK, OBSERVABLES, observables


def test_energy_correlations_are_the_plain_sums() -> None:
    rng = np.random.default_rng(2)
    n, m = CHUNK + 3, 7
    pt = rng.exponential(40, (n, m)) + 1
    pt[:, 5:] *= rng.random((n, 2)) < 0.5
    eta, phi = 0.3 * rng.standard_normal((2, n, m))
    jets = from_momenta(pt, eta, phi, pt * np.cosh(eta))
    found = observables(jets)
    assert tuple(found) == OBSERVABLES
    for row in (0, 1, CHUNK + 2):
        there = np.flatnonzero(pt[row] > 0)
        z = pt[row] / pt[row].sum()
        r = np.hypot(eta[row][:, None] - eta[row], phi[row][:, None] - phi[row])
        e2 = sum(z[i] * z[j] * r[i, j] for i, j in combinations(there, 2))
        e3 = sum(z[i] * z[j] * z[k] * r[i, j] * r[j, k] * r[i, k] for i, j, k in combinations(there, 3))
        np.testing.assert_allclose([found[x][row] for x in ("e2", "e3", "d2")], [e2, e3, e3 / e2**3], rtol=1e-4)
        np.testing.assert_allclose(found["dispersion"][row], np.sqrt(np.sum(z**2)), rtol=1e-5)
        assert found["multiplicity"][row] == len(there)


def test_two_particles() -> None:
    """Mass^2 = 2 pt1 pt2 (cosh deta - cos dphi), no third prong."""
    pt, eta, phi = np.array([[300.0, 100.0]]), np.array([[0.1, -0.2]]), np.array([[0.0, 0.3]])
    found = observables(from_momenta(pt, eta, phi, pt * np.cosh(eta)))
    np.testing.assert_allclose(found["mass"], np.sqrt(2 * 3e4 * (np.cosh(0.3) - np.cos(0.3))), rtol=1e-5)
    np.testing.assert_allclose(found["e2"], 3 / 16 * np.hypot(0.3, 0.3), rtol=1e-5)
    np.testing.assert_allclose([found["d2"][0], found["e3"][0]], 0, atol=1e-9)


def test_nsubjettiness_of_few_particles() -> None:
    """One axis lies on the pt-weighted middle or, at its minimum, on the harder particle; two axes leave nothing."""
    pt = np.array([[300.0, 100.0, 0.0], [200.0, 100.0, 40.0]])
    eta = np.array([[0.1, -0.2, 0.0], [0.0, 0.4, 0.4]])
    phi = np.array([[0.0, 0.3, 0.0], [0.0, 0.0, 0.1]])
    tau = nsubjettiness(from_momenta(pt, eta, phi, pt * np.cosh(eta)), radius=0.8)
    # beta = 1: sum pt dR is least with the axis on the particle that outweighs the other.
    np.testing.assert_allclose(tau[0], [100 * np.hypot(0.3, 0.3) / (400 * 0.8), 0, 0], rtol=0.05, atol=1e-6)
    np.testing.assert_allclose(tau[1, 1:], [40 * 0.1 / (340 * 0.8), 0], rtol=0.05, atol=1e-6)
