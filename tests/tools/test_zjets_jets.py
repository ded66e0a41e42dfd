"""The leading jet's observables: closed forms for two particles, a plain soft drop, symmetries."""

from __future__ import annotations

import awkward as ak
import numpy as np
import pytest

from tools.events.zjets_jets import AXIS, LN_RHO_MIN, OBSERVABLES, Z_CUT, leading_jets

Particle = tuple[float, float, float, float]  # pt [GeV], eta, phi, mass [GeV]


def jets(*each: list[Particle]) -> dict[str, np.ndarray]:
    names = ("pt", "eta", "phi", "mass")
    return leading_jets(
        ak.Array([[dict(zip(names, p, strict=True)) for p in event] for event in (*each, [(1.0, 0.0, 0.0, 0.0)])])
    )


def random_jet(rng: np.random.Generator, size: int = 12) -> list[Particle]:
    pt = rng.dirichlet(np.full(size, 0.4)) * 300 + 0.5
    return [(float(a), float(b), float(c), 0.0) for a, b, c in zip(pt, *rng.normal(0, 0.08, (2, size)), strict=True)]


def four(p: Particle) -> np.ndarray:
    pt, eta, phi, mass = p
    momentum = np.array([pt * np.cos(phi), pt * np.sin(phi), pt * np.sinh(eta)])
    return np.array([*momentum, np.sqrt(momentum @ momentum + mass**2)])


def polar(p: np.ndarray) -> tuple[float, float, float]:
    return np.hypot(p[0], p[1]), 0.5 * np.log((p[3] + p[2]) / (p[3] - p[2])), np.arctan2(p[1], p[0])


def mass_of(p: np.ndarray) -> float:
    return float(np.sqrt(max(p[3] ** 2 - p[:3] @ p[:3], 0.0)))


def distance(a: np.ndarray, b: np.ndarray) -> float:
    (_, y1, phi1), (_, y2, phi2) = polar(a), polar(b)
    return float(np.hypot(y1 - y2, (phi1 - phi2 + np.pi) % (2 * np.pi) - np.pi))


def soft_drop(particles: list[Particle]) -> tuple[float, float]:
    """(zg, groomed mass), from the definition: a list of momenta, nearest pair merged, then undone from the top."""
    trees = [(four(p), None) for p in particles]
    while len(trees) > 1:
        pairs = [(i, j) for i in range(len(trees)) for j in range(i)]
        i, j = min(pairs, key=lambda ij: distance(trees[ij[0]][0], trees[ij[1]][0]))
        merged = (trees[i][0] + trees[j][0], (trees[i], trees[j]))
        trees = [t for k, t in enumerate(trees) if k not in (i, j)] + [merged]
    momentum, parts = trees[0]
    while parts is not None:
        harder, softer = sorted(parts, key=lambda t: -polar(t[0])[0])
        z = polar(softer[0])[0] / (polar(softer[0])[0] + polar(harder[0])[0])
        if z > Z_CUT:
            return z, mass_of(momentum)
        momentum, parts = harder
    return 0.0, mass_of(momentum)


@pytest.mark.parametrize(("pt", "d"), [((200.0, 100.0), 0.3), ((150.0, 140.0), 0.05), ((300.0, 40.0), 0.35)])
def test_two_massless_particles_have_closed_forms(pt: tuple[float, float], d: float) -> None:
    found = {k: v[0] for k, v in jets([(pt[0], 0.0, 1.0, 0.0), (pt[1], 0.0, 1.0 + d, 0.0)]).items()}
    total = np.hypot(pt[0] + pt[1] * np.cos(d), pt[1] * np.sin(d))
    axis = np.arctan2(pt[1] * np.sin(d), pt[0] + pt[1] * np.cos(d))
    mass = np.sqrt(2 * pt[0] * pt[1] * (1 - np.cos(d)))
    assert found["pt"] == pytest.approx(total)
    assert found["mass"] == pytest.approx(mass)
    assert found["mult"] == 2
    assert found["width"] == pytest.approx((pt[0] * axis + pt[1] * (d - axis)) / sum(pt))
    assert found["zg"] == pytest.approx(pt[1] / sum(pt))
    assert found["lnrho"] == pytest.approx(np.log(mass**2 / total**2))
    assert found["tau21"] == pytest.approx(0, abs=1e-6)


def test_a_soft_particle_is_groomed_away() -> None:
    found = jets([(200.0, 0.0, 0.0, 0.0), (20.0, 0.0, 0.3, 0.0)])  # z = 1/11, below z_cut = 0.1
    assert (found["zg"][0], found["lnrho"][0]) == (0.0, LN_RHO_MIN)
    assert found["mass"][0] > 10


def test_one_massive_particle_is_its_own_groomed_jet() -> None:
    found = jets([(100.0, 0.5, 0.0, 5.0)])
    assert found["mass"][0] == pytest.approx(5.0, rel=1e-9)
    assert found["lnrho"][0] == pytest.approx(np.log(5.0**2 / 100.0**2))
    assert [found[n][0] for n in ("mult", "width", "tau21", "zg")] == [1, pytest.approx(0, abs=1e-9), 0, 0]
    # A massless one has no logarithm of its mass.
    assert jets([(100.0, 0.5, 0.0, 0.0)])["lnrho"][0] == LN_RHO_MIN


def test_soft_drop_agrees_with_a_plain_one() -> None:
    rng = np.random.default_rng(3)
    events = [random_jet(rng) for _ in range(40)]
    found = jets(*events)
    whole = found["mult"][:40] == 12  # the others have lost a particle to a second jet
    assert whole.sum() > 30
    for k in np.flatnonzero(whole):
        zg, mass = soft_drop(events[k])
        assert found["zg"][k] == pytest.approx(zg, rel=1e-6)
        if mass > 0.1:
            assert found["lnrho"][k] == pytest.approx(np.log(mass**2 / found["pt"][k] ** 2), rel=1e-5)


def test_bounds_that_hold_for_every_jet() -> None:
    rng = np.random.default_rng(4)
    found = {k: v[:200] for k, v in jets(*(random_jet(rng, int(rng.integers(2, 30))) for _ in range(200))).items()}
    assert all(np.isfinite(found[name]).all() for name in (*AXIS, *OBSERVABLES))
    split = found["zg"] > 0
    assert np.all((found["zg"][split] > Z_CUT) & (found["zg"][split] <= 0.5))
    assert np.all(found["mass"] >= 0)
    groomed = np.exp(found["lnrho"] / 2) * found["pt"]
    assert np.all((groomed <= found["mass"] * (1 + 1e-6)) | (found["lnrho"] == LN_RHO_MIN))
    assert np.all(found["mult"] == np.round(found["mult"]))
    assert np.all((found["width"] >= 0) & (found["width"] < 0.4))
    assert np.all((found["tau21"] >= 0) & (found["tau21"] < 1.2))


def test_rotation_about_the_beam_and_a_boost_along_it_change_nothing() -> None:
    event = random_jet(np.random.default_rng(5))
    moved = [(pt, eta + 0.7, phi + 3.0, mass) for pt, eta, phi, mass in event]
    found = jets(event, moved)
    for name in OBSERVABLES:
        assert found[name][1] == pytest.approx(found[name][0], rel=1e-6, abs=1e-9), name
    assert found["rapidity"][1] == pytest.approx(found["rapidity"][0] + 0.7)


def test_the_jet_of_highest_pt_counts_and_none_is_no_error() -> None:
    hard, soft = [(100.0, 0.0, 0.0, 0.0), (50.0, 0.1, 0.0, 0.0)], [(120.0, 0.0, 3.0, 0.0)]
    found = jets(soft + hard, hard, [])
    for name in (*AXIS, *OBSERVABLES):
        assert found[name][0] == pytest.approx(found[name][1], abs=1e-9)
    assert found["pt"][2] == 0
    assert np.isnan(found["mass"][2])
