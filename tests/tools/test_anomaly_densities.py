"""A density learned beside the window is right inside it: a mixture of two Gaussians that move linearly with mjj."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tools.anomaly.data import Sidebands
from tools.anomaly.diffusion import Diffusion
from tools.anomaly.flow import SplineFlow
from tools.anomaly.flow_matching import FlowMatching
from tools.anomaly.morphing import Morphing
from tools.field import midpoint

WINDOW = (3.3, 3.7)
SHARE = 0.4  # of the second Gaussian
STARTS, SLOPES, WIDTH = np.array([[0.2, 0.5], [0.5, 0.3]]), np.array([[0.1, 0.0], [0.0, -0.1]]), 0.05
MIXING = WIDTH * np.array([[1.0, 0.0], [0.5, 1.0]])  # correlated within a Gaussian
FIELD: dict[str, Any] = {"hidden": 64, "blocks": 2, "epochs": 25, "batch": 1024, "learning_rate": 5e-3}
SPLINES = SplineFlow(transforms=2, hidden=48, epochs=10, batch=512, learning_rate=1e-2)
METHODS = {
    "spline_flow": SPLINES,
    "flow_matching": FlowMatching(**FIELD),
    "diffusion": Diffusion(**FIELD),
    "partial diffusion": Diffusion(**FIELD, partial=2.0),
    "morphing": Morphing(flow=SPLINES),
}


def draw(mjj: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """(features, which Gaussian) at `mjj`."""
    rng = np.random.default_rng(seed)
    second = (rng.uniform(size=len(mjj)) < SHARE).astype(int)
    centre = STARTS[second] + SLOPES[second] * (mjj - 3.5)[:, None]
    return centre + rng.standard_normal((len(mjj), 2)) @ MIXING.T, second


CORRELATION = 0.404  # of one Gaussian within 2.5 widths of its centre


def component(x: np.ndarray) -> np.ndarray:
    """Which Gaussian an event belongs to: they lie 5 widths apart."""
    return (x[:, 0] - x[:, 1] > -0.05).astype(int)


@pytest.fixture(scope="module")
def sidebands() -> Sidebands:
    mjj = np.random.default_rng(1).uniform(2.6, 4.4, 30_000)
    mjj = mjj[(mjj < WINDOW[0]) | (mjj >= WINDOW[1])]
    return Sidebands(draw(mjj, 2)[0], mjj, WINDOW)


@pytest.mark.parametrize("name", METHODS)
def test_means_covariances_and_shares_in_the_window(name: str, sidebands: Sidebands) -> None:
    fitted = METHODS[name].fit(sidebands, seed=3)
    mjj = np.random.default_rng(4).uniform(*WINDOW, 10_000)
    x = fitted.sample(mjj, seed=5)
    np.testing.assert_array_equal(x, fitted.sample(mjj, seed=5))
    assert np.abs(x - fitted.sample(mjj, seed=6)).max() > 0.01
    which = component(x)
    # Sampling takes 0.005 on the share; training on 23,000 events and the model a few per cent of everything.
    assert which.mean() == pytest.approx(SHARE, abs=0.03)
    for k in (0, 1):
        moved = x[which == k] - STARTS[k] - SLOPES[k] * (mjj[which == k] - 3.5)[:, None]
        assert np.abs(np.median(moved, axis=0)).max() < 0.15 * WIDTH
        spread = np.diff(np.percentile(moved, [16, 84], axis=0), axis=0)[0] / 2
        np.testing.assert_allclose(spread, WIDTH * np.array([1, np.sqrt(1.25)]), rtol=0.12)
        central = np.all(np.abs(moved) < 2.5 * WIDTH, axis=1)  # not what lies between the two
        assert np.corrcoef(moved[central].T)[0, 1] == pytest.approx(CORRELATION, abs=0.08)
        # It follows mjj within the window: across it, the mean moves by 0.8 widths.
        later = mjj[which == k] > 3.5
        for axis in (0, 1):
            drift = np.median(moved[later, axis]) - np.median(moved[~later, axis])
            assert abs(drift) < 0.2 * WIDTH


def test_the_mass_matters(sidebands: Sidebands) -> None:
    """What the test above would not forgive: the same events at every mass."""
    moved = draw(np.full(4000, 3.0), 1)[0][:, 0].mean() - draw(np.full(4000, 4.0), 1)[0][:, 0].mean()
    assert abs(moved) > 0.05


def test_the_midpoint_rule_is_of_second_order() -> None:
    import torch

    x, c = torch.ones(1, 1, dtype=torch.float64), torch.zeros(1, 1, dtype=torch.float64)
    errors = [
        abs(midpoint(lambda x, t, c: x * torch.cos(t), x, c, np.linspace(0, 1, n + 1)).item() - np.exp(np.sin(1)))
        for n in (20, 40, 80)
    ]
    assert errors[0] / errors[1] == pytest.approx(4, rel=0.1)
    assert errors[1] / errors[2] == pytest.approx(4, rel=0.1)
