"""The two-stage flow: its tree and densities against identities, what it makes against showers known in closed form."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import integrate, stats
from tiny_showers import CELLS, THRESHOLD, TINY, UNIT, tiny_showers, tiny_voxels

from tools.calorimeter.generators import BeyondTraining, Flow, load, share
from tools.calorimeter.generators.flow import TwoStageFlow
from tools.calorimeter.generators.stages import TrendTables
from tools.calorimeter.generators.tree import Tree
from tools.calorimeter.generators.trend import Trend
from tools.calorimeter.geometry import geometry
from tools.contract import ToolError

SETTINGS = Flow(epochs=12, layer_epochs=12, hidden=32, batch=128, learning_rate=1e-2)


@pytest.fixture(scope="module")
def flow() -> TwoStageFlow:
    return SETTINGS.fit(tiny_showers(6000, 1), seed=1)


@pytest.mark.parametrize("name", ["ds1_photons", "ds2_electrons"])
def test_groups_of_a_tree_are_their_halves_down_to_single_voxels(name: str) -> None:
    tree, v = Tree.of(geometry(name)), geometry(name).n_voxels
    assert len(tree) == v
    assert sorted(tree.order) == list(range(v))
    whole = np.arange(v)
    assert (tree.start[tree.left] == tree.start[whole]).all()
    assert (tree.stop[tree.left] == tree.start[tree.right]).all()
    assert (tree.stop[tree.right] == tree.stop[whole]).all()
    assert sorted(np.concatenate([[0], tree.left, tree.right])) == list(range(2 * v + 1))
    # Halves are split after their parent.
    for half in (tree.left, tree.right):
        inner = half < v
        assert (tree.depth[half[inner]] > tree.depth[whole[inner]]).all()
    # A group of a layer is whole rings of it, or sectors of one ring.
    g = geometry(name)
    for i in range(g.n_layers, v):
        voxels = tree.order[tree.start[i] : tree.stop[i]]
        assert len(set(g.voxel_layer[voxels])) == 1
        rings = set(g.voxel_r[voxels])
        assert len(rings) == 1 or len(voxels) == len(rings) * g.layers[g.voxel_layer[voxels[0]]].n_alpha


def test_trends_are_taken_off_and_stay_what_they_were_beyond() -> None:
    rng = np.random.default_rng(1)
    logs = rng.uniform(5, 15, 6000)
    which = rng.integers(0, 2, 6000)
    mean, std = np.where(which, 1 + 0.3 * logs**2, -logs), np.where(which, np.exp(0.2 * logs), 0.01)
    trend = Trend.fit(logs, mean + std * rng.standard_normal(6000), which, 3)
    at = np.array([5.5, 10.0, 14.5])
    for i, expected, spread in ((0, -at, [0.01] * 3), (1, 1 + 0.3 * at**2, np.exp(0.2 * at))):
        found = trend.at(at, np.full(3, i))
        np.testing.assert_allclose(found[0], expected, atol=0.15 * np.max(spread))
        np.testing.assert_allclose(found[1], spread, rtol=0.15)
        dense = TrendTables(3).fill(trend)(torch.from_numpy(at).float())
        for plain, fast in zip(found, dense, strict=True):
            np.testing.assert_allclose(fast[:, i].numpy(), plain, rtol=1e-4)
    edge, beyond = trend.at(np.array([logs[which == 0].max(), 30.0]), np.zeros(2, int))[0]
    assert edge == pytest.approx(beyond)


def test_shares_are_a_density_and_samples_follow_it() -> None:
    torch.manual_seed(3)
    parameters = torch.randn(1, share.n_parameters(6)).double()
    mean, std = torch.tensor([0.7]).double(), torch.tensor([2.0]).double()

    def density(z: float) -> float:
        one = share.ShareDensity(parameters, mean, std)
        return float(one.log_prob(torch.tensor([share.BOTH]), torch.tensor([z]).double()).exp())

    one = share.ShareDensity(parameters, mean, std)
    nothing = torch.zeros(1).double()
    sides = sum(float(one.log_prob(torch.tensor([side]), nothing).exp()) for side in (share.LEFT, share.RIGHT))
    shared, _ = integrate.quad(density, -60, 60, limit=500)
    assert sides + shared == pytest.approx(1.0, abs=1e-5)

    n = 20_000
    many = share.ShareDensity(parameters.expand(n, -1), mean.expand(n), std.expand(n))
    outcome, z = many.sample(torch.ones(n, dtype=torch.bool), torch.Generator().manual_seed(1))
    both = (outcome == share.BOTH).numpy()
    assert both.mean() == pytest.approx(shared, abs=4 * np.sqrt(shared / n))
    grid = np.linspace(-30, 30, 4001)
    cdf = integrate.cumulative_simpson([density(x) for x in grid], x=grid, initial=0) / shared
    assert stats.kstest(z.numpy()[both], lambda x: np.interp(x, grid, cdf)).pvalue > 1e-3
    outcome, _ = many.sample(torch.zeros(n, dtype=torch.bool), torch.Generator().manual_seed(1))
    assert (outcome != share.BOTH).all()


def test_energies_and_logits_invert_each_other() -> None:
    left, right = torch.tensor([2.5, 1e6, 2.002]).double(), torch.tensor([900.0, 2.01, 2.5]).double()
    least = (torch.tensor(2.0).double(),) * 2
    again = share.to_energies(left + right, share.to_z(left, right, least, 2.0), least)
    np.testing.assert_allclose(torch.stack(again), torch.stack([left, right]), rtol=1e-9)


def test_the_density_of_a_shower_holds_all_of_its_energies(flow: TwoStageFlow) -> None:
    # Rows of both stages, put together again from the root, are the shower they came from.
    showers, tree = tiny_showers(50, 7), flow.tree
    places = np.column_stack([showers.voxels[:, tree.order], flow.f * showers.incident - showers.deposited])
    rows = [flow.stages.rows(stage, torch.from_numpy(places).float()) for stage in (0, 1)]
    shower, node, outcome, z = (torch.cat([r[i] for r in rows]) for i in range(4))
    energy = np.zeros((50, 2 * len(tree) + 1))
    energy[:, 0] = flow.f * showers.incident
    for s, i, o, zed in sorted(zip(shower.tolist(), node.tolist(), outcome.tolist(), z.double(), strict=True)):
        left, right = int(tree.left[i]), int(tree.right[i])
        least = flow.stages.least[left], flow.stages.least[right]
        shared = share.to_energies(torch.tensor(energy[s, i]), zed, least)
        energy[s, left] = energy[s, i] if o == share.LEFT else float(shared[0]) * (o == share.BOTH)
        energy[s, right] = energy[s, i] if o == share.RIGHT else float(shared[1]) * (o == share.BOTH)
    np.testing.assert_allclose(energy[:, len(tree) : -1], places[:, :-1], rtol=1e-3, atol=1e-3)


def test_generated_showers_have_the_distribution_they_were_learned_from(flow: TwoStageFlow) -> None:
    n = 8000
    for energy in (100.0, 400.0):
        made = flow.generate(np.full(n, energy), seed=2).voxels
        empty = stats.gamma(CELLS / CELLS.sum() * energy / UNIT).cdf(THRESHOLD / UNIT)
        np.testing.assert_allclose((made == 0).mean(axis=0), empty, atol=0.03)
        true = tiny_voxels(np.full(n, energy), np.random.default_rng(3))
        np.testing.assert_allclose(made.mean(axis=0), true.mean(axis=0), rtol=0.06)
        np.testing.assert_allclose(made.sum(axis=1).std(), true.sum(axis=1).std(), rtol=0.1)
        # Voxels of different sectors are independent here: fractions must not have bound them together.
        correlation = np.corrcoef(made.T) - np.corrcoef(true.T)
        assert np.abs(correlation).max() < 0.08


def test_nothing_lies_below_threshold_and_seeds_decide(flow: TwoStageFlow) -> None:
    incident = np.full(500, 150.0)
    made = flow.generate(incident, 5)
    assert made.voxels[made.voxels > 0].min() >= np.float32(flow.threshold)
    np.testing.assert_array_equal(made.voxels, flow.generate(incident, 5).voxels)
    assert (made.voxels != flow.generate(incident, 6).voxels).any()


def test_energy_is_conserved_to_rounding(flow: TwoStageFlow) -> None:
    incident = torch.linspace(100, 400, 200, dtype=torch.float64)
    with torch.no_grad():
        places = flow.stages.draw(flow.f * incident, incident.log().float(), torch.Generator().manual_seed(1))
    np.testing.assert_allclose(places.sum(1), flow.f * incident, rtol=1e-12)
    made = flow.generate(incident.numpy(), 1)
    np.testing.assert_allclose(made.deposited, places[:, :-1].sum(1), rtol=1e-6)


def test_conditioning_between_and_beyond_the_training_points(flow: TwoStageFlow) -> None:
    for energy in (130.0, 280.0):
        true = tiny_voxels(np.full(20_000, energy), np.random.default_rng(1)).sum(axis=1)
        made = flow.generate(np.full(4000, energy), 1).deposited
        assert made.mean() == pytest.approx(true.mean(), rel=0.04)
        assert made.std() == pytest.approx(true.std(), rel=0.12)
    with pytest.warns(BeyondTraining, match="1 of 2 incident energies lie beyond .* 100 to 400 MeV"):
        flow.generate(np.array([300.0, 900.0]), 1)


def test_a_file_gives_the_same_showers(flow: TwoStageFlow, tmp_path: Path) -> None:
    flow.save(tmp_path / "flow.safetensors")
    again = load(tmp_path / "flow.safetensors")
    assert again.seen == flow.seen
    assert again.losses == flow.losses
    assert again.geometry == TINY
    incident = np.geomspace(100, 400, 50)
    np.testing.assert_array_equal(again.generate(incident, 3).voxels, flow.generate(incident, 3).voxels)


def test_training_repeats_itself() -> None:
    quick = SETTINGS.model_copy(update={"epochs": 1, "layer_epochs": 1})
    first, second = (quick.fit(tiny_showers(300, 1), 4).generate(np.full(20, 200.0), 1) for _ in range(2))
    np.testing.assert_array_equal(first.voxels, second.voxels)


def test_too_few_showers_and_no_energies_are_refused(flow: TwoStageFlow) -> None:
    with pytest.raises(ToolError, match="100 showers or more"):
        SETTINGS.fit(tiny_showers(20, 1), 1)
    with pytest.raises(ToolError, match="MeV, from 1"):
        flow.generate(np.array([0.1]), 1)
