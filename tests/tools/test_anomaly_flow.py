"""The conditional flow as a density: Jacobian, interpolation into a window it never saw, sampling, preprocessing."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tools.anomaly.data import Sidebands
from tools.anomaly.flow import ConditionalFlow, MaskedFlow, SplineFlow
from tools.anomaly.morphing import Morphing
from tools.anomaly.scaling import MARGIN, Coordinates, Scaler
from tools.anomaly.template import kde_sample
from tools.contract import ToolError

SETTINGS = SplineFlow(transforms=1, hidden=32, epochs=10, batch=1024, learning_rate=2e-2)
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


def fit(settings: SplineFlow | MaskedFlow, features: np.ndarray, mjj: np.ndarray, seed: int) -> ConditionalFlow:
    return settings.fit(Sidebands(features, mjj, WINDOW), seed)


@pytest.fixture(scope="module")
def flow() -> ConditionalFlow:
    return fit(SETTINGS, *gaussian_sidebands(30_000, 1), seed=1)


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


def test_the_maf_of_the_paper_has_the_jacobian_it_says() -> None:
    model = MaskedFlow().build(3).double()
    point, context = torch.tensor([0.3, -1.2, 0.7], dtype=torch.float64), torch.tensor([0.5], dtype=torch.float64)
    transform = model(context).transform
    jacobian = torch.autograd.functional.jacobian(transform, point)
    assert transform.call_and_ladj(point)[1].item() == pytest.approx(float(torch.linalg.slogdet(jacobian)[1]), abs=1e-9)
    assert sum(type(t).__name__ == "MaskedAutoregressiveTransform" for t in model.transform.transforms) == 15


def test_latent_is_the_inverse_of_features_and_a_unit_gaussian_that_knows_nothing_of_mjj(flow: ConditionalFlow) -> None:
    features, mjj = gaussian_sidebands(20_000, 11)
    z = flow.latent(features, mjj)
    scaler = flow.coordinates.scaler
    level = features - flow.coordinates.slope * (mjj - flow.coordinates.centre)[:, None]
    seen = np.all((level > scaler.low) & (level < scaler.high), axis=1)
    np.testing.assert_allclose(flow.features(z, mjj)[seen], features[seen], atol=2e-3)
    error = 1 / np.sqrt(len(mjj))
    # The flow itself takes a few per cent, see the Kullback-Leibler test, and a tenth of them is rounding's.
    np.testing.assert_allclose(z.mean(axis=0), 0, atol=4 * error + 0.1)
    np.testing.assert_allclose(np.cov(z.T), np.eye(2), atol=8 * error + 0.04)
    for column in z.T:
        assert abs(np.corrcoef(column, mjj)[0, 1]) < 4 * error + 0.02
    assert abs(np.corrcoef(features[:, 0], mjj)[0, 1]) > 0.7  # before, it knew


def test_morphing_is_the_identity_at_the_same_mass_and_moves_with_the_density(flow: ConditionalFlow) -> None:
    features, mjj = gaussian_sidebands(10_000, 12)
    morph = Morphing(width=0.3, flow=SETTINGS.model_copy(update={"epochs": 1})).fit(Sidebands(features, mjj, WINDOW), 1)
    morph.flow = flow
    inner = np.all(
        (features > np.percentile(features, 1, axis=0)) & (features < np.percentile(features, 99, axis=0)), 1
    )
    features, mjj = features[inner], mjj[inner]
    np.testing.assert_allclose(morph.move(features, mjj, mjj), features, atol=1e-4)
    there = np.full(len(mjj), 3.5)
    moved = morph.move(features, mjj, there)
    np.testing.assert_allclose(morph.move(moved, there, mjj), features, atol=1e-3)  # and back
    # A Gaussian of fixed width moves by the difference of its means.
    shift = moved[:, 0] - features[:, 0] - (mean_of(there) - mean_of(mjj))
    assert abs(np.median(shift)) < 0.1 * WIDTH
    assert np.std(shift) < 0.2 * WIDTH
    near = (morph.mjj >= 3.0) & (morph.mjj < 4.0)
    assert near.all()
    x = morph.sample(np.full(4000, 3.5), 3)[:, 0]
    assert x.mean() == pytest.approx(mean_of(np.array(3.5)), abs=0.1 * WIDTH)
    assert x.std() == pytest.approx(WIDTH, rel=0.1)


def test_the_density_is_normalised_at_every_context(flow: ConditionalFlow) -> None:
    axis = torch.linspace(-9, 9, 361)
    grid = torch.cartesian_prod(axis, axis)
    for context in (-1.5, 0.0, 1.2):
        with torch.no_grad():
            density = flow.model(torch.tensor([context])).log_prob(grid).exp()
        assert float(density.sum() * 0.05**2) == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize("kind", ["spline_flow", "maf"])
def test_a_gaussian_is_interpolated_into_the_window_left_out_of_training(kind: str, flow: ConditionalFlow) -> None:
    if kind == "maf":
        settings = MaskedFlow(transforms=4, hidden=32, epochs=8, batch=512, learning_rate=5e-3)
        flow = fit(settings, *gaussian_sidebands(30_000, 1), seed=1)
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
    coordinates, scaler = flow.coordinates, flow.coordinates.scaler
    margin = 0.01 * (scaler.high - scaler.low)  # the density is one of the range of training
    level = features - coordinates.slope * (mjj - coordinates.centre)[:, None]
    seen = np.all((level > scaler.low + margin) & (level < scaler.high - margin), axis=1)
    features, mjj = features[seen], mjj[seen]
    with torch.no_grad():
        z, c = flow.coordinates.tensors(features, mjj, "cpu")
        log_p = flow.model(c).log_prob(z).numpy().astype(float)
    # Back to x: the derivative of the coordinates, from their definition by differences.
    step = 1e-6 * (scaler.high - scaler.low)
    log_p += np.log(
        (coordinates.forward(features + step, mjj) - coordinates.forward(features - step, mjj)) / (2 * step)
    ).sum(1)
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
    quick = SplineFlow(transforms=1, hidden=8, epochs=4, batch=64, learning_rate=0.2, patience=2)
    one, same, other = (fit(quick, features, mjj, seed) for seed in (1, 1, 2))
    assert one.losses == same.losses
    assert one.losses != other.losses
    np.testing.assert_array_equal(one.sample(mjj[:100], 1), same.sample(mjj[:100], 1))


def test_the_epoch_of_lowest_validation_loss_is_kept() -> None:
    features, mjj = gaussian_sidebands(500, 4)
    overfit = SplineFlow(transforms=1, hidden=64, epochs=25, batch=64, learning_rate=0.03, patience=25)
    flow = fit(overfit, features, mjj, seed=1)
    validation = [loss for _, loss in flow.losses]
    assert validation[-1] > min(validation) + 0.02  # it does overfit, by 0.1 or so as rounding goes
    held_out = np.random.default_rng(1).permutation(len(mjj))[: len(mjj) // 10]
    with torch.no_grad():
        z, c = flow.coordinates.tensors(features[held_out], mjj[held_out], "cpu")
        loss = float(-flow.model(c).log_prob(z).mean())
    assert loss == pytest.approx(min(validation), rel=1e-5)


def test_a_stray_draw_ends_at_the_edge_of_the_range_of_training(flow: ConditionalFlow) -> None:
    low, high = flow.coordinates.seen
    far, near = flow.features(np.array([[60.0, -60.0], [0.0, 0.0]]), np.array([3.5, 3.5]))  # the tails are linear
    assert np.all((far >= low) & (far <= high))
    assert np.all((near > low) & (near < high))


def test_coordinates_take_out_a_linear_trend_and_put_it_back() -> None:
    features, mjj = gaussian_sidebands(20_000, 3)
    coordinates = Coordinates.of(features, mjj)
    x = coordinates.forward(features, mjj)
    # A Gaussian's 1% quantile has 3.7 times the error of its mean.
    assert coordinates.slope[0] == pytest.approx(0.1, abs=4 * 3.7 * WIDTH / np.sqrt(len(mjj)))
    assert abs(np.corrcoef(x[:, 0], mjj)[0, 1]) < 0.06
    np.testing.assert_allclose(coordinates.inverse(x, mjj), features, atol=1e-9)
    moved = coordinates.inverse(x, mjj + 0.1)[:, 0] - features[:, 0]
    assert np.median(moved) == pytest.approx(0.1 * coordinates.slope[0], rel=1e-6)


@pytest.mark.parametrize("shift", [0.0, 0.1])
def test_an_edge_that_moves_is_followed_and_one_that_stands_is_left_alone(shift: float) -> None:
    """An exponential whose scale grows with mjj, as a jet mass does: the 1% quantile is 0.01 of the scale."""
    rng = np.random.default_rng(4)
    mjj = rng.uniform(2.6, 4.6, 40_000)
    scale = 0.1 + 0.03 * mjj
    features = (scale * rng.exponential(size=len(mjj)) + shift * mjj)[:, None]
    assert Coordinates.of(features, mjj).slope[0] == pytest.approx(shift + 0.01 * 0.03, abs=2e-4)


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
        fit(SplineFlow(epochs=1, batch=500), x, mjj, 1)
