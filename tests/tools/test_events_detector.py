"""The fast detector against closed forms: bending, efficiency, resolution, energy flow; what merges, what is lost."""

from __future__ import annotations

import numpy as np
import pytest

from tools.events.detector import ECAL, HCAL, ecal_resolution, hcal_resolution, respond
from tools.events.field import HALF_LENGTH, RADIUS, propagate
from tools.events.pythia import PARTICLE
from tools.events.towers import Layer, energy_flow, log_normal

ELECTRON, PHOTON, PION, KLONG, KSHORT, MUON = 11, 22, 211, 130, 310, 13
CHARGE = {ELECTRON: -1.0, PION: 1.0, MUON: -1.0}


def shoot(pdg, pt, eta=0.2, phi=0.3, event=None, seed=1):  # type: ignore[no-untyped-def]
    """One massless particle an event unless told otherwise; scalars are repeated."""
    n = max(np.size(x) for x in (pdg, pt, eta, phi))
    rows = np.zeros((n, len(PARTICLE)))
    rows[:, 0], rows[:, 1], rows[:, 2], rows[:, 3] = pt, eta, phi, pdg
    rows[:, 4] = [CHARGE.get(abs(int(p)), 0.0) for p in rows[:, 3]]
    return respond(np.arange(n) if event is None else np.asarray(event), rows, np.random.default_rng(seed))


def energies(result) -> np.ndarray:  # type: ignore[no-untyped-def]
    event, pt, eta, _ = result
    return np.bincount(event, weights=pt * np.cosh(eta))


def test_a_charged_particle_turns_by_the_known_angle() -> None:
    pt = np.array([1.0, 2.0, 10.0, 1000.0, 2.0])
    charge = np.array([1.0, -1.0, 1.0, 1.0, 2.0])
    eta, phi = propagate(pt, np.full(5, 0.1), np.full(5, 0.5), charge)
    half = RADIUS / (2 * pt / (0.299792458 * 3.8 * np.abs(charge)))
    np.testing.assert_allclose(phi, 0.5 - np.sign(charge) * np.arcsin(half), rtol=1e-9)
    # z grows with the arc, the radius with its chord.
    np.testing.assert_allclose(np.sinh(eta), np.sinh(0.1) * np.arcsin(half) / half, rtol=1e-7)


def test_neutral_particles_fly_straight_and_soft_ones_curl_up() -> None:
    for at in (0.3, 2.4, -4.0):
        np.testing.assert_allclose(np.ravel(propagate(np.ones(1), np.full(1, at), np.ones(1), np.zeros(1))), [at, 1.0])
    # The circle is 0.88 m wide, less than the 1.29 m to the side: round and round, and out through an end.
    eta, _ = propagate(np.full(1, 0.5), np.full(1, 0.3), np.ones(1), np.ones(1))
    assert HALF_LENGTH / np.sinh(eta[0]) < 0.88


def test_particles_follow_the_helix_step_by_step() -> None:
    rng = np.random.default_rng(1)
    n, step = 60, 1e-4  # m
    pt, eta, phi = rng.uniform(0.2, 3, n), rng.normal(0, 1.2, n), rng.uniform(-np.pi, np.pi, n)
    eta[np.abs(eta) < 0.3] = 0.3
    charge = rng.choice([-1.0, 0.0, 1.0], n)
    turn = step * 0.299792458 * 3.8 * charge / pt
    x, y, z, way, flying = np.zeros(n), np.zeros(n), np.zeros(n), phi - turn / 2, np.ones(n, bool)
    while flying.any():
        x, y, z = x + flying * step * np.cos(way), y + flying * step * np.sin(way), z + flying * step * np.sinh(eta)
        way = way - turn
        flying &= (np.hypot(x, y) < RADIUS) & (np.abs(z) < HALF_LENGTH)
    found = propagate(pt, eta, phi, charge)
    radius = np.abs(z) / np.abs(np.sinh(found[0]))
    np.testing.assert_allclose(radius, np.hypot(x, y), atol=1e-3)
    np.testing.assert_allclose(np.hypot(x, y) * np.sin(found[1] - np.arctan2(y, x)), 0, atol=1e-3)
    assert np.all(np.cos(found[1] - np.arctan2(y, x)) > 0)


@pytest.mark.parametrize(
    ("pdg", "pt", "eta", "efficiency"),
    [
        (PION, 5.0, 0.5, 0.95), (PION, 0.9, 0.5, 0.70), (PION, 5.0, 2.0, 0.85), (ELECTRON, 50.0, 2.0, 0.83),
        (ELECTRON, 200.0, 0.5, 0.99), (MUON, 50.0, 1.0, 0.99), (MUON, 2000.0, 1.0, 0.99 * np.exp(-0.5)),
        (PION, 5.0, 2.7, 0.0), (PION, 0.09, 0.0, 0.0),
    ],
)  # fmt: skip
def test_tracks_are_found_with_the_stated_efficiency(pdg: int, pt: float, eta: float, efficiency: float) -> None:
    n = 20_000
    event, _, out_eta, out_phi = shoot(pdg, np.full(n, pt), eta, 0.3)
    tracks = (out_eta == eta) & (np.abs(out_phi - 0.3) < 1e-9)  # towers are elsewhere
    assert tracks.sum() / n == pytest.approx(efficiency, abs=4.5 * np.sqrt(0.25 / n))
    assert len(np.unique(event[tracks])) == tracks.sum()


@pytest.mark.parametrize(("pt", "eta", "sigma"), [(50.0, 0.2, (0.01, 1e-4)), (50.0, 1.0, (0.015, 1.5e-4))])
def test_muon_tracks_have_the_stated_resolution(pt: float, eta: float, sigma: tuple[float, float]) -> None:
    _, out, _, _ = shoot(MUON, np.full(20_000, pt), eta)
    assert out.mean() == pytest.approx(pt, rel=5e-4)
    assert out.std() == pytest.approx(pt * np.hypot(sigma[0], sigma[1] * pt), rel=0.03)


@pytest.mark.parametrize(
    ("pdg", "eta", "sigma"),
    [
        (PHOTON, 0.009, np.sqrt((0.008 * 100) ** 2 + 0.11**2 * 100 + 0.4**2)),
        (PHOTON, 2.01, 2.16 * np.sqrt((0.008 * 100) ** 2 + 0.11**2 * 100 + 0.4**2)),
        (PHOTON, 4.0, np.sqrt((0.107 * 100) ** 2 + 2.08**2 * 100)),
        (KLONG, 0.01, np.sqrt(5.0**2 + 1.5**2 * 100)),
        (KLONG, 4.0, np.sqrt(13.0**2 + 2.7**2 * 100)),
    ],
)
def test_towers_have_the_stated_resolution(pdg: int, eta: float, sigma: float) -> None:
    energy = energies(shoot(pdg, np.full(20_000, 100 / np.cosh(eta)), eta))
    assert energy.std() == pytest.approx(sigma, rel=0.04)
    assert energy.mean() == pytest.approx(100, abs=5 * sigma / np.sqrt(20_000))


def test_a_pion_is_measured_by_track_and_tower_together() -> None:
    """The weighted mean of both where the tower shows no significant excess: better than either."""
    track, tower = 200 * np.hypot(0.06, 1.3e-3 * 200), float(hcal_resolution(np.zeros(1), np.full(1, 200.0))[0])
    result = shoot(PION, np.full(20_000, 200.0), 0.01)
    alone = (np.bincount(result[0]) == 1) & (energies(result) < 230)
    assert energies(result)[alone].std() < 1.1 / np.hypot(1 / track, 1 / tower)
    assert alone.mean() > 0.7


def test_energy_is_conserved_when_nothing_is_smeared() -> None:
    rng = np.random.default_rng(5)
    perfect = Layer(HCAL.eta_edges, HCAL.n_phi, lambda eta, energy: np.full_like(energy, 1e-9), 0.0, 0.0)
    tower, energy = rng.integers(0, 50, 400), rng.exponential(10, 400)
    track_of, track = rng.integers(0, 50, 150), rng.exponential(10, 150)
    flow = energy_flow(perfect, (tower, energy), (track_of, track, np.full(150, 0.1)), rng)
    assert flow.energy.sum() + (track * flow.track_factor).sum() == pytest.approx(energy.sum(), rel=1e-6)


def test_energy_flow_adds_a_neutral_for_an_excess_and_else_weighs_track_and_tower() -> None:
    fixed = Layer(HCAL.eta_edges, HCAL.n_phi, lambda eta, energy: np.where(energy > 0, 1e-9, 3.0), 1.0, 1.0)
    nothing, zero = np.zeros(0, int), np.zeros(0)
    # Towers 1 and 2 hold 30 GeV: the track of the first says 10, that of the second 40 +- 4. Tower 3 is empty.
    hits, rng = (np.array([1, 2]), np.array([30.0, 30.0])), np.random.default_rng(1)
    flow = energy_flow(fixed, hits, (np.array([1, 2, 3]), np.array([10.0, 40.0, 8.0]), np.array([0.1, 0.1, 0.5])), rng)
    np.testing.assert_allclose(flow.energy, [20.0], rtol=1e-6)
    # Empty: 0 +- 3 against 8 +- 4.
    np.testing.assert_allclose(flow.track_factor, [1.0, 0.75, (1 / 16) / (1 / 16 + 1 / 9)], rtol=1e-6)
    none = energy_flow(fixed, (nothing, zero), (nothing, zero, zero), rng)
    assert len(none.energy) == len(none.track_factor) == 0


def test_log_normal_has_the_mean_and_width_asked_for() -> None:
    values = log_normal(np.full(200_000, 10.0), np.full(200_000, 4.0), np.random.default_rng(1))
    assert values.mean() == pytest.approx(10, rel=0.005)
    assert values.std() == pytest.approx(4, rel=0.02)
    assert log_normal(np.zeros(3), np.ones(3), np.random.default_rng(1)).tolist() == [0, 0, 0]


def test_hadrons_that_reach_the_calorimeter_share_their_energy() -> None:
    """A K0s leaves 30% in the ECAL: two objects, with the resolutions of both."""
    result = shoot(KSHORT, np.full(20_000, 100.0), 0.01)
    assert energies(result).mean() == pytest.approx(100, rel=0.005)
    sigma = np.hypot(ecal_resolution(np.zeros(1), np.full(1, 30.0)), hcal_resolution(np.zeros(1), np.full(1, 70.0)))
    assert energies(result).std() == pytest.approx(float(sigma[0]), rel=0.04)
    assert np.all(np.bincount(result[0]) == 2)


def test_what_is_not_seen() -> None:
    for pdg in (12, -12, 14, -14, 16, -16):
        assert len(shoot(pdg, 100.0)[0]) == 0
    assert len(shoot(MUON, 100.0, 3.0)[0]) == 0
    assert len(shoot(PHOTON, 100.0, 5.1)[0]) == 0
    assert len(shoot(PHOTON, np.full(1000, 0.3))[0]) < 100  # rarely two sigma, 0.8 GeV
    assert len(shoot(KLONG, np.full(1000, 1.0))[0]) < 200  # rarely one sigma, 1.5 sqrt(E)


def test_particles_in_one_tower_merge_and_those_of_two_events_do_not() -> None:
    one = shoot(PHOTON, [50.0, 50.0], [0.001, 0.002], event=[0, 0])
    assert len(one[0]) == 1
    assert one[1][0] == pytest.approx(100.0, rel=0.1)
    assert len(shoot(PHOTON, [50.0, 50.0], [0.001, 0.02], event=[0, 0])[0]) == 2
    assert len(shoot(KLONG, [50.0, 50.0], [0.001, 0.02], event=[0, 0])[0]) == 1
    np.testing.assert_array_equal(shoot(PHOTON, [50.0, 50.0], 0.001, event=[0, 1])[0], [0, 1])


@pytest.mark.parametrize(("pdg", "layer"), [(PHOTON, ECAL), (KLONG, HCAL)])
def test_neutral_objects_leave_somewhere_in_their_tower(pdg: int, layer: Layer) -> None:
    rng = np.random.default_rng(3)
    eta, phi = rng.uniform(-4.9, 4.9, 5000), rng.uniform(-np.pi, np.pi, 5000)
    event, _, out_eta, out_phi = shoot(pdg, 200.0, eta, phi)
    assert len(event) == 5000
    of = layer.towers_of(event, eta, phi)
    np.testing.assert_array_equal(layer.towers_of(event, out_eta, out_phi), of)
    _, low_eta, d_eta, low_phi, d_phi = layer.edges_of(of)
    for low, width, value in ((low_eta, d_eta, out_eta), (low_phi, d_phi, out_phi)):
        part = (value - low) / width
        assert part.std() == pytest.approx(1 / np.sqrt(12), rel=0.03)
        assert part.mean() == pytest.approx(0.5, abs=0.02)


def test_towers_have_the_granularity_of_the_card() -> None:
    for layer, eta, d_eta, d_phi in (
        (ECAL, 0.01, 0.0174, 1), (ECAL, -2.9, 0.0174, 1), (ECAL, 3.2, 0.175, 10), (ECAL, 4.9, 0.3, 10),
        (HCAL, 0.01, 0.087, 5), (HCAL, -1.6, 0.087, 5), (HCAL, 1.7, 0.087, 10), (HCAL, -4.6, 0.175, 20),
    ):  # fmt: skip
        tower = layer.towers_of(np.array([3]), np.array([eta]), np.array([1.0]))
        event, low, width, low_phi, width_phi = (float(v[0]) for v in layer.edges_of(tower))
        assert event == 3
        assert (width, width_phi) == pytest.approx((d_eta, np.radians(d_phi)))
        assert low <= eta <= low + width
        assert low_phi <= 1.0 <= low_phi + width_phi


def test_seed_fixes_the_result_and_events_come_sorted() -> None:
    rng = np.random.default_rng(4)
    event, pt = np.repeat(np.arange(20), 50), rng.exponential(20.0, 1000)
    eta, phi = rng.normal(0, 1.5, 1000), rng.uniform(-np.pi, np.pi, 1000)
    pdg = rng.choice([PHOTON, PION, KLONG, MUON, 12], 1000)
    first, again, other = (shoot(pdg, pt, eta, phi, event, seed) for seed in (7, 7, 8))
    for a, b in zip(first, again, strict=True):
        np.testing.assert_array_equal(a, b)
    assert not np.array_equal(first[1][:50], other[1][:50])
    assert np.all(np.diff(first[0]) >= 0)
    assert first[1].min() > 0
