"""The networks on a GPU: what the CPU trained gives the same numbers there, and training there learns the same."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tools import training
from tools.anomaly import mlp, template
from tools.anomaly.data import Sidebands
from tools.anomaly.diffusion import Diffusion
from tools.anomaly.flow import MaskedFlow, SplineFlow
from tools.anomaly.flow_matching import FlowMatching
from tools.anomaly.mlp import Mlp
from tools.events.parquet import write_events

Toy = Callable[..., tuple[dict[str, np.ndarray], np.ndarray]]
GPU = "cuda"
WINDOW = (3.3, 3.7)
FIELD: dict[str, Any] = {"hidden": 32, "blocks": 2, "epochs": 6, "batch": 512, "learning_rate": 5e-3}
METHODS = {
    "spline_flow": SplineFlow(hidden=32, epochs=6, batch=512, learning_rate=5e-3),
    "maf": MaskedFlow(transforms=4, hidden=32, epochs=6, batch=512, learning_rate=5e-3),
    "flow_matching": FlowMatching(**FIELD),
    "diffusion": Diffusion(**FIELD),
    "partial diffusion": Diffusion(**FIELD, partial=1.0),
}


@pytest.fixture(autouse=True)
def gpu() -> None:
    import torch

    if GPU == "cuda" and not torch.cuda.is_available():
        pytest.skip("no CUDA device (or a torch without CUDA): torch.cuda.is_available() is false")


@pytest.fixture
def on(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Where networks are trained from here on."""

    def choose(device: str) -> None:
        for module in (training, mlp):
            monkeypatch.setattr(module, "device", lambda: device)

    return choose


@pytest.fixture(scope="module")
def sidebands() -> Sidebands:
    rng = np.random.default_rng(1)
    mjj = rng.uniform(2.6, 4.4, 16_000)
    mjj = mjj[(mjj < WINDOW[0]) | (mjj >= WINDOW[1])]
    x = 0.2 + 0.1 * (mjj - 3.5) + 0.05 * rng.standard_normal(len(mjj))
    return Sidebands(np.column_stack([x, 2 * x + 0.1 * rng.standard_normal(len(mjj))]), mjj, WINDOW)


@pytest.mark.gpu
@pytest.mark.parametrize("name", METHODS)
def test_a_network_gives_the_same_events_on_both_devices(name: str, sidebands: Sidebands, on: Any) -> None:
    """Noise is drawn by numpy, so that events differ by the rounding of float32 alone."""
    on("cpu")
    here = METHODS[name].fit(sidebands, seed=1)
    there = dataclasses.replace(here, model=copy.deepcopy(here.model).to(GPU), device=GPU)
    mjj = np.random.default_rng(2).uniform(*WINDOW, 5000)
    one, other = here.sample(mjj, seed=3), there.sample(mjj, seed=3)
    assert one.std(axis=0) == pytest.approx([0.051, 0.143], rel=0.2)
    difference = np.abs(one - other) / one.std(axis=0)
    assert np.median(difference) < 1e-5
    assert difference.max() < 1e-2  # in the tails an inverse magnifies rounding
    if name in ("spline_flow", "maf"):
        z, again = (fitted.latent(sidebands.features, sidebands.mjj) for fitted in (here, there))
        assert np.median(np.abs(z - again)) < 1e-5
        np.testing.assert_allclose(z, again, atol=1e-2)


@pytest.mark.gpu
@pytest.mark.parametrize("name", ["spline_flow", "maf", "flow_matching"])
def test_training_there_learns_as_much(name: str, sidebands: Sidebands, on: Any) -> None:
    """The start is the same, the order of the batches is not: losses and means agree within what seeds do."""
    fitted = []
    for device, seed in (("cpu", 1), ("cpu", 2), (GPU, 1)):
        on(device)
        fitted.append(METHODS[name].fit(sidebands, seed))
    assert [f.device for f in fitted] == ["cpu", "cpu", GPU]
    assert next(fitted[2].model.parameters()).device.type == GPU
    losses = [min(validation for _, validation in f.losses) for f in fitted]
    assert losses[2] == pytest.approx(losses[0], abs=3 * abs(losses[1] - losses[0]) + 0.05)
    mjj = np.random.default_rng(2).uniform(*WINDOW, 10_000)
    expected = 0.2 + 0.1 * (mjj.mean() - 3.5)
    for each in fitted:
        assert each.sample(mjj, 3)[:, 0].mean() == pytest.approx(expected, abs=0.15 * 0.05)


@pytest.mark.gpu
@pytest.mark.parametrize("kind", ["spline_flow", "maf", "flow_matching", "diffusion", "morphing", "sideband"])
def test_the_tool_says_where_it_trained(kind: str, toy: Toy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_events(Path("events.parquet"), toy(seed=3)[0])
    settings = {"flow": {"epochs": 1}} if kind == "morphing" else {} if kind == "sideband" else {"epochs": 1}
    made = template(
        events="events.parquet", window=WINDOW, method={"kind": kind, **settings}, oversample=1, closure="events"
    )
    assert made.device == ("cpu" if kind == "sideband" else GPU)
    assert np.all(np.isfinite([made.closure_auc, *np.ravel(made.losses)]))


@pytest.mark.gpu
def test_a_classifier_trained_there_knows_the_likelihood_ratio(on: Any) -> None:
    """Half N(0, 1)^2, half N((1, 0), 1)^2: the log-likelihood ratio is x1 - 1/2, on either device."""
    rng = np.random.default_rng(1)
    y, x, fresh = rng.uniform(size=12_000) < 0.5, rng.standard_normal((12_000, 2)), rng.standard_normal((4000, 2))
    x[y, 0] += 1
    central = np.all(np.abs(fresh) < 2, axis=1)
    found = []
    for device in ("cpu", GPU):
        on(device)
        found.append(Mlp(epochs=15, best_epochs=5).log_odds(x, y, fresh, seed=1)[central])
        assert np.sqrt(np.mean((found[-1] - (fresh[central, 0] - 0.5)) ** 2)) < 0.25
    assert np.sqrt(np.mean((found[0] - found[1]) ** 2)) < 0.25
