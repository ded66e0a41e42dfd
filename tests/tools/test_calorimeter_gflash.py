"""GFlash: published formulas, a plain slow simulation spot by spot, fluctuations, energy conservation, thresholds."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from scipy import stats
from scipy.integrate import quad

from tools.calorimeter import gflash
from tools.calorimeter.geometry import Geometry, Layer, geometry
from tools.calorimeter.gflash import incident_energies, longitudinal, radial, simulate
from tools.calorimeter.materials import MATERIALS, Material, find_material
from tools.contract import ToolError

LEAD, CRYSTAL = find_material("lead_argon"), find_material("lead_tungstate")
TOY = Geometry(
    "toy",
    "electron",
    (
        Layer(0, (0.0, 10.0, 40.0), 1, (0.0, 3.0)),
        Layer(1, (0.0, 10.0, 30.0, 100.0), 4, (3.0, 8.0)),
        Layer(2, (5.0, 50.0), 2, (8.0, 11.0)),
    ),
)
ALL = Geometry("all", "electron", (Layer(0, (0.0, 1e7), 1, (0.0, 200.0)),))


def plain(energy: float, g: Geometry, m: Material, rng: np.random.Generator) -> np.ndarray:
    """One electron of `energy` GeV [MeV a voxel]: a loop over thin steps and single spots, homogeneous matter only."""
    y = np.log(1000 * energy / m.critical_energy)
    mean = [np.log(y - 0.812), np.log(0.81 + (0.458 + 2.26 / m.z) * y)]
    sigma_t, sigma_a, rho = 1 / (-1.4 + 1.26 * y), 1 / (-0.58 + 0.86 * y), 0.705 - 0.023 * y
    covariance = [[sigma_t**2, rho * sigma_t * sigma_a], [rho * sigma_t * sigma_a, sigma_a**2]]
    t_max, alpha = np.exp(rng.multivariate_normal(mean, covariance, method="cholesky"))
    shower = stats.gamma(alpha, scale=t_max / (alpha - 1))
    alpha_s, t_s = alpha * (0.639 + 0.00334 * m.z), t_max * (0.698 + 0.00212 * m.z)
    spots = stats.gamma(alpha_s, scale=t_s / (alpha_s - 1))
    voxels = np.zeros(g.n_voxels)
    for layer, place in zip(g.layers, g.slices, strict=True):
        edges = np.linspace(*layer.depth_x0, 21)
        energies = energy * np.diff(shower.cdf(edges))
        numbers = 93 * np.log(m.z) * energy**0.876 * np.diff(spots.cdf(edges))
        for low, high, e, n in zip(edges[:-1], edges[1:], energies, numbers, strict=True):
            centre = alpha * t_max / (alpha - 1)
            tau = 0.5 * (low + high) / centre * np.exp(mean[1]) / (np.exp(mean[1]) - 1)
            rc = 0.0251 + 0.00319 * np.log(energy) + (0.1162 - 0.000381 * m.z) * tau
            k4 = 0.3585 + 0.0412 * np.log(energy)
            rt = (0.659 - 0.00309 * m.z) * (np.exp(-2.59 * (tau - 0.645)) + np.exp(k4 * (tau - 0.645)))
            x = (0.401 + 0.00187 * m.z - tau) / (1.313 - 0.0686 * np.log(energy))
            p = min((2.632 - 0.00094 * m.z) * np.exp(x - np.exp(x)), 1.0)
            count = int(n + rng.uniform())
            u = rng.uniform(size=count)
            r = np.where(rng.uniform(size=count) < p, rc, rt) * np.sqrt(u / (1 - u)) * m.moliere_mm
            sector = rng.integers(0, layer.n_alpha, count)
            ring = np.searchsorted(layer.r_edges_mm, r) - 1
            kept = (ring >= 0) & (ring < layer.n_r)
            deposit = m.sampling**2 * rng.gamma(np.full(kept.sum(), e / max(n, 1e-9) / m.sampling**2))
            np.add.at(voxels, place.start + sector[kept] * layer.n_r + ring[kept], 1000 * deposit)
    return voxels


def test_it_is_the_plain_simulation() -> None:
    rng = np.random.default_rng(3)
    slow = np.stack([plain(5.0, TOY, CRYSTAL, rng) for _ in range(150)])
    fast = simulate(np.full(6_000, 5000.0), TOY, 1, CRYSTAL, "electron", 0.0).voxels
    error = slow.std(axis=0) / np.sqrt(150) + 1e-9
    pulls = (fast.mean(axis=0) - slow.mean(axis=0)) / error
    assert np.abs(pulls).max() < 4.5, pulls
    # Fluctuations of layers: the longitudinal ones; of single voxels: of spots too.
    layers = [np.stack([v[:, s].sum(axis=1) for s in TOY.slices], axis=1) for v in (slow, fast)]
    np.testing.assert_allclose(layers[1].std(axis=0), layers[0].std(axis=0), rtol=0.15)
    np.testing.assert_allclose(fast.std(axis=0), slow.std(axis=0), rtol=0.25)
    np.testing.assert_allclose(np.corrcoef(layers[1].T), np.corrcoef(layers[0].T), atol=0.15)


@pytest.mark.parametrize("material", [LEAD, CRYSTAL], ids=lambda m: m.name)
def test_shower_shapes_fluctuate_as_published(material: Material) -> None:
    energy = np.full(20_000, 100.0)
    cores = gflash._cores(energy, material, "electron", np.random.default_rng(2))
    ln_t, ln_alpha = np.log((cores.alpha - 1) / cores.beta)[:, 0], np.log(cores.alpha)[:, 0]
    mean_t, mean_alpha, sigma_t, sigma_alpha, rho = (float(x) for x in longitudinal(np.array(100.0), material))
    n = np.sqrt(len(energy))
    assert abs(ln_t.mean() - mean_t) < 4 * sigma_t / n
    assert abs(ln_alpha.mean() - mean_alpha) < 4 * sigma_alpha / n
    assert ln_t.std() == pytest.approx(sigma_t, rel=0.03)
    assert ln_alpha.std() == pytest.approx(sigma_alpha, rel=0.03)
    assert np.corrcoef(ln_t, ln_alpha)[0, 1] == pytest.approx(rho, abs=0.02)


def test_the_published_numbers() -> None:
    # Lead tungstate: X0 0.89 cm, R_M about 2.0 cm (PDG); a 100 GeV electron has its maximum at ln y - 0.8.
    assert CRYSTAL.x0_mm == pytest.approx(8.9, abs=0.1)
    assert CRYSTAL.moliere_mm == pytest.approx(20.0, rel=0.05)
    lead = replace(LEAD, active=LEAD.absorber, absorber=None)
    assert (lead.x0_mm, lead.critical_energy) == pytest.approx((5.61, 7.4), rel=0.02)
    assert np.exp(longitudinal(np.array(100.0), CRYSTAL)[0]) == pytest.approx(np.log(1e5 / 9.1) - 0.812, abs=0.02)
    # The sampling corrections vanish for a calorimeter without absorber.
    assert (CRYSTAL.inverse_frequency, CRYSTAL.e_over_mip) == (0.0, 1.0)
    assert LEAD.e_over_mip == pytest.approx(1 / 1.448)


def test_rings_are_the_integral_of_the_radial_profile() -> None:
    tau, energy = np.array(0.8), np.array(30.0)
    core, tail, share = (float(x) for x in radial(tau, energy, LEAD))

    def f(r: float) -> float:
        return share * 2 * r * core**2 / (r**2 + core**2) ** 2 + (1 - share) * 2 * r * tail**2 / (r**2 + tail**2) ** 2

    layer = Layer(0, (2.0, 10.0, 40.0, 300.0), 1, (0.0, 1.0))
    ones = np.ones((1, 1))
    cores = gflash.Cores(30 * ones, 0 * ones, ones, ones, ones, ones, ones, 0.4 * ones)
    rings = gflash._rings(cores, layer, np.full((1, 1, 1), 2.0), np.ones((1, 1, 1)), LEAD)[0]
    edges = np.array(layer.r_edges_mm) / LEAD.moliere_mm
    np.testing.assert_allclose(rings, [quad(f, a, b)[0] for a, b in pairwise(edges)], rtol=1e-6)


@pytest.mark.parametrize("name", list(MATERIALS))
def test_energy_is_conserved_and_the_resolution_is_the_material_s(name: str) -> None:
    m = find_material(name)
    showers = simulate(np.full(5_000, 4000.0), ALL, 1, name, "electron", 0.0)
    ratio = showers.deposited / 4000
    expected = m.sampling / np.sqrt(4.0)
    assert ratio.mean() == pytest.approx(1.0, abs=5 * expected / np.sqrt(len(ratio)) + 1e-3)
    assert ratio.std() == pytest.approx(expected, rel=0.05)


def test_photons_convert_and_share() -> None:
    rng = np.random.default_rng(1)
    cores = gflash._cores(np.full(50_000, 10.0), LEAD, "photon", rng)
    np.testing.assert_allclose(cores.energy.sum(axis=1), 10.0)
    np.testing.assert_array_equal(cores.start[:, 0], cores.start[:, 1])
    assert stats.kstest(cores.start[:, 0], stats.expon(scale=9 / 7).cdf).pvalue > 1e-3
    assert stats.kstest(cores.energy[:, 0] / 10, stats.uniform.cdf).pvalue > 1e-3
    pions = gflash._cores(np.full(50_000, 10.0), LEAD, "neutral_pion", rng)
    np.testing.assert_allclose(pions.energy.sum(axis=1), 10.0)
    assert pions.energy.shape == (50_000, 4)
    np.testing.assert_array_equal(pions.start[:, 2], pions.start[:, 3])
    assert np.corrcoef(pions.start[:, 0], pions.start[:, 2])[0, 1] == pytest.approx(0, abs=0.02)


def test_particles_and_materials_differ_as_they_should() -> None:
    fine = Geometry("fine", "electron", tuple(Layer(i, (0.0, 1e5), 1, (float(i), i + 1.0)) for i in range(30)))
    depth = np.arange(30) + 0.5

    def centre(particle: str, energy: float = 1e5) -> float:
        mean = simulate(np.full(1000, energy), fine, 1, LEAD, particle).layer_energies.mean(axis=0)
        return float(mean @ depth / mean.sum())

    electron = centre("electron")
    assert 0.6 < centre("photon") - electron < 1.1  # PDG: about one radiation length
    # Ten times the energy: ln 10 deeper, in the depth of the maximum; the centre of gravity a little more.
    assert 2.0 < centre("electron", 1e6) - electron < 2.8
    widths = []
    rings = Geometry("rings", "electron", (Layer(0, (0.0, 20.0, 1e5), 1, (0.0, 30.0)),))
    for name in ("tungsten_silicon", "lead_argon", "iron_scintillator"):
        v = simulate(np.full(500, 1e4), rings, 1, name).voxels
        widths.append((v[:, 1] / v.sum(axis=1)).mean())
    assert find_material("tungsten_silicon").moliere_mm < LEAD.moliere_mm
    assert widths[0] < min(widths[1:])


def test_thresholds_leave_exact_zeros_and_nothing_below() -> None:
    g = geometry("ds1_photons")
    energies = incident_energies(g, 3000, 1)
    assert set(np.log2(energies)) == set(range(8, 23))
    high = simulate(energies, g, 1, threshold_mev=5.0)
    low = simulate(energies, g, 1, threshold_mev=0.0)
    filled = high.voxels[high.voxels > 0]
    assert filled.min() >= 5.0
    np.testing.assert_array_equal(high.voxels, np.where(low.voxels < 5.0, 0, low.voxels))
    # Empty layers of soft showers are a part of the truth.
    soft = high[energies < 600]
    assert 0.5 < (soft.layer_energies[:, 4] == 0).mean() <= 1
    assert 0.85 < np.median(low.deposited / energies) < 1.02


def test_seeds_and_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    g = geometry("ds1_photons")
    energies = incident_energies(g, 700, 1)
    told: list[tuple[int, int]] = []
    monkeypatch.setattr(gflash, "BATCH", 300)
    first = simulate(energies, g, 5, progress=lambda done, total: told.append((done, total)))
    assert told == [(300, 700), (600, 700), (700, 700)]
    np.testing.assert_array_equal(first.voxels, simulate(energies, g, 5).voxels)
    assert not np.array_equal(first.voxels, simulate(energies, g, 6).voxels)
    # Batches are independent of each other: the same energies, other showers.
    twice = simulate(np.tile(energies[:300], 2), g, 5)
    assert not np.array_equal(twice.voxels[:300], twice.voxels[300:])


def test_energies_at_the_edge_of_the_formulas() -> None:
    energies = np.array([1.0, 5.0, 20.0, 256.0, 1e8])
    for name in MATERIALS:
        for particle in gflash.PARTICLES:
            ratio = simulate(np.repeat(energies, 50), ALL, 1, name, particle, 0.0).deposited / np.repeat(energies, 50)
            assert np.isfinite(ratio).all()
            assert ratio[-50:].mean() == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"incident": np.array([0.5])}, "GeV or TeV"),
        ({"incident": np.array([np.nan])}, "MeV"),
        ({"material": "butter"}, "lead_argon"),
        ({"particle": "pion"}, "electromagnetic"),
        ({"threshold_mev": -1.0}, "0 or more"),
        ({"geometry": geometry("ds1_pions")}, "electromagnetic"),
        ({"geometry": geometry("ds1_pions"), "particle": "photon"}, "need a depth"),
    ],
)
def test_what_cannot_be_simulated(change: dict[str, object], said: str) -> None:
    arguments: dict[str, object] = {"incident": np.array([1000.0]), "geometry": geometry("ds1_photons"), "seed": 1}
    with pytest.raises(ToolError, match=said):
        simulate(**(arguments | change))  # type: ignore[arg-type]
