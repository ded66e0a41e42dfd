"""Judges that are formulas: against plain loops, closed forms and scipy."""

from __future__ import annotations

from math import comb

import numpy as np
import pytest
from scipy import linalg, optimize, stats

from tools.calorimeter import timing
from tools.calorimeter.fpd import fpd, frechet, kpd, mmd, normalised
from tools.calorimeter.geometry import Geometry, Layer
from tools.calorimeter.observables import LOG_FLOOR, features, observables, profiles, voxel_features
from tools.calorimeter.prdc import prdc
from tools.calorimeter.response import energy_bins, response
from tools.calorimeter.separation import by_class, cell_energies, separation, separations
from tools.calorimeter.showers import Showers
from tools.contract import ToolError

G = Geometry(
    "small", "photon", (Layer(0, (0.0, 1.0, 3.0), 1), Layer(2, (0.0, 2.0, 5.0, 9.0), 4), Layer(3, (0.0, 50.0), 2))
)


def toy(n: int = 40, seed: int = 1, scale: float = 1.0) -> Showers:
    rng = np.random.default_rng(seed)
    voxels = scale * rng.gamma(1.0, 40.0, (n, G.n_voxels)) * (rng.uniform(size=(n, G.n_voxels)) < 0.6)
    voxels[0] = 0
    return Showers(rng.choice([512.0, 1024.0], n), voxels, G)


def test_observables_are_the_official_ones() -> None:
    showers = toy()
    found = observables(showers)
    for i in range(len(showers)):
        v = showers.voxels[i].astype(float)
        assert found["E_dep/E_inc"][i] == pytest.approx(v.sum() / showers.incident[i])
        layer_energies = []
        for layer, place in zip(G.layers, G.slices, strict=True):
            e = v[place].reshape(layer.n_alpha, layer.n_r)
            layer_energies.append(e.sum())
            assert found[f"E_layer_{layer.id}"][i] == pytest.approx(e.sum())
            assert found[f"occupancy_{layer.id}"][i] == pytest.approx(np.mean(e > 0))
            for axis in "rxy":
                if axis != "r" and layer.n_alpha == 1:
                    assert f"centre_{axis}_{layer.id}" not in found
                    continue
                mean = square = 0.0
                for a in range(layer.n_alpha):
                    for r in range(layer.n_r):
                        radius = 0.5 * (layer.r_edges_mm[r] + layer.r_edges_mm[r + 1])
                        angle = (a + 0.5) * 2 * np.pi / layer.n_alpha
                        where = {"r": radius, "x": radius * np.cos(angle), "y": radius * np.sin(angle)}[axis]
                        mean += where * e[a, r] / (e.sum() + 1e-16)
                        square += where**2 * e[a, r] / (e.sum() + 1e-16)
                assert found[f"centre_{axis}_{layer.id}"][i] == pytest.approx(mean, abs=1e-4)
                width = np.sqrt(max(square - mean**2, 0))
                assert found[f"width_{axis}_{layer.id}"][i] == pytest.approx(width, abs=2e-2)
        if sum(layer_energies):
            assert found["depth"][i] == pytest.approx(np.average([0, 1, 2], weights=layer_energies))
    assert all(values[0] == 0 for values in found.values())  # the empty shower


def test_features_are_finite_and_tell_empty_layers() -> None:
    showers = toy()
    x = features(showers)
    assert np.isfinite(x).all()
    assert x.shape == (40, 1 + len(observables(showers)))
    assert x[0, 1] == pytest.approx(np.log10(LOG_FLOOR / showers.incident[0]))
    voxels = voxel_features(showers)
    np.testing.assert_allclose(voxels[:, 1:], 100 * showers.voxels / showers.incident[:, None], rtol=1e-6)
    np.testing.assert_allclose(voxels[:, 0], np.log10(showers.incident), rtol=1e-6)


def test_profiles_hold_all_the_energy() -> None:
    showers = toy()
    (_, _, longitudinal), *radial = profiles(showers)
    assert longitudinal.sum() == pytest.approx(showers.deposited.mean())
    for (_, edges, density), energy in zip(radial, longitudinal, strict=True):
        assert (density * np.diff(edges)).sum() == pytest.approx(energy)


def test_separation_power() -> None:
    rng = np.random.default_rng(1)
    a, b = rng.normal(0, 1, (2, 20_000))
    assert separation(a, b + 20).value == pytest.approx(1.0, abs=2e-3)
    # Its noise is what equal distributions have on average.
    values, noise = zip(
        *((s.value, s.noise) for s in (separation(*rng.normal(0, 1, (2, 2000))) for _ in range(40))), strict=True
    )
    assert np.mean(values) == pytest.approx(np.mean(noise), rel=0.1)
    # Closed form in the limit of many events: 1/2 int (p - q)^2/(p + q), for N(0, 1) and N(1/2, 1).
    x = np.linspace(-8, 8, 20001)
    p, q = stats.norm.pdf(x), stats.norm.pdf(x - 0.5)
    exact = 0.5 * np.trapezoid((p - q) ** 2 / (p + q), x)
    found = separation(a, b + 0.5)
    assert found.value - found.noise == pytest.approx(exact, rel=0.1)
    # Exact zeros are a bin of their own, and empty references no error.
    spikes = np.where(rng.uniform(size=(2, 4000)) < [[0.5], [0.8]], 0.0, 1.0 + rng.uniform(size=(2, 4000)))
    assert separation(*spikes, log=True).value > 0.09 * 0.5 / 0.65
    assert separation(np.zeros(5), np.zeros(5)).value == 0
    assert separation(np.zeros(50), np.ones(50)).value == 1


def test_all_separations_and_their_classes() -> None:
    same, other = separations(toy(500, 1), toy(500, 2)), separations(toy(500, 1), toy(500, 2, scale=0.7))
    assert set(by_class(same)) == {
        "total energy", "layer energy", "sparsity", "centre", "width", "depth", "cell energy",
    }  # fmt: skip
    assert other["E_dep/E_inc"].value > 3 * same["E_dep/E_inc"].value
    assert other["occupancy_2"].value < 3 * same["occupancy_2"].noise
    edges, counts = cell_energies(toy(500))
    assert counts.sum() == 500 * G.n_voxels
    assert counts[0] == (toy(500).voxels == 0).sum()
    assert len(edges) == len(counts)


def test_frechet_distance_of_gaussians() -> None:
    rng = np.random.default_rng(2)
    a = rng.normal(size=(500, 4)) @ rng.normal(size=(4, 4))
    b = rng.normal(size=(700, 4)) @ rng.normal(size=(4, 4)) + 0.3
    s1, s2 = np.cov(a.T), np.cov(b.T)
    shift = a.mean(0) - b.mean(0)
    expected = shift @ shift + np.trace(s1 + s2 - 2 * np.real(linalg.sqrtm(s1 @ s2)))
    assert frechet(a, b) == pytest.approx(expected, rel=1e-9)
    # One dimension: (m1 - m2)^2 + (s1 - s2)^2.
    x, y = a[:, :1], b[:, :1]
    closed = (x.mean() - y.mean()) ** 2 + (x.std(ddof=1) - y.std(ddof=1)) ** 2
    assert frechet(x, y) == pytest.approx(closed, rel=1e-9)
    assert frechet(a, a) == pytest.approx(0, abs=1e-9)
    # Constant columns make singular covariances, which are no error.
    assert frechet(np.c_[a, np.ones(500)], np.c_[b, np.ones(700)]) == pytest.approx(expected, rel=1e-6)


def plain_fpd(x: np.ndarray, y: np.ndarray, least: int, most: int, seed: int) -> tuple[float, float]:
    """As the package of the metric's authors does it, in other words: means of batches, a line in 1/N."""
    np.random.seed(seed)
    largest = abs(x).max(axis=0)
    x, y = x / largest, y / largest
    sizes = (1 / np.linspace(1 / least, 1 / most, 10)).astype("int32")
    values = []
    for size in sizes:
        batch = []
        for _ in range(20):
            a = x[np.random.choice(len(x), size=size)]
            b = y[np.random.choice(len(y), size=size)]
            d = a.mean(0) - b.mean(0)
            root = linalg.sqrtm(np.cov(a.T) @ np.cov(b.T)).real
            batch.append(d @ d + np.trace(np.cov(a.T)) + np.trace(np.cov(b.T)) - 2 * np.trace(root))
        values.append(np.mean(batch))
    found, covariance = optimize.curve_fit(
        lambda t, c, m: c + m * t, 1 / sizes, values, bounds=([0, 0], [np.inf, np.inf])
    )
    return float(found[0]), float(np.sqrt(covariance[0, 0]))


def test_fpd_is_the_published_one() -> None:
    rng = np.random.default_rng(4)
    x, y = rng.normal(size=(4000, 3)), rng.normal(size=(4000, 3)) * [1.0, 1.2, 1.0] + [0.2, 0, 0]
    value, error = fpd(x, y)
    plain, plain_error = plain_fpd(x, y, 1600, 4000, 1)
    assert abs(value - plain) < 4 * np.hypot(error, plain_error)
    # The truth: shift 0.2, spread 0.2, in units of the largest value of the reference.
    largest = np.abs(x).max(axis=0)
    assert value == pytest.approx(0.04 / largest[0] ** 2 + 0.04 / largest[1] ** 2, rel=0.3)
    same, _ = fpd(x, rng.normal(size=(4000, 3)))
    assert same < 0.1 * value
    assert fpd(x, y) == fpd(x, y)
    with pytest.raises(ToolError, match="1000 or more"):
        fpd(x[:500], y)


def test_mmd_is_the_plain_double_loop_and_the_closed_form() -> None:
    rng = np.random.default_rng(5)
    a, b = rng.normal(size=(12, 3)), rng.normal(size=(9, 3)) + 0.5

    def k(x: np.ndarray, y: np.ndarray) -> float:
        return float((x @ y / 3 + 1) ** 4)

    within_a = np.mean([k(a[i], a[j]) for i in range(12) for j in range(12) if i != j])
    within_b = np.mean([k(b[i], b[j]) for i in range(9) for j in range(9) if i != j])
    between = np.mean([k(x, y) for x in a for y in b])
    assert mmd(a, b) == pytest.approx(within_a + within_b - 2 * between, rel=1e-12)
    # In one dimension (xy + 1)^4 = sum C(4,k) x^k y^k, so MMD^2 = sum C(4,k) (E x^k - E y^k)^2.
    moments = [[stats.norm(m, 0.5).moment(n) for n in range(5)] for m in (0.0, 0.3)]
    exact = sum(comb(4, n) * (p - q) ** 2 for n, (p, q) in enumerate(zip(*moments, strict=True)))
    means = [mmd(rng.normal(0, 0.5, (400, 1)), rng.normal(0.3, 0.5, (400, 1))) for _ in range(60)]
    assert np.mean(means) == pytest.approx(exact, abs=4 * np.std(means) / np.sqrt(60))


def test_kpd_tells_samples_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tools.calorimeter.fpd.KPD_SIZE", 1000)
    rng = np.random.default_rng(6)
    x, y = rng.normal(size=(2, 3000, 2))
    value, error = kpd(x, y)
    assert abs(value) < 5 * error + 1e-3
    # Small samples of one distribution are at zero too, on average.
    small = [kpd(*rng.normal(size=(2, 200, 2)))[0] for _ in range(60)]
    assert abs(np.mean(small)) < 4 * np.std(small) / np.sqrt(60)
    far, _ = kpd(x, y + 0.5)
    assert far > 20 * abs(value)
    np.testing.assert_allclose(np.abs(normalised(x, y)[0]).max(axis=0), 1)


def test_prdc_is_the_plain_one() -> None:
    rng = np.random.default_rng(7)
    x, y, k = rng.normal(size=(60, 2)), rng.normal(size=(50, 2)) * 0.5 + 0.5, 5
    found = prdc(x, y)
    x, y = (x - x.mean(0)) / x.std(0), (y - x.mean(0)) / x.std(0)

    def radii(v: np.ndarray) -> np.ndarray:
        return np.array([sorted(np.linalg.norm(v - p, axis=1))[k] for p in v])

    rx, ry = radii(x), radii(y)
    d = np.array([[np.linalg.norm(p - q) for q in y] for p in x])
    assert found.precision == pytest.approx(np.mean([(d[:, j] <= rx).any() for j in range(50)]))
    assert found.recall == pytest.approx(np.mean([(d[i] <= ry).any() for i in range(60)]))
    assert found.density == pytest.approx(np.mean([(d[:, j] <= rx).sum() / k for j in range(50)]))
    assert found.coverage == pytest.approx(np.mean([d[i].min() <= rx[i] for i in range(60)]))


def test_prdc_of_one_distribution() -> None:
    rng = np.random.default_rng(8)
    found = prdc(*rng.normal(size=(2, 1500, 6)))
    assert found.density == pytest.approx(1, abs=0.05)
    assert found.coverage == pytest.approx(1 - 0.5**5, abs=0.02)
    # A generator of one kind of shower only is precise and recalls little.
    collapsed = prdc(rng.normal(size=(1500, 6)), 0.2 * rng.normal(size=(1500, 6)))
    assert collapsed.precision > 0.99
    assert collapsed.recall < 0.05
    assert collapsed.coverage < 0.5
    with pytest.raises(ToolError, match="more than 5"):
        prdc(np.ones((5, 2)), np.ones((9, 2)))


def test_response_and_resolution() -> None:
    rng = np.random.default_rng(9)
    incident = np.repeat([1000.0, 4000.0], 20_000)
    g = Geometry("one", "photon", (Layer(0, (0.0, 1.0), 1),))
    energy = incident * (0.9 + 0.1 * np.sqrt(1000 / incident) * rng.standard_t(10, len(incident)) / np.sqrt(1.25))
    found = response(Showers(incident, np.maximum(energy, 0)[:, None], g), energy_bins(incident))
    assert [r.showers for r in found] == [20_000, 20_000]
    for r, sigma in zip(found, (0.1, 0.05), strict=True):
        assert abs(r.mean - 0.9) < 4 * r.mean_error
        assert r.mean_error == pytest.approx(sigma / np.sqrt(20_000), rel=0.05)
        assert abs(r.resolution - sigma / 0.9) < 4 * r.resolution_error
        # Student's t with 10 degrees has kurtosis 4: its spread is wider than that of a Gaussian's, 1/sqrt(2n).
        assert r.resolution_error == pytest.approx(sigma / 0.9 * np.sqrt(3 / 4 / 20_000), rel=0.2)
    assert len(energy_bins(rng.uniform(1e3, 1e6, 500))) == 13
    many = energy_bins(2.0 ** np.arange(8, 23))
    assert np.histogram(2.0 ** np.arange(8, 23), many)[0].tolist() == [1] * 15


def test_times_are_medians_per_shower(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, calls = [0.0], []
    monkeypatch.setattr(timing.time, "perf_counter", lambda: clock[0])

    def generate(incident: np.ndarray, seed: int) -> Showers:
        calls.append(len(incident))
        # 10 ms a call and 1 ms a shower; the first call is slow, as first calls are.
        clock[0] += 0.010 + 0.001 * len(incident) + (5.0 if len(calls) == 1 else 0.0)
        return Showers(incident, np.zeros((len(incident), G.n_voxels)), G)

    found = timing.milliseconds(generate, np.array([1000.0, 2000.0]))
    assert found == {1: pytest.approx(11.0), 100: pytest.approx(1.1), 10_000: pytest.approx(1.001)}
    assert calls.count(10_000) < 5  # the budget
    assert 10_000 not in timing.milliseconds(generate, np.array([1000.0]), budget_s=5.0)


@pytest.mark.parametrize(("call", "shower", "measured"), [(0.25, 0.001, True), (0.0, 0.25, False), (0.0, 25.0, False)])
def test_a_batch_may_be_quicker_than_its_showers_one_by_one(
    monkeypatch: pytest.MonkeyPatch, call: float, shower: float, measured: bool
) -> None:
    clock = [0.0]
    monkeypatch.setattr(timing.time, "perf_counter", lambda: clock[0])

    def generate(incident: np.ndarray, seed: int) -> Showers:
        clock[0] += call + shower * len(incident)
        return Showers(incident, np.zeros((len(incident), G.n_voxels)), G)

    found = timing.milliseconds(generate, np.array([1000.0]), batches=(1, 100))
    assert (100 in found) == measured
    assert clock[0] < 20 + 10 * (call + shower)  # seconds
    if measured:
        assert found[100] == pytest.approx(1000 * (call / 100 + shower))
