"""Losses against closed forms; what is hidden stays hidden; generation integrates what was learnt."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from scipy.integrate import quad

from tests.tools.jet_toys import KINDS, network, prongs
from tools.contract import ToolError
from tools.jet_model.batches import Source, mask_of
from tools.jet_model.generate import like_jets
from tools.jet_model.jets import Jets
from tools.jet_model.masked import masked_particles
from tools.jet_model.model import JetModel, Scales
from tools.jet_model.objectives import Mix, class_weights, flow_matching, mixed, perturb

BASE = Scales(mean=(0.0, 0.0, 1.0, 1.5), std=(0.3, 0.3, 1.2, 1.4))
MEAN, STD = torch.tensor([0.1, -0.1, 2.0, 2.5]), torch.tensor([0.1, 0.2, 0.5, 0.4])  # of the Gaussian "jets"


def gaussian_velocity(z: Any, t: Any) -> Any:
    """E[e - x | z] where x and e are Gaussian: linear in z."""
    base_mean, base_std = torch.tensor(BASE.mean), torch.tensor(BASE.std)
    t = t[:, None, None]
    variance = (1 - t) ** 2 * STD**2 + t**2 * base_std**2
    slope = (t * base_std**2 - (1 - t) * STD**2) / variance
    return base_mean - MEAN + slope * (z - (1 - t) * MEAN - t * base_mean)


@pytest.fixture(scope="module")
def jets() -> Jets:
    return prongs(40)


def test_the_perturbed_jet_leads_back_along_its_velocity(jets: Jets) -> None:
    x = Source(network(jets), jets).x
    z, t, velocity = perturb(x, BASE)
    assert torch.allclose(z - t[:, None, None] * velocity, x, atol=1e-5)
    assert (mask_of(z) == mask_of(x)).all()
    assert 0 < t.min() < t.max() < 1


def test_a_power_makes_times_small_and_leaves_the_velocity() -> None:
    """t = u^p of uniform u has the mean 1 / (1 + p)."""
    torch.manual_seed(1)
    x = torch.randn(20_000, 2, 4)
    z, t, velocity = perturb(x, BASE, power=2.0)
    assert float(t.mean()) == pytest.approx(1 / 3, abs=0.01)
    assert torch.allclose(z - t[:, None, None] * velocity, x, atol=1e-5)


def test_flow_matching_reaches_the_least_loss_there_is() -> None:
    """Of Gaussians: the mean over t and features of s0^2 s1^2 / ((1-t)^2 s1^2 + t^2 s0^2), in units of s0^2."""
    torch.manual_seed(1)
    x = MEAN + STD * torch.randn(4000, 30, 4)
    z, t, velocity = perturb(x, BASE)
    losses = flow_matching(gaussian_velocity(z, t), velocity, mask_of(x), BASE)
    least = [
        quad(lambda t, a=a, b=b: b**2 / ((1 - t) ** 2 * b**2 + t**2 * a**2), 0, 1)[0]
        for a, b in zip(BASE.std, STD.tolist(), strict=True)
    ]
    assert float(losses.mean()) == pytest.approx(np.mean(least), abs=4 * float(losses.std()) / 4000**0.5)
    worse = flow_matching(0.9 * gaussian_velocity(z, t), velocity, mask_of(x), BASE)
    assert worse.mean() > losses.mean()


def test_flow_matching_does_not_see_empty_slots() -> None:
    found, velocity = torch.zeros(2, 5, 4), torch.ones(2, 5, 4)
    mask = torch.tensor([5, 2])[:, None, None] > torch.arange(5)[None, :, None]
    velocity[1, 2:] = 100
    expected = np.mean([1 / s**2 for s in BASE.std])
    assert flow_matching(found, velocity, mask, BASE).numpy() == pytest.approx(expected, rel=1e-5)


class Gaussian(JetModel):
    """A model whose jets are independent Gaussian particles."""

    def velocity(self, z: Any, t: Any, kind: Any, c: Any = None) -> Any:
        """Exact."""
        return gaussian_velocity(z, t)


def test_generation_turns_noise_into_what_the_velocity_stands_for() -> None:
    like = prongs(1500)
    model = network(like)
    scales = model.scales.model_copy(update={"mean": BASE.mean, "std": BASE.std})
    made = like_jets(Gaussian(model.architecture, scales, model.net), like, steps=30, seed=1)
    assert (made.multiplicity == like.multiplicity).all()
    assert made.kinds == KINDS
    assert (made.pid == like.pid).all()
    assert np.allclose(made.jet[:, 1], like.jet[:, 1], atol=0.6)
    found = made.particles[made.mask]
    error = STD.numpy() / len(found) ** 0.5
    assert np.all(np.abs(found.mean(axis=0) - MEAN.numpy())[:3] < 5 * error[:3])
    assert found.std(axis=0)[:3] == pytest.approx(STD.numpy()[:3], rel=0.02)
    assert np.all(found[:, 3] >= found[:, 2])  # no energy below pt


def test_generation_is_the_same_for_the_same_seed_and_follows_its_conditions(jets: Jets) -> None:
    model = network(jets)
    first, again, other = (like_jets(model, jets, steps=2, seed=seed).particles for seed in (1, 1, 2))
    assert (first == again).all()
    assert not np.allclose(first, other)
    harder = replace(jets, jet=jets.jet * np.array([2, 1, 1, 1], dtype=np.float32))
    assert not np.allclose(like_jets(model, harder, steps=2, seed=1).particles, first)
    swapped = replace(jets, pid=1 - jets.pid)
    assert not np.allclose(like_jets(model, swapped, steps=2, seed=1).particles, first)


def test_a_classifier_generates_nothing(jets: Jets) -> None:
    with pytest.raises(ToolError, match="conditions"):
        like_jets(network(jets, mode="classifier"), jets, steps=2, seed=1)


def test_class_weights_make_equal_sums() -> None:
    labels = np.repeat([0, 1, 3], [10, 30, 60])
    weights = class_weights(labels, 4)
    sums = np.bincount(labels, weights=weights[labels], minlength=4)
    assert sums == pytest.approx([100 / 3, 100 / 3, 0, 100 / 3])
    assert weights[2] == 0


def test_hidden_particles_are_hidden(jets: Jets) -> None:
    model = network(jets)
    masked = masked_particles(model, jets, seed=1)
    x = Source(model, jets).x
    there = mask_of(x)[:, :, 0]
    hidden = there & (torch.arange(x.shape[1]) % 3 == 1)
    changed = torch.where(hidden[:, :, None], x + 0.5, x)
    visible = torch.where((there & ~hidden)[:, :, None], x + 0.5, x)
    with torch.no_grad():
        found = masked.predict(model, x, hidden)
        assert torch.equal(masked.predict(model, changed, hidden), found)
        assert not torch.allclose(masked.predict(model, visible, hidden)[hidden], found[hidden])
    # ... but their ranks are told.
    assert not torch.allclose(found[0, 1], found[0, 4])


def test_standard_particles_are_their_own_tokens_and_a_blind_guess_costs_their_entropy(jets: Jets) -> None:
    model = network(jets)
    masked = masked_particles(model, jets, seed=1)
    centres = torch.nn.functional.pad(masked.centres * masked.scale, (0, 1))
    assert (masked.tokens(centres[None])[0] == torch.arange(len(centres))).all()
    for layer in masked.head.values():
        torch.nn.init.zeros_(layer.weight)
    torch.nn.init.zeros_(masked.head["out"].bias)
    part = next(iter(Source(model, jets).parts(torch.arange(len(jets)))))
    assert masked.loss(model, part).detach().numpy() == pytest.approx(np.log(len(centres)), rel=1e-5)


def test_every_loss_of_a_mix_has_finite_gradients(jets: Jets) -> None:
    """Hidden particles lie on top of each other: no distance between them may be differentiated."""
    model = network(jets)
    masked = masked_particles(model, jets, seed=1)
    source = Source(model, jets, np.asarray(jets.pid), np.zeros((len(jets), 3), np.float32))
    objective = mixed(model, Mix(classify=1, generate=2, perturbed=1, masked=1), np.ones(2, np.float32), masked)
    terms = objective(source.batch(torch.arange(len(jets))))
    assert set(terms) == {"classify", "generate", "perturbed", "masked"}
    sum(value.sum() for value in terms.values()).backward()
    gradients = [p.grad for p in [*model.net.parameters(), *masked.head.parameters()] if p.grad is not None]
    assert all(torch.isfinite(g).all() for g in gradients)
    assert sum(bool((g != 0).any()) for g in gradients) > 0.9 * len(gradients)


def test_a_mix_of_nothing() -> None:
    with pytest.raises(ValueError, match="at least one loss"):
        Mix(classify=0, generate=0)
