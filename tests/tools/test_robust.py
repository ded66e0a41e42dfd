"""Robust training: what moves and how far, against the closed forms of linear, logistic and quadratic models."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import TypeAdapter, ValidationError

from tests.tools.jet_toys import KINDS, network, prongs
from tools.anomaly.mlp import Mlp
from tools.contract import ToolError
from tools.jet_model.batches import Source, labels_for, reach
from tools.jet_model.objectives import Mix, class_weights, mixed
from tools.jet_model.train import JetTraining, fit
from tools.metrics import auc
from tools.robust.attacks import Fgsm, Pgd
from tools.robust.sharpness import input_ascent, input_curvature, weight_ascent, weight_curvature
from tools.robust.steps import Robust, Steps
from tools.robust.weights import Sam, SparseSam
from tools.training import Training, train

W = torch.tensor([1.5, -0.5, 0.0, 2.0, -1.0], dtype=torch.float64)
ATTACKS = [Fgsm(epsilon=0.1, share=1), Pgd(epsilon=0.1, step=0.03, steps=10, share=1)]
BCE = torch.nn.functional.binary_cross_entropy_with_logits


def events(n: int = 200, d: int = 5) -> tuple[Any, Any]:
    rng = torch.Generator().manual_seed(3)
    return torch.randn(n, d, generator=rng, dtype=torch.float64), torch.rand(n, generator=rng).double().round()


def logistic(x: Any, y: Any) -> Any:
    return BCE(x @ W, y, reduction="none")


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.kind)
def test_the_worst_case_of_a_linear_model_is_epsilon_times_the_sum_of_weights(attack: Any) -> None:
    x, y = events()
    units = torch.tensor([1.0, 2.0, 1.0, 0.0, 0.5], dtype=torch.float64)
    moved = Steps(attack, lambda _: units).inputs(x, lambda z: logistic(z, y).mean(), done=1.0)
    sign = 2 * y - 1
    expected = torch.log1p(torch.exp(-sign * (x @ W) + 0.1 * (units * W.abs()).sum()))
    torch.testing.assert_close(logistic(moved, y), expected)
    assert torch.equal(moved[:, 3], x[:, 3])  # bit by bit
    assert ((moved - x).abs() <= 0.1 * units + 1e-12).all()


def test_the_share_of_moved_events_grows_with_the_training() -> None:
    x, y = events(4000)
    steps = Steps(Fgsm(share=0.8), torch.ones_like)
    for done in (0.0, 0.5, 1.0):
        moved = (steps.inputs(x, lambda z: logistic(z, y).mean(), done) != x).any(dim=1)
        assert float(moved.double().mean()) == pytest.approx(0.8 * done, abs=0.04)


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.kind)
def test_particles_move_but_neither_empty_slots_nor_kinds_of_particles(attack: Any) -> None:
    jets = prongs(40)
    pids = np.where(jets.mask, 3.0, 0.0)[..., None]
    jets = replace(jets, particles=np.concatenate([jets.particles, pids], axis=2).astype(np.float32))
    model = network(jets, mode="classifier", particle_kinds=6)
    part = Source(model, jets, labels_for(KINDS, jets)).batch(torch.arange(40))
    losses = mixed(model, Mix(generate=0), class_weights(np.asarray(jets.pid), 2))
    moves = reach(model.scales)
    x = Steps(attack, moves).inputs(part.x, lambda z: losses(replace(part, x=z))["classify"].sum(), 1.0)
    there = part.x[:, :, 2] != 0
    assert 0 < there.double().mean() < 1
    assert torch.equal(x[~there], part.x[~there])
    assert torch.equal(x[:, :, 4], part.x[:, :, 4])
    moved = (x - part.x)[there][:, :4]
    assert ((moved != 0).double().mean(dim=0) > 0.9).all()  # angles too, although each is at distance 0 from itself
    assert (moved.abs() <= 0.1001 * torch.tensor(model.scales.std)).all()


def sparse(settings: SparseSam, gradient: Any, steps: int = 1) -> Any:
    """How far each weight of the loss gradient.w moves before the gradient is taken again, in the last step."""
    w = torch.nn.Parameter(torch.zeros(len(gradient)))
    optimizer = settings.optimizer(torch.optim.SGD, [w], steps, lr=0.0)
    for _ in range(steps):
        w.grad = gradient.clone()
        optimizer.first_step()
        moved = w.detach().clone()
        optimizer.second_step()
        assert torch.equal(w.detach(), torch.zeros(len(gradient)))
    return moved


def test_sam_moves_all_weights_by_rho_and_its_sparse_form_those_of_the_largest_fisher_information() -> None:
    gradient = torch.linspace(-3, 5, 40)
    w = torch.nn.Parameter(torch.zeros(40))
    optimizer = Sam(rho=0.2).optimizer(torch.optim.SGD, [w], 1, lr=0.1)
    w.grad = gradient.clone()
    optimizer.first_step()
    torch.testing.assert_close(w.detach(), 0.2 * gradient / gradient.norm())
    moved = sparse(SparseSam(rho=0.2, sparsity=0.75), gradient)
    largest = gradient.abs() >= gradient.abs().sort().values[-10]
    torch.testing.assert_close(moved, torch.where(largest, 0.2 * gradient / gradient.norm(), 0.0))


def test_the_dynamic_mask_keeps_its_size_and_comes_to_prefer_steep_weights() -> None:
    gradient = torch.cat([torch.full((50,), 1e-3), torch.ones(50)]) * torch.linspace(1, 2, 100)
    torch.manual_seed(1)
    settings = SparseSam(mask="dynamic", sparsity=0.5)
    first, last = (sparse(settings, gradient, steps) != 0 for steps in (1, 2000))
    assert int(first.sum()) == int(last.sum()) == 50
    assert int(first[50:].sum()) < 35 < int(last[50:].sum())


def test_a_sam_step_is_one_with_the_gradient_at_the_moved_weights() -> None:
    """Loss w.A.w/2 with gradient A w: one step of SGD ends at w - lr A (w + rho A w / |A w|)."""
    a, w = torch.diag(torch.tensor([1.0, 3.0])), torch.nn.Parameter(torch.tensor([1.0, -1.0]))
    steps = Steps(Sam(rho=0.1))
    optimizer = steps.optimizer(torch.optim.SGD, [w], 1, lr=0.1)

    def gradient() -> None:
        optimizer.zero_grad()
        (w @ a @ w / 2).backward()

    g = a @ w.detach()
    expected = w.detach() - 0.1 * a @ (w.detach() + 0.1 * g / g.norm())
    gradient()
    steps.take(optimizer, gradient)
    torch.testing.assert_close(w.detach(), expected)


@pytest.mark.parametrize("kind", ["fgsm", "pgd", "sam", "sparse_sam", {"kind": "sparse_sam", "mask": "dynamic"}])
def test_both_loops_train_robustly_and_repeatably(kind: Any) -> None:
    rng = np.random.default_rng(1)
    y = rng.uniform(size=2000) < 0.5
    x = np.column_stack([rng.normal(size=2000) + y, rng.integers(0, 2, 2000)])
    mlp = Mlp(epochs=4, best_epochs=1, batch=128, robust=kind)
    score = mlp.log_odds(x[:1500], y[:1500], x[1500:], 1)
    np.testing.assert_array_equal(score, mlp.log_odds(x[:1500], y[:1500], x[1500:], 1))
    assert not np.array_equal(score, Mlp(epochs=4, best_epochs=1, batch=128).log_odds(x[:1500], y[:1500], x[1500:], 1))
    assert auc(score[y[1500:]], score[~y[1500:]]) > 0.7  # 0.76 is the best
    jets = prongs(60)
    weights, others = (
        _fitted(jets, JetTraining(epochs=2, batch=16, min_steps=1, robust=each)) for each in (kind, None)
    )
    assert all(torch.isfinite(v).all() for v in weights.values())
    assert any(not torch.equal(weights[name], others[name]) for name in weights)


def _fitted(jets: Any, settings: JetTraining) -> dict[str, Any]:
    model = network(jets, mode="classifier")
    losses = mixed(model, Mix(generate=0), class_weights(np.asarray(jets.pid), 2))
    groups = [{"params": list(model.net.parameters()), "lr": settings.learning_rate}]
    rows, source = np.arange(60), Source(model, jets, labels_for(KINDS, jets))
    fit(model.net, groups, losses, source, rows[:48], rows[48:], settings, 1, reach=reach(model.scales))
    return dict(model.net.state_dict())


def test_inputs_that_cannot_move_are_refused_and_weights_are_not() -> None:
    x, y = (t.float() for t in events(64))
    net = torch.nn.Linear(5, 1)

    def loss(x: Any, y: Any) -> Any:
        return BCE(net(x)[:, 0], y)

    with pytest.raises(ToolError, match="cannot move"):
        train(net, loss, (x, y), (x, y), Training(epochs=1, robust="fgsm"), 1)
    train(net, loss, (x, y), (x, y), Training(epochs=1, robust="sam"), 1)


@pytest.mark.parametrize(
    "settings", ["fgsmm", {"kind": "fgsm", "epsilon": -1}, {"kind": "sam", "sparsity": 0.5}, {"epsilon": 0.1}]
)
def test_wrong_settings_are_refused(settings: Any) -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(Robust).validate_python(settings)
    with pytest.raises(ValidationError):
        Mlp(robust=settings)


def quadratic(a: Any) -> Callable[[Any], Any]:
    return lambda x: (x @ a * x).sum(dim=1) / 2


def test_curvatures_of_a_quadratic_loss_are_its_largest_eigenvalue() -> None:
    rng = np.random.default_rng(4)
    root = rng.normal(size=(8, 8))
    for shift in (0.0, -30.0):  # with the shift, the largest in size is negative
        a = root @ root.T + shift * np.eye(8)
        assert (np.linalg.eigvalsh(a)[0] < -np.linalg.eigvalsh(a)[-1]) == (shift < 0)
        w, matrix = torch.nn.Parameter(torch.zeros(8, dtype=torch.float64)), torch.as_tensor(a)
        largest = np.linalg.eigvalsh(a)[-1]
        assert weight_curvature(lambda: w @ matrix @ w / 2, [w]) == pytest.approx(largest, rel=1e-3)  # noqa: B023
        found = input_curvature(torch.as_tensor(rng.normal(size=(3, 8))), quadratic(matrix))
        np.testing.assert_allclose(found, largest, rtol=1e-3)


def test_curvatures_of_a_logistic_model_have_closed_forms() -> None:
    x, y = events()
    p = torch.sigmoid(x @ W)
    expected = p * (1 - p)
    torch.testing.assert_close(input_curvature(x, lambda z: logistic(z, y)), expected * (W**2).sum(), rtol=1e-4, atol=0)
    w = torch.nn.Parameter(W.clone())
    hessian = (x.T * expected) @ x / len(x)
    found = weight_curvature(lambda: BCE(x @ w, y), [w])
    assert found == pytest.approx(float(torch.linalg.eigvalsh(hessian)[-1]), rel=1e-4)


def test_ascents_of_linear_losses_and_the_scale_of_layers() -> None:
    x, y = events()
    units = torch.tensor([1.0, 2.0, 1.0, 0.0, 0.5], dtype=torch.float64)
    rise = input_ascent(x, lambda z: z @ W, units, steps=20, size=0.01)
    assert rise == pytest.approx(20 * 0.01 * float((units * W).norm()), rel=1e-9)
    torch.manual_seed(2)
    net = torch.nn.Sequential(
        torch.nn.Linear(5, 8, bias=False), torch.nn.ReLU(), torch.nn.Linear(8, 1, bias=False)
    ).double()
    rises, curvatures = [], []
    for factor in (1.0, 4.0):
        with torch.no_grad():
            net[0].weight *= factor
            net[2].weight /= factor
        before = [p.clone() for p in net.parameters()]
        rises.append(weight_ascent(net, lambda: BCE(net(x)[:, 0], y), steps=10))
        assert all(torch.equal(p, old) for p, old in zip(net.parameters(), before, strict=True))
        curvatures.append(weight_curvature(lambda: BCE(net(x)[:, 0], y), list(net.parameters())))
    assert rises[0] > 0
    assert rises[1] == pytest.approx(rises[0], rel=1e-6)
    assert curvatures[1] != pytest.approx(curvatures[0], rel=0.1)  # what the ascent is for
