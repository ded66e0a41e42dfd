"""The parametric detector: what it conserves, what it merges, what it does not see."""

from __future__ import annotations

import numpy as np
import pytest

from tools.events.detector import ECAL_CELL, HCAL_CELL, respond

PHOTON, PION, KLONG, MUON = 22, 211, 130, 13


def shoot(pdg, pt, eta, phi=0.3, charged=False, event=None, seed=1):  # type: ignore[no-untyped-def]
    """One particle an event unless told otherwise; scalars are repeated."""
    n = max(np.size(x) for x in (pdg, pt, eta, phi))
    event = np.arange(n) if event is None else np.asarray(event)
    full = [np.broadcast_to(np.asarray(x, dtype=float), n) for x in (pt, eta, phi)]
    ids, tracks = np.broadcast_to(pdg, n).astype(np.int64), np.broadcast_to(charged, n)
    return respond(event, *full, ids, tracks, np.random.default_rng(seed))


@pytest.mark.parametrize(("pdg", "charged"), [(PHOTON, False), (KLONG, False), (PION, True)])
def test_energy_is_conserved_in_expectation(pdg: int, charged: bool) -> None:
    n, energy = 20_000, 100.0
    eta = np.random.default_rng(0).uniform(-2.4, 2.4, n)
    event, pt, out_eta, _ = shoot(pdg, energy / np.cosh(eta), eta, charged=charged)
    assert len(event) == n
    assert (pt * np.cosh(out_eta)).mean() == pytest.approx(energy, rel=0.003)


@pytest.mark.parametrize(
    ("pdg", "charged", "expected"),
    [
        (PHOTON, False, np.sqrt(0.05**2 * 100 + (0.01 * 100) ** 2 + 0.2**2)),
        (KLONG, False, np.sqrt(0.70**2 * 100 + (0.05 * 100) ** 2)),
        (PION, True, 100 * np.hypot(0.01, 1.5e-4 * 100)),
    ],
)
def test_resolution_is_the_stated_one(pdg: int, charged: bool, expected: float) -> None:
    _, pt, eta, _ = shoot(pdg, np.full(20_000, 100.0), 0.0, charged=charged)
    assert (pt * np.cosh(eta)).std() == pytest.approx(expected, rel=0.03)


def test_neutrinos_and_forward_muons_are_invisible() -> None:
    for pdg in (12, -12, 14, -14, 16, -16):
        assert len(shoot(pdg, 100.0, 0.0)[0]) == 0
    assert len(shoot(MUON, 100.0, 0.0, charged=True)[0]) == 1
    assert len(shoot(MUON, 100.0, 3.0, charged=True)[0]) == 0
    assert len(shoot(PHOTON, 100.0, 5.1)[0]) == 0


def test_soft_particles_are_dropped() -> None:
    assert len(shoot(PION, np.full(100, 0.3), 0.0, charged=True)[0]) == 0


def test_particles_in_one_cell_merge_and_those_of_two_events_do_not() -> None:
    one = shoot(PHOTON, [50.0, 50.0], [0.001, 0.002], event=[0, 0])
    assert len(one[0]) == 1
    assert one[1][0] == pytest.approx(100.0, rel=0.1)
    assert len(shoot(PHOTON, [50.0, 50.0], [0.001, 0.001 + ECAL_CELL], event=[0, 0])[0]) == 2
    assert len(shoot(KLONG, [50.0, 50.0], [0.001, 0.001 + ECAL_CELL], event=[0, 0])[0]) == 1
    np.testing.assert_array_equal(shoot(PHOTON, [50.0, 50.0], 0.001, event=[0, 1])[0], [0, 1])


@pytest.mark.parametrize(("pdg", "cell"), [(PHOTON, ECAL_CELL), (KLONG, HCAL_CELL)])
def test_objects_leave_at_the_centre_of_their_cell(pdg: int, cell: float) -> None:
    rng = np.random.default_rng(3)
    eta, phi = rng.uniform(-4.9, 4.9, 500), rng.uniform(-np.pi, np.pi, 500)
    _, _, out_eta, out_phi = shoot(pdg, 50.0, eta, phi)
    assert np.abs(out_eta - eta).max() <= cell / 2 + 1e-9
    assert np.abs(out_phi - phi).max() <= cell / 2 + 1e-9


def test_seed_fixes_the_result_and_events_come_sorted() -> None:
    rng = np.random.default_rng(4)
    event, pt = np.repeat(np.arange(20), 50), rng.exponential(20.0, 1000)
    eta, phi = rng.normal(0, 1.5, 1000), rng.uniform(-np.pi, np.pi, 1000)
    pdg = rng.choice([PHOTON, PION, KLONG, MUON, 12], 1000)
    charged = np.isin(pdg, [PION, MUON])
    first, again, other = (shoot(pdg, pt, eta, phi, charged, event, seed) for seed in (7, 7, 8))
    for a, b in zip(first, again, strict=True):
        np.testing.assert_array_equal(a, b)
    assert not np.array_equal(first[1][:50], other[1][:50])
    assert np.all(np.diff(first[0]) >= 0)
    assert first[1].min() > 0.5
