"""Background templates: CATHODE closes where nothing is wrong, the sideband template takes its bands."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tools.anomaly import cathode_template, sideband_template
from tools.anomaly.closure import closure
from tools.anomaly.data import FEATURES
from tools.arrays import load_arrays
from tools.events.parquet import read_columns, write_events
from tools.events.table import derive

Toy = Callable[..., tuple[dict[str, np.ndarray], np.ndarray]]
WINDOW = (3.3, 3.7)
QUICK = {"transforms": 1, "hidden": 24, "epochs": 8, "batch": 1024, "learning_rate": 0.02}


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
    request = {"events": "events.parquet", "window": WINDOW, "oversample": 3, "seed": 2, "flow": QUICK}
    result = cathode_template(**request, out="cathode.parquet")
    assert abs(result.closure_auc - 0.5) < 4 * result.closure_auc_error
    assert result.closure_auc_error < 0.012  # or the line above says nothing
    events = read_columns(here / "events.parquet")
    inside = (events["mjj"] >= WINDOW[0]) & (events["mjj"] < WINDOW[1])
    assert result.n_window == inside.sum()
    assert result.n_sidebands == (~inside).sum() - int(0.1 * (~inside).sum())
    template = load_arrays("cathode.parquet", "template")
    assert list(template) == ["mjj", *FEATURES]
    assert result.template.rows == len(template["mjj"]) == 3 * inside.sum()
    assert template["mjj"].min() >= WINDOW[0]
    assert template["mjj"].max() <= np.float32(WINDOW[1])
    # What it is for: in the window, template and background agree, in mjj and in the features.
    truth = derive(events, FEATURES)
    for name in FEATURES:
        expected = truth[name][inside]
        assert abs(template[name].mean() - expected.mean()) < 5 * expected.std() / np.sqrt(inside.sum())
    assert abs(template["mjj"].mean() - events["mjj"][inside].mean()) < 0.003  # sampling: 0.0015
    window = np.column_stack([truth[name][inside] for name in FEATURES])
    auc, error = closure(np.column_stack([template[name] for name in FEATURES]), window, seed=1)
    assert abs(auc - 0.5) < 4 * error


def test_same_request_same_template() -> None:
    request = {"events": "events.parquet", "window": WINDOW, "oversample": 0.5, "flow": {**QUICK, "epochs": 1}}
    one, same, other = (cathode_template(**request, seed=seed, out=f"{i}.parquet") for i, seed in enumerate((1, 1, 2)))
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


def test_the_sideband_template_is_the_neighbouring_bands_unchanged(here: Path) -> None:
    result = sideband_template(events="events.parquet", window=WINDOW, width=0.25, out="bands.parquet")
    events = read_columns(here / "events.parquet")
    below = (events["mjj"] >= 3.05) & (events["mjj"] < 3.3)
    above = (events["mjj"] >= 3.7) & (events["mjj"] < 3.95)
    assert (result.n_below, result.n_above) == (below.sum(), above.sum())
    template = load_arrays("bands.parquet", "template")
    np.testing.assert_array_equal(template["mjj"], events["mjj"][below | above])
    for name, values in derive(events, FEATURES).items():
        np.testing.assert_allclose(template[name], values[below | above], rtol=1e-6, atol=1e-7)
