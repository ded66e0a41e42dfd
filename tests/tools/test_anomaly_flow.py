"""The conditional flow as a density: Jacobian, interpolation into a window it never saw, sampling, preprocessing."""

from __future__ import annotations

import copy
import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tools.anomaly.cathode import kde_sample
from tools.anomaly.flow import MARGIN, ConditionalFlow, FlowSettings, Scaler, train_flow
from tools.contract import ToolError

SETTINGS = FlowSettings(transforms=1, hidden=32, epochs=10, batch=1024, learning_rate=2e-2)
WINDOW = (3.3, 3.7)


def mean_of(mjj: np.ndarray) -> np.ndarray:
    return 0.2 + 0.1 * (mjj - 3.0)


WIDTH = 0.05


def gaussian_sidebands(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """(features, mjj) beside the window: a Gaussian whose mean moves with mjj, and a feature bound to it."""
    rng = np.random.default_rng(seed)
    mjj = rng.uniform(2.6, 4.6, n)
    mjj = mjj[(mjj < WINDOW[0]) | (mjj >= WINDOW[1])]
    x = mean_of(mjj) + WIDTH * rng.standard_normal(len(mjj))
    y = (x - mean_of(mjj)) / WIDTH + 0.5 * rng.standard_normal(len(mjj))
    return np.column_stack([x, y]), mjj


@pytest.fixture(scope="module")
def flow() -> ConditionalFlow:
    return train_flow(*gaussian_sidebands(30_000, 1), SETTINGS, seed=1)


def test_log_det_is_that_of_the_jacobian_and_the_inverse_inverts(flow: ConditionalFlow) -> None:
    model = copy.deepcopy(flow.model).double()
    c = torch.tensor([[-1.3], [0.0], [0.4], [1.1]], dtype=torch.float64)
    z = torch.tensor([[0.1, -0.7], [1.9, 0.3], [-2.2, 1.4], [0.0, 0.0]], dtype=torch.float64)
    for context, point in zip(c, z, strict=True):
        transform = model(context).transform
        with torch.no_grad():
            image, ladj = transform.call_and_ladj(point)
            log_prob = model(context).log_prob(point)
        jacobian = torch.autograd.functional.jacobian(transform, point)  # column by column
        assert float(ladj) == pytest.approx(float(torch.linalg.slogdet(jacobian)[1]), abs=1e-9)
        # Density by the change of variables, with the unit Gaussian written out.
        expected = -0.5 * float(image @ image) - np.log(2 * np.pi) + float(ladj)
        assert float(log_prob) == pytest.approx(expected, abs=1e-9)
        torch.testing.assert_close(transform.inv(image).detach(), point, atol=1e-7, rtol=0)


def test_the_density_is_normalised_at_every_context(flow: ConditionalFlow) -> None:
    axis = torch.linspace(-9, 9, 361)
    grid = torch.cartesian_prod(axis, axis)
    for context in (-1.5, 0.0, 1.2):
        with torch.no_grad():
            density = flow.model(torch.tensor([context])).log_prob(grid).exp()
        assert float(density.sum() * 0.05**2) == pytest.approx(1, abs=0.01)


def test_a_gaussian_is_interpolated_into_the_window_left_out_of_training(flow: ConditionalFlow) -> None:
    mjj = np.random.default_rng(2).uniform(*WINDOW, 20_000)
    x, y = flow.sample(mjj, seed=3).T
    pull = (x - mean_of(mjj)) / WIDTH
    # Sampling: 0.007 on the mean, 0.005 on the width. Training on 24,000 events and the model take a few per cent.
    assert abs(pull.mean()) < 0.1
    assert pull.std() == pytest.approx(1, abs=0.07)
    for half in (mjj < 3.5, mjj >= 3.5):  # the slope is followed: across the window it is 0.8 sigma
        assert abs(pull[half].mean()) < 0.12
    # y = pull + 0.5 noise
    assert np.corrcoef(pull, y)[0, 1] == pytest.approx(1 / np.sqrt(1.25), abs=0.03)


def test_losses_approach_the_entropy(flow: ConditionalFlow) -> None:
    features, mjj = gaussian_sidebands(20_000, 9)
    margin = 0.01 * (flow.scaler.high - flow.scaler.low)  # the density is one of the range of training
    seen = np.all((features > flow.scaler.low + margin) & (features < flow.scaler.high - margin), axis=1)
    features, mjj = features[seen], mjj[seen]
    z = flow.scaler.forward(features)
    with torch.no_grad():
        c = flow._context(mjj)
        log_p = flow.model(c).log_prob(torch.as_tensor(z, dtype=torch.float32)).numpy().astype(float)
    # Back to x: the scaler's derivative, from its definition by differences.
    step = 1e-6 * (flow.scaler.high - flow.scaler.low)
    log_p += np.log((flow.scaler.forward(features + step) - flow.scaler.forward(features - step)) / (2 * step)).sum(1)
    x, y = features.T
    pull = (x - mean_of(mjj)) / WIDTH
    truth = -0.5 * pull**2 - 2 * (y - pull) ** 2 - np.log(2 * np.pi * WIDTH * 0.5)
    kl = truth - log_p
    # Kullback-Leibler divergence: at least 0 but for its sampling error, and small.
    error = kl.std() / np.sqrt(len(kl))
    assert -4 * error < kl.mean() < 0.03


def test_same_seed_same_samples_and_all_within_the_range_of_training(flow: ConditionalFlow) -> None:
    mjj = np.linspace(2.7, 4.5, 5000)
    one, same, other = (flow.sample(mjj, seed) for seed in (5, 5, 6))
    np.testing.assert_array_equal(one, same)
    assert np.abs(one - other).max() > 0.01
    features = gaussian_sidebands(30_000, 1)[0]
    many = flow.sample(np.full(20_000, 3.5), 7)
    assert np.all(many >= features.min(axis=0))
    assert np.all(many <= features.max(axis=0))


def test_training_is_reproducible() -> None:
    features, mjj = gaussian_sidebands(3000, 4)
    quick = FlowSettings(transforms=1, hidden=8, epochs=4, batch=64, learning_rate=0.2, patience=2)
    one, same, other = (train_flow(features, mjj, quick, seed) for seed in (1, 1, 2))
    assert one.losses == same.losses
    assert one.losses != other.losses
    np.testing.assert_array_equal(one.sample(mjj[:100], 1), same.sample(mjj[:100], 1))


def test_the_epoch_of_lowest_validation_loss_is_kept() -> None:
    features, mjj = gaussian_sidebands(500, 4)
    overfit = FlowSettings(transforms=1, hidden=64, epochs=25, batch=64, learning_rate=0.03, patience=25)
    flow = train_flow(features, mjj, overfit, seed=1)
    validation = [loss for _, loss in flow.losses]
    assert validation[-1] > min(validation) + 0.05  # it does overfit
    held_out = np.random.default_rng(1).permutation(len(mjj))[: len(mjj) // 10]
    with torch.no_grad():
        z = torch.as_tensor(flow.scaler.forward(features), dtype=torch.float32)[held_out]
        loss = float(-flow.model(flow._context(mjj)[held_out]).log_prob(z).mean())
    assert loss == pytest.approx(min(validation), rel=1e-5)


def test_a_stray_draw_ends_at_the_edge_of_the_range_of_training(flow: ConditionalFlow) -> None:
    class Stray:
        def sample(self) -> torch.Tensor:
            return torch.tensor([[60.0, -60.0], [0.0, 0.0]])

    low, high = flow.scaler.low, flow.scaler.high
    drawn = dataclasses.replace(flow, model=lambda context: Stray()).sample(np.array([3.5, 3.5]), 1)
    np.testing.assert_array_equal(drawn[0], [high[0], low[1]])
    assert np.all((drawn[1] > low) & (drawn[1] < high))


@given(st.integers(0, 1000))
def test_the_scaler_inverts_and_standardises(seed: int) -> None:
    rng = np.random.default_rng(seed)
    x = np.column_stack([rng.gamma(2, 0.1, 300), rng.normal(5, 2, 300), 1e-3 * rng.uniform(size=300)])
    scaler = Scaler.of(x)
    z = scaler.forward(x)
    np.testing.assert_allclose(z.mean(axis=0), 0, atol=1e-9)
    np.testing.assert_allclose(z.std(axis=0), 1, rtol=1e-9)
    np.testing.assert_allclose(scaler.inverse(z), x, rtol=1e-9, atol=1e-12)
    assert np.all(np.diff(z[np.argsort(x[:, 0]), 0]) >= 0)
    span = x.max(axis=0) - x.min(axis=0)
    beyond = scaler.inverse(scaler.forward(x.max(axis=0) + span))  # unseen values end just beyond the edge
    assert np.all(np.abs(beyond - x.max(axis=0)) <= MARGIN * span)


def test_mjj_is_drawn_like_the_window_and_inside_it() -> None:
    rng = np.random.default_rng(8)
    falling = 3.3 + 0.4 * rng.beta(1, 1.4, 4000)
    edges = np.array([3.3, np.nextafter(3.7, 0)])
    drawn = kde_sample(np.concatenate([falling, edges]), 3.3, 3.7, 40_000, rng)
    assert np.all((drawn >= 3.3) & (drawn < 3.7))
    # The bootstrap of a mean: sigma / sqrt(40,000); a kernel of 0.01 in logit moves it far less.
    assert abs(drawn.mean() - falling.mean()) < 4 * falling.std() / 200 + 1e-4
    assert drawn.std() == pytest.approx(falling.std(), rel=0.02)
    assert len(np.unique(drawn)) > 39_000  # smoothed, not copied


def test_a_diverged_training_is_an_error() -> None:
    rng = np.random.default_rng(1)
    x, mjj = rng.normal(size=(2000, 2)), rng.uniform(2.5, 5.0, 2000)
    x[5] = np.nan  # what a runaway loss looks like, without waiting for one
    with pytest.raises(ToolError, match="diverged"):
        train_flow(x, mjj, FlowSettings(epochs=1, batch=500), 1)
