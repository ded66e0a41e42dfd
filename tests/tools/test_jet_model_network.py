"""The network is the package's, a set function, and indifferent to padding; batches in parts are whole batches."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from omnilearned import network as package

from tests.tools.jet_toys import KINDS, SMALL, network, prongs
from tools.contract import ToolError
from tools.jet_model.batches import Source, labels_for, used_features
from tools.jet_model.jets import Jets
from tools.jet_model.model import Architecture, build, conditions_of
from tools.jet_model.objectives import Mix, class_weights, mixed
from tools.jet_model.train import backward


@pytest.fixture(scope="module")
def jets() -> Jets:
    return prongs(24)


def as_tensor(jets: Jets) -> torch.Tensor:
    return torch.as_tensor(np.ascontiguousarray(jets.particles))


def test_sizes_are_the_packages() -> None:
    small = build(Architecture.of("small", KINDS, interaction=False, local_interaction=False, mode="classifier"))
    # The command line of the package: 2.8 million with a generator, less without.
    theirs = package.PET2(
        4, use_int=False, local_int=False, num_classes=2, base_dim=128, num_transformers=8, num_heads=8, num_coord=2
    )
    assert small.parameters() == sum(p.numel() for p in theirs.parameters())
    assert small.architecture.name() == "small"
    assert Architecture.of("tiny", KINDS).name() == "tiny"


@pytest.mark.parametrize("mode", ["classifier", "pretrain"])
def test_logits_are_those_of_the_packages_forward(jets: Jets, mode: str) -> None:
    model = network(jets, mode=mode)
    theirs = package.PET2(
        4, mode=mode, num_classes=2, local_int=True, conditional=mode == "pretrain", cond_dim=3, K=4, num_coord=2,
        base_dim=16, num_transformers=2, num_transformers_head=1, num_heads=2,
    ).eval()  # fmt: skip
    theirs.load_state_dict(model.net.state_dict())
    x = as_tensor(jets)
    with torch.no_grad():
        wanted = theirs(x, torch.zeros(24, dtype=torch.long), cond=torch.zeros(24, 3))["y_pred"]
        assert torch.allclose(model.logits(x), wanted, atol=1e-5)


def test_order_and_padding_of_particles_do_not_matter(jets: Jets) -> None:
    model = network(jets)
    x = as_tensor(jets)
    shuffled = x[:, torch.randperm(x.shape[1], generator=torch.Generator().manual_seed(1))]
    with torch.no_grad():
        logits = model.logits(x)
        assert logits.std() > 1e-3
        assert torch.allclose(model.logits(shuffled), logits, atol=1e-5)
        assert torch.allclose(model.logits(torch.nn.functional.pad(x, (0, 0, 0, 30))), logits, atol=1e-5)


def test_a_moved_particle_does_matter(jets: Jets) -> None:
    model = network(jets)
    x = as_tensor(jets)
    moved = x.clone()
    moved[:, 0, 0] += 0.3
    with torch.no_grad():
        assert ((model.logits(moved) - model.logits(x)).abs().amax(dim=1) > 1e-5).all()


def test_neighbours_survive_bfloat16(jets: Jets) -> None:
    """The package's own would be others: a fault of its runs in mixed precision."""
    model = network(jets)
    points = 0.3 * torch.randn(20, 30, 2, generator=torch.Generator().manual_seed(1))

    def order(distances: torch.Tensor) -> torch.Tensor:
        return distances.argsort(dim=-1)

    exact = order(torch.cdist(points.double(), points.double()))
    block = model.net.body.local_physics
    with torch.autocast("cpu", torch.bfloat16):
        assert (order(block.pairwise_distance(points)) == exact).all()
        assert not (order(type(block).pairwise_distance(block, points).float()) == exact).all()


def test_parts_add_up_to_the_padded_batch(jets: Jets) -> None:
    model = network(jets, mode="classifier")
    source = Source(model, jets, labels_for(KINDS, jets), weights=np.linspace(0.5, 1.5, len(jets)))
    objective = mixed(model, Mix(generate=0), class_weights(np.asarray(jets.pid), 2))
    rows = torch.arange(len(jets))

    def gradients(parts: list) -> torch.Tensor:
        model.net.zero_grad()
        for part in parts:
            backward(objective(part), part, len(rows))
        return torch.cat([p.grad.flatten() for p in model.net.parameters() if p.grad is not None])

    whole, parts = [source.batch(rows)], list(source.parts(rows, 100))
    assert len(parts) > 4
    assert sorted(int(row) for part in parts for row in part.rows) == list(range(len(jets)))
    assert sum(p.x.shape[0] * p.x.shape[1] for p in parts) < 0.75 * whole[0].x[:, :, 0].numel()
    wanted = gradients(whole)
    assert torch.allclose(gradients(parts), wanted, atol=1e-5 * float(wanted.abs().max()))


def test_same_seed_same_network(jets: Jets) -> None:
    first, second, third = (network(jets, seed).net.state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not all(torch.equal(first[name], third[name]) for name in first)


def test_jets_of_very_few_particles_are_fine(jets: Jets) -> None:
    few = jets.hardest(2)
    model = network(jets)
    part = next(iter(Source(model, few).parts(torch.arange(len(few)))))
    assert part.x.shape[1] == SMALL["neighbours"] + 1
    assert torch.isfinite(model.logits(part.x)).all()


def test_conditions_and_scales(jets: Jets) -> None:
    conditions = conditions_of(jets)
    assert conditions[:, 2] * 100 == pytest.approx(jets.multiplicity)
    assert np.exp(conditions[:, 0]) == pytest.approx(jets.jet[:, 0], rel=1e-5)
    scales = network(jets).scales
    log_pt = jets.particles[jets.mask][:, 2]
    assert scales.mean[:3] == (0.0, 0.0, pytest.approx(log_pt.mean(), rel=1e-5))
    assert scales.std[2] == pytest.approx(log_pt.std(), rel=1e-5)
    c = Source(network(jets), jets, conditions=conditions).c.numpy()
    assert c.mean(axis=0) == pytest.approx(0, abs=1e-5)
    assert c.std(axis=0) == pytest.approx(1, abs=1e-4)
    with pytest.raises(ToolError, match="pt and eta"):
        conditions_of(replace(jets, jet=None))


def test_what_does_not_go_together(jets: Jets) -> None:
    with pytest.raises(ToolError, match="divisor of dim"):
        build(Architecture(kinds=KINDS, **{**SMALL, "heads": 3}))
    with pytest.raises(ToolError, match="at least two"):
        build(Architecture(kinds=("one",), **SMALL))
    with pytest.raises(ToolError, match="the model reads 5"):
        used_features(Architecture(kinds=KINDS, particle_kinds=9, **SMALL), jets)
    with pytest.raises(ToolError, match=r"two.*the model knows one, three"):
        labels_for(("one", "three"), jets)
    with pytest.raises(ToolError, match="labelled"):
        labels_for(KINDS, replace(jets, pid=None))


def test_labels_follow_the_models_order(jets: Jets) -> None:
    assert (labels_for(("two", "one"), jets) == 1 - np.asarray(jets.pid)).all()
    unnamed = replace(jets, kinds=())
    assert (labels_for(("0", "1"), unnamed) == jets.pid).all()
