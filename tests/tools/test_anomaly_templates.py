"""The template tools: they close where nothing is wrong and say so where something is, whatever the method."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tools.anomaly import classify, latent, template
from tools.anomaly.closure import closure, control_window
from tools.anomaly.data import FEATURES, Sidebands, Windowed
from tools.anomaly.flow import SplineFlow
from tools.anomaly.template import Mixed, advice
from tools.arrays import load_arrays
from tools.events.parquet import read_columns, write_events
from tools.events.table import derive

Toy = Callable[..., tuple[dict[str, np.ndarray], np.ndarray]]
WINDOW = (3.3, 3.7)
QUICK = {"kind": "spline_flow", "transforms": 1, "hidden": 24, "epochs": 8, "batch": 1024, "learning_rate": 0.02}

COMMON = {"events": "events.parquet", "window": WINDOW}
TINY = {"epochs": 1, "batch": 1024, "hidden": 8}
BRIEF: tuple[dict[str, Any], ...] = (
    {"kind": "spline_flow", "transforms": 1, **TINY},
    {"kind": "maf", "transforms": 2, **TINY},
    {"kind": "flow_matching", **TINY},
    {"kind": "diffusion", **TINY},
    {"kind": "diffusion", "partial": 1.0, **TINY},
    {"kind": "morphing", "flow": {"transforms": 1, **TINY}},
    {"kind": "sideband"},
)


@pytest.fixture(scope="module")
def folder(toy: Toy, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("templates")
    write_events(path / "events.parquet", toy(seed=3)[0])
    return path


@pytest.fixture(autouse=True)
def here(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(folder)
    return folder


def test_cathode_closes_where_features_know_nothing_of_mjj(here: Path) -> None:
    request = {**COMMON, "oversample": 3, "seed": 2, "method": QUICK, "closure": "events"}
    result = template(**request, out="cathode.parquet")
    assert result.closure_window is None
    assert abs(result.closure_auc - 0.5) < 4 * result.closure_auc_error
    assert result.closure_auc_error < 0.012  # or the line above says nothing
    events = read_columns(here / "events.parquet")
    inside = (events["mjj"] >= WINDOW[0]) & (events["mjj"] < WINDOW[1])
    assert result.n_window == inside.sum()
    assert result.n_sidebands == (~inside).sum() - int(0.1 * (~inside).sum())
    drawn = load_arrays("cathode.parquet", "template")
    assert list(drawn) == ["mjj", *FEATURES]
    assert result.template.rows == len(drawn["mjj"]) == 3 * inside.sum()
    assert drawn["mjj"].min() >= WINDOW[0]
    assert drawn["mjj"].max() <= np.float32(WINDOW[1])
    # What it is for: in the window, template and background agree, in mjj and in the features.
    truth = derive(events, FEATURES)
    for name in FEATURES:
        expected = truth[name][inside]
        assert abs(drawn[name].mean() - expected.mean()) < 5 * expected.std() / np.sqrt(inside.sum())
    assert abs(drawn["mjj"].mean() - events["mjj"][inside].mean()) < 0.003  # sampling: 0.0015
    window = np.column_stack([truth[name][inside] for name in FEATURES])
    auc, error = closure(np.column_stack([drawn[name] for name in FEATURES]), window, seed=1)
    assert abs(auc - 0.5) < 4 * error


@pytest.mark.parametrize("method", BRIEF, ids=lambda method: method["kind"])
def test_same_request_same_template(method: dict[str, Any]) -> None:
    request = {**COMMON, "oversample": 0.5, "closure": "events", "method": method}
    one, same, other = (template(**request, seed=seed, out=f"{i}.parquet") for i, seed in enumerate((1, 1, 2)))
    assert one.template.sha256 == same.template.sha256 != other.template.sha256
    assert one.losses == same.losses
    assert one.closure_auc == same.closure_auc


def test_closure_sees_a_shift_of_a_third_of_a_width_and_no_difference_where_there_is_none() -> None:
    rng = np.random.default_rng(5)
    data = rng.normal(size=(3000, 3))
    good, bad = rng.normal(size=(3000, 3)), rng.normal([0.35, 0, 0], 1, (3000, 3))
    auc, error = closure(good, data, seed=1)
    assert abs(auc - 0.5) < 4 * error
    auc, error = closure(bad, data, seed=1)
    assert auc > 0.5 + 4 * error
    # Memorising would pass for a difference: the very same events on both sides must not.
    auc, error = closure(data, data, seed=1)
    assert auc < 0.5 + 4 * error


def test_the_sideband_template_is_the_neighbouring_bands_each_event_once(here: Path) -> None:
    events = read_columns(here / "events.parquet")
    mjj, features = events["mjj"], derive(events, FEATURES)
    near = ((mjj >= 3.05) & (mjj < 3.3)) | ((mjj >= 3.7) & (mjj < 3.95))
    inside = (mjj >= WINDOW[0]) & (mjj < WINDOW[1])
    template(**COMMON, method={"kind": "sideband", "width": 0.625}, oversample=1, out="bands.parquet")
    drawn = load_arrays("bands.parquet", "template")
    for name in FEATURES:
        assert set(drawn[name]) <= set(features[name][near].astype(np.float32).astype(float))
    rows = np.unique(np.column_stack([drawn[name] for name in FEATURES]), axis=0)
    assert len(rows) == min(near.sum(), inside.sum())


def test_closure_on_a_window_sees_what_closure_on_events_cannot(here: Path, toy: Toy) -> None:
    events = toy(seed=6)[0]
    events["mj1"] = events["mj1"] + 0.4 * events["mjj"]
    events["mj2"] = events["mj1"] + toy(seed=6)[0]["mj2"] - toy(seed=6)[0]["mj1"]
    write_events(here / "moving.parquet", events)
    moving = {**COMMON, "events": "moving.parquet", "seed": 1, "oversample": 1}
    bands = template(**moving, method="sideband")
    assert bands.closure_window is not None
    assert bands.closure_window[0] > WINDOW[1]
    flow = template(**moving, method=QUICK)
    assert abs(flow.closure_auc - 0.5) < 4 * flow.closure_auc_error
    assert bands.closure_auc > flow.closure_auc + 3 * flow.closure_auc_error


def test_the_control_window_lies_where_there_are_events() -> None:
    def windowed(mjj: np.ndarray, window: tuple[float, float]) -> Windowed:
        return Windowed(mjj[:, None], mjj, (mjj >= window[0]) & (mjj < window[1]), window)

    rng = np.random.default_rng(1)
    mjj = 2.5 + rng.exponential(0.6, 20_000)
    above = control_window(windowed(mjj, WINDOW))
    assert above is not None
    assert above[0] > WINDOW[1]
    assert above[1] / above[0] == pytest.approx(WINDOW[1] / WINDOW[0])
    below = control_window(windowed(mjj[mjj < 4.0], WINDOW))
    assert below is not None
    assert below[1] < WINDOW[0]
    assert control_window(windowed(mjj[(mjj > 3.1) & (mjj < 4.0)], WINDOW)) is None
    for edges, kept in ((above, mjj), (below, mjj[mjj < 4.0])):
        assert (
            min((kept < edges[0]).sum(), ((kept >= edges[0]) & (kept < edges[1])).sum(), (kept >= edges[1]).sum())
            >= 500
        )


def test_latent_events_are_unit_gaussian_in_the_window_and_classify_takes_them(here: Path) -> None:
    made = latent(**COMMON, flow=QUICK, closure="events", oversample=2)
    events, background = load_arrays("latent.parquet", "events"), load_arrays("template.parquet", "template")
    mjj = read_columns(here / "events.parquet")["mjj"]
    np.testing.assert_allclose(events["mjj"], mjj, rtol=1e-6)
    inside = (mjj >= WINDOW[0]) & (mjj < WINDOW[1])
    z, gauss = (np.column_stack([table[name] for name in made.features]) for table in (events, background))
    assert np.abs(z[inside].mean(axis=0)).max() < 0.15  # 2,400 events and a quick flow
    assert np.abs(np.cov(z[inside].T) - np.eye(4)).max() < 0.12
    assert np.abs(np.cov(gauss.T) - np.eye(4)).max() < 0.08
    assert made.correlation < 4 / np.sqrt((~inside).sum()) + 0.02
    scored = classify(
        events="latent.parquet", template="template.parquet", features=made.features, window=WINDOW, folds=2, ensemble=1
    )
    assert scored.scores.rows == len(mjj)
    assert scored.argos < 0.12  # no signal: nothing found
    auc, error = closure(gauss, z[inside], seed=1)
    assert abs(auc - 0.5) < 4 * error + 0.01


def test_a_mixture_draws_from_each_fit_in_turn() -> None:
    mjj, rng = np.linspace(2.5, 4.5, 4000), np.random.default_rng(1)
    sidebands = Sidebands(rng.normal(size=(4000, 2)), mjj, WINDOW)
    method = SplineFlow(transforms=1, hidden=8, epochs=1)
    mixture = Mixed(method, 3).fit(sidebands, seed=5)
    drawn = mixture.sample(mjj[:100], seed=7)
    for i, seed in enumerate((5, 1005, 2005)):
        alone = method.fit(sidebands, seed)
        np.testing.assert_array_equal(drawn[i::3], alone.sample(mjj[:100][i::3], 7 + 1000 * i))
    assert mixture.losses == [loss for part in mixture.parts for loss in part.losses]
    assert len(mixture.losses) == 3


def test_advice_is_given_where_closure_fails_by_more_than_two_errors() -> None:
    assert advice(0.518, 0.01) is None
    assert advice(0.482, 0.01) is None
    assert "2.5 errors" in (advice(0.525, 0.01) or "")
    assert "2.5 errors" in (advice(0.475, 0.01) or "")
