"""Flow matching on point clouds: its first stage, its transport and its showers against those known in closed form."""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_showers import TINY, tiny_showers

from tools.calorimeter.generators import PointsFlowMatching, load
from tools.calorimeter.generators.points_flow_matching import Cloud, PointGenerator, _clouds, _matched
from tools.calorimeter.generators.velocity import Velocity
from tools.calorimeter.geometry import geometry
from tools.calorimeter.gflash import simulate
from tools.calorimeter.showers import Showers

SETTINGS = PointsFlowMatching(
    dim=32, heads=2, blocks=1, epochs=10, totals_epochs=15, batch=64, learning_rate=5e-3, steps=6
)


@pytest.fixture(scope="module")
def generator() -> PointGenerator:
    return SETTINGS.fit(tiny_showers(4000, 1), seed=1)


def test_transport_of_each_layer_is_the_shortest_of_all() -> None:
    rng = np.random.default_rng(1)
    cloud = Cloud(rng.standard_normal((2, 7, 3)).astype(np.float32), np.array([[0, 0, 0, 1, 1, 1, 1]] * 2), None)
    cloud.layer[1, 5:] = -1
    noise = _matched(cloud, np.random.default_rng(2))
    for x, z, layer in zip(cloud.x, noise, cloud.layer, strict=True):
        for i in (0, 1):
            a, b = x[layer == i], z[layer == i]
            every = [((a - b[list(order)]) ** 2).sum() for order in permutations(range(len(a)))]
            assert ((a - b) ** 2).sum() == pytest.approx(min(every), rel=1e-5)


def test_clouds_go_back_to_the_voxels_they_came_from(generator: PointGenerator) -> None:
    g = geometry("ds1_photons")
    showers = simulate(np.array([300.0, 3e4, 2e6]), g, seed=1)
    threshold = float(showers.voxels[showers.voxels > 0].min())
    cloud = _clouds(showers, threshold, np.random.default_rng(1))
    made = PointGenerator(SETTINGS, g, (1.0, 2.0), [], replace(generator.totals, threshold=threshold))
    for x, layer, voxels in zip(cloud.x, cloud.layer, showers.voxels, strict=True):
        for i, at in enumerate(g.slices):
            if (layer == i).any():
                filled = made._fill(x[layer == i].astype(float), i, float(voxels[at].sum(dtype=np.float64)))
                np.testing.assert_array_equal(filled > 0, voxels[at] > 0)
                np.testing.assert_allclose(filled, voxels[at], rtol=0.05, atol=0.02 * threshold + 1e-3)


def test_points_have_no_order_and_padding_no_say() -> None:
    torch.manual_seed(1)
    model = Velocity(2, 16, 2, 2)
    torch.nn.init.normal_(model.leave.weight)
    x, layer = torch.randn(1, 5, 3), torch.tensor([[0, 0, 1, 1, 1]])
    t, context = torch.tensor([0.3]), torch.randn(1, 2, 3)
    v = model(x, layer, t, context)
    order = torch.tensor([3, 0, 4, 1, 2])
    torch.testing.assert_close(model(x[:, order], layer[:, order], t, context), v[:, order], rtol=1e-4, atol=1e-5)
    padded = model(torch.cat([x, torch.randn(1, 3, 3)], 1), torch.cat([layer, -torch.ones(1, 3).long()], 1), t, context)
    torch.testing.assert_close(padded[:, :5], v, rtol=1e-4, atol=1e-5)


def test_layer_totals_follow_the_showers(generator: PointGenerator) -> None:
    n = 4000
    for incident in (100.0, 400.0):
        true = tiny_showers(n, 3, (incident,))
        energy, number = generator.totals.draw(np.full(n, np.log(incident)), 1)
        assert ((energy > 0) == (number > 0)).all()
        np.testing.assert_allclose(energy.mean(axis=0), true.layer_energies.mean(axis=0), rtol=0.05)
        np.testing.assert_allclose(energy.std(axis=0), true.layer_energies.std(axis=0), rtol=0.12)
        hits = np.stack([(true.voxels[:, at] > 0).sum(axis=1) for at in TINY.slices], axis=1)
        np.testing.assert_allclose(number.mean(axis=0), hits.mean(axis=0), atol=0.2)


def test_showers_keep_the_energies_drawn_and_find_the_core(generator: PointGenerator) -> None:
    true = tiny_showers(2000, 4, (300.0,))
    made = generator.generate(true.incident, 2)
    energy, number = generator.totals.draw(np.log(true.incident), 2)
    np.testing.assert_allclose(made.layer_energies, energy, rtol=1e-4)
    hits = np.stack([(made.voxels[:, at] > 0).sum(axis=1) for at in TINY.slices], axis=1)
    np.testing.assert_array_equal(hits, number)
    assert made.voxels[made.voxels > 0].min() >= np.float32(generator.totals.threshold)
    # Learned: energies without a place would give the outer ring as much as the inner one.
    np.testing.assert_allclose((made.voxels > 0).mean(axis=0), (true.voxels > 0).mean(axis=0), atol=0.05)
    inner, outer = ((TINY.voxel_layer == 1) & (TINY.voxel_r == r) for r in (0, 1))
    ratio = [s.voxels[:, outer].sum() / s.voxels[:, inner].sum() for s in (made, true)]
    assert ratio[0] == pytest.approx(ratio[1], abs=0.3)


def test_a_file_gives_the_same_showers(generator: PointGenerator, tmp_path: Path) -> None:
    generator.save(tmp_path / "points.safetensors")
    incident = np.geomspace(100, 400, 30)
    again = load(tmp_path / "points.safetensors").generate(incident, 3)
    np.testing.assert_array_equal(again.voxels, generator.generate(incident, 3).voxels)


def test_an_empty_shower_is_learned_from_and_drawn() -> None:
    showers = tiny_showers(3000, 1)
    voxels = showers.voxels.copy()
    voxels[::3] = 0
    quick = SETTINGS.model_copy(update={"epochs": 1, "totals_epochs": 20, "dim": 8})
    made = quick.fit(Showers(showers.incident, voxels, TINY), 1).generate(np.full(300, 200.0), 1)
    assert 0.2 < (made.deposited == 0).mean() < 0.45
