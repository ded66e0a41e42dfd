"""Tokens of hits, the transformer that draws them, and its growth: what was known must stay as it was, bit by bit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_showers import THRESHOLD, TINY, tiny_showers

from tools.calorimeter.generators import Adapter, Expert, Tokens, load
from tools.calorimeter.generators.base import Domain
from tools.calorimeter.generators.experts import add_material
from tools.calorimeter.generators.lora import AdaptedLinear
from tools.calorimeter.generators.token_network import TokenNetwork
from tools.calorimeter.generators.tokenizer import Tokenizer, probabilities
from tools.calorimeter.generators.tokens import TokenGenerator
from tools.calorimeter.showers import Showers
from tools.contract import ToolError

SETTINGS = Tokens(dim=32, heads=2, blocks=2, levels=8, epochs=8, batch=64, learning_rate=4e-3)
HERE = Domain()


@pytest.fixture(scope="module")
def generator() -> TokenGenerator:
    return SETTINGS.fit(tiny_showers(4000, 1), seed=1)


@pytest.fixture
def file(generator: TokenGenerator, tmp_path: Path) -> Path:
    generator.save(tmp_path / "tokens.safetensors")
    return tmp_path / "tokens.safetensors"


def other_showers(n: int, seed: int) -> Showers:
    """Another material: all of the second layer in its first ring."""
    showers = tiny_showers(n, seed)
    voxels = showers.voxels.copy()
    outer = (TINY.voxel_layer == 1) & (TINY.voxel_r == 1)
    voxels[:, outer] = 0
    return Showers(showers.incident, voxels, TINY)


@pytest.mark.parametrize("levels", [8, 64])
def test_tokens_give_energies_back_within_their_level_and_evenly(levels: int) -> None:
    showers = tiny_showers(4000, 1)
    tokenizer = Tokenizer.fit(showers, levels, THRESHOLD)
    shower, voxel = np.nonzero(showers.voxels)
    energy, logs = showers.voxels[shower, voxel].astype(float), np.log(showers.incident)[shower]
    level = tokenizer.level(voxel, energy, logs)
    low, high = (tokenizer.energy(voxel, level, logs, np.full(len(voxel), u)) for u in (0.0, 1.0))
    inside = (energy >= low * 0.999) & (energy <= high * 1.001)
    assert inside.mean() > 0.999
    assert low.min() >= THRESHOLD
    # Levels are as frequent as the quantiles between which they lie.
    share = np.bincount(level, minlength=levels) / len(level)
    np.testing.assert_allclose(share[1:-1], np.diff(probabilities(levels))[1:-1], atol=0.01)
    again = tokenizer.energy(voxel, level, logs, np.random.default_rng(1).random(len(voxel)))
    assert again.mean() == pytest.approx(energy.mean(), rel=0.05)
    assert np.median(np.abs(again / energy - 1)) < 2.0 / levels


def test_likelihood_is_that_of_all_showers_and_drawing_follows_it() -> None:
    # Two voxels, two levels: the nine showers there are have probabilities that sum to 1.
    torch.manual_seed(2)
    network = TokenNetwork(2, 2, 16, 2, 2, "base").eval()
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    showers = torch.tensor([[a, b] for a in (-1, 0, 1) for b in (-1, 0, 1)], dtype=torch.int16)
    logs = torch.full((1,), 9.0)
    tokens = (showers >= 0).sum(1) + 1
    with torch.no_grad():
        chances = torch.stack(
            [(network.log_prob(shower[None], logs, HERE) * n).exp() for shower, n in zip(showers, tokens, strict=True)]
        )
    assert float(chances.sum()) == pytest.approx(1.0, abs=1e-5)
    n = 20_000
    drawn = network.draw(logs.expand(n), HERE, torch.Generator().manual_seed(1))
    found = torch.stack([(drawn == shower).all(1).float().mean() for shower in showers])
    np.testing.assert_allclose(found, chances, atol=4 * np.sqrt(0.25 / n))


def test_showers_have_the_occupancy_and_energies_they_were_learned_from(generator: TokenGenerator) -> None:
    true = tiny_showers(4000, 9)
    made = generator.generate(true.incident, 3)
    np.testing.assert_allclose((made.voxels > 0).mean(axis=0), (true.voxels > 0).mean(axis=0), atol=0.06)
    np.testing.assert_allclose(made.voxels.mean(axis=0), true.voxels.mean(axis=0), rtol=0.12)
    assert made.voxels[made.voxels > 0].min() >= np.float32(generator.tokenizers["base"].threshold)
    np.testing.assert_array_equal(made.voxels, generator.generate(true.incident, 3).voxels)


def test_growing_forgets_nothing_and_learns_the_new(generator: TokenGenerator, file: Path, tmp_path: Path) -> None:
    incident = np.geomspace(100, 400, 64)
    before = generator.generate(incident, 5).voxels
    grown = Expert(grow=str(file), material="iron", epochs=6, learning_rate=4e-3).fit(other_showers(2000, 2), seed=1)
    grown.save(tmp_path / "iron.safetensors")
    settings = Adapter(grow=str(tmp_path / "iron.safetensors"), particle="pion", rank=2, epochs=4, learning_rate=4e-3)
    twice = settings.fit(other_showers(1000, 4), seed=1)
    twice.save(tmp_path / "pion.safetensors")
    again = load(tmp_path / "pion.safetensors")
    assert isinstance(again, TokenGenerator)
    for later in (grown, twice, again):
        old = later.select("base", "base")
        np.testing.assert_array_equal(old.generate(incident, 5).voxels, before)
        assert _log_prob(old, tiny_showers(200, 8)) == _log_prob(generator, tiny_showers(200, 8))
    iron = twice.select("iron", "base")
    np.testing.assert_array_equal(iron.generate(incident, 5).voxels, grown.generate(incident, 5).voxels)
    # The new material is learned: better than by the old experts, and its empty ring is nearly so.
    assert grown.losses[-1][1] < grown.losses[len(generator.losses)][1]
    outer = (TINY.voxel_layer == 1) & (TINY.voxel_r == 1)
    assert (grown.generate(np.full(500, 300.0), 1).voxels[:, outer] > 0).mean() < 0.1
    assert again.domain == ("base", "pion")
    np.testing.assert_array_equal(again.generate(incident, 5).voxels, twice.generate(incident, 5).voxels)


def _log_prob(generator: TokenGenerator, showers: Showers) -> float:
    levels, logs = (torch.from_numpy(array) for array in generator.tokenize(showers))
    generator.model.eval()
    with torch.no_grad():
        return float(generator.model.log_prob(levels, logs, generator.domain))


def test_a_new_adapter_changes_nothing_before_training_and_a_low_rank_after() -> None:
    torch.manual_seed(1)
    linear = AdaptedLinear(6, 5)
    x = torch.randn(3, 6)
    linear.grow("pion", 2)
    torch.testing.assert_close(linear(x, "pion"), linear(x, "base"), rtol=0, atol=0)
    torch.nn.init.normal_(linear.adapters["pion"][1].weight)  # type: ignore[index]
    change = linear(torch.eye(6), "pion") - linear(torch.eye(6), "base")
    assert int(torch.linalg.matrix_rank(change, atol=1e-5)) == 2


def test_only_new_experts_are_trained() -> None:
    network = TokenNetwork(9, 4, 16, 2, 2, "base")
    grown = add_material(network, "iron", "base")
    names = {name for name, p in network.named_parameters() if p.requires_grad}
    assert len(names) == len(grown) == 2 * 4
    assert all("experts.iron" in name for name in names)


def test_growth_that_cannot_be_is_refused(generator: TokenGenerator, file: Path) -> None:
    with pytest.raises(ToolError, match="a new one, like a known one: base"):
        Expert(grow=str(file), material="base").fit(tiny_showers(200, 1), 1)
    with pytest.raises(ToolError, match="one of base"):
        Adapter(grow=str(file), particle="pion", material="iron").fit(tiny_showers(200, 1), 1)
    with pytest.raises(ToolError, match=r"one of \[\('base', 'base'\)\]"):
        generator.select("iron")
    with pytest.raises(ToolError, match="a divisor of dim=32"):
        SETTINGS.model_copy(update={"heads": 3}).fit(tiny_showers(200, 1), 1)
