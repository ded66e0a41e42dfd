"""CATHODE on constituents: the frame hides mjj and nothing else, generated pairs have the mjj asked for, a planted
signal comes up, and a template that is wrong is warned of."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.tools.dijet_toys import WINDOW, dijets
from tests.tools.jet_toys import SMALL, prongs
from tools.anomaly import jet_classify, jet_template
from tools.anomaly.dijets import FRAME, Dijets, axes, dijets_of, framed, log_mass, measured, read_dijet_file
from tools.anomaly.jets_networks import FrozenWeights
from tools.arrays import load_arrays
from tools.contract import ToolError
from tools.events.jets_lhco import pair_mass
from tools.jet_model.jets import Jets, concatenated
from tools.jet_model.jets_file import write_jets
from tools.jet_model.model import Architecture, Scales, build
from tools.jet_model.weights import save
from tools.metrics import auc

QUICK: dict[str, Any] = {"epochs": 6, "batch": 64, "learning_rate": 1.5e-3, "min_steps": 16}
TUNED: dict[str, Any] = {"kind": "tuned", "training": {**QUICK, "epochs": 2, "learning_rate": 3e-4}}
CLASSIFIERS = pytest.mark.parametrize(
    ("classifier", "ensemble"),
    [pytest.param(TUNED, 1, id="tuned", marks=pytest.mark.slow), pytest.param("frozen", 2, id="frozen")],
)
BANDS = {"kind": "sideband", "width": 1.25}


def pairs(jets: Jets) -> Dijets:
    return dijets_of(jets.take(slice(0, None, 2)), jets.take(slice(1, None, 2)))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("dijets")
    write_jets(path / "signal.h5", dijets(5000, 150, seed=1)[0])
    write_jets(path / "wide.h5", dijets(800, seed=2, wide=2.5)[0])
    write_jets(path / "few.h5", dijets(300, seed=3)[0])
    jets = dijets(200, seed=4)[0]
    small = {**SMALL, "conditions": 3, "mode": "pretrain"}
    save(path / "small.safetensors", build(Architecture(kinds=("a", "b"), **small), Scales.of(jets, None), seed=1))
    small["mode"] = "generator"
    save(path / "generator.safetensors", build(Architecture(kinds=("a", "b"), **small), Scales.of(jets, None), seed=1))
    return path


@pytest.fixture(autouse=True)
def here(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)


def test_the_frame_takes_away_pt_eta_and_phi_and_keeps_the_rest() -> None:
    jets = prongs(50)
    there = framed(jets)
    pt, mass = jets.pt_and_mass()
    np.testing.assert_allclose(there.pt_and_mass()[0], FRAME, rtol=1e-5)
    np.testing.assert_allclose(there.pt_and_mass()[1] / FRAME, mass / pt, rtol=2e-3, atol=1e-5)
    x = jets.particles.copy()
    moved = np.where(jets.mask[:, :, None], x + np.array([0.4, -0.3, 1.0, 1.1], dtype=np.float32), 0)
    np.testing.assert_allclose(framed(replace(jets, particles=moved)).particles, there.particles, atol=2e-5)
    np.testing.assert_allclose(framed(there).particles, there.particles, atol=2e-5)
    assert jets.jet is not None
    back = measured(there, jets.jet.astype(np.float64))
    np.testing.assert_allclose(framed(back).particles, there.particles, atol=2e-5)
    np.testing.assert_allclose(back.pt_and_mass()[0], jets.jet[:, 0], rtol=1e-4)


def test_pairs_of_jets_have_the_mass_asked_for() -> None:
    rng = np.random.default_rng(1)
    mjj = rng.uniform(2.5, 5.5, 100)
    kinematics = np.column_stack([rng.normal(-2, 0.5, (100, 2)), np.full((100, 2), 30.0), rng.normal(0, 0.1, 100),
                                  rng.normal(0, 1, (100, 2))])  # fmt: skip
    made = axes(kinematics, mjj)
    np.testing.assert_allclose(pair_mass(made), mjj, rtol=1e-10)
    np.testing.assert_allclose(np.log(made[:, 0, 0] / made[:, 1, 0]), kinematics[:, 4], atol=1e-12)
    np.testing.assert_allclose(made[:, :, 3] / made[:, :, 0], np.exp(kinematics[:, :2]))
    # Massless jets of one pt: mjj = 2 pt cosh(delta eta / 2).
    kinematics[:, :2], kinematics[:, 4] = -20, 0
    expected = 500 * mjj / np.cosh((kinematics[:, 5] - kinematics[:, 6]) / 2)
    np.testing.assert_allclose(axes(kinematics, mjj)[:, 0, 0], expected, rtol=1e-6)


@CLASSIFIERS
def test_a_planted_signal_comes_up_and_nothing_is_warned_of(folder: Path, classifier: Any, ensemble: int) -> None:
    jets, is_signal = dijets(5000, 150, seed=1)
    made = jet_template(jets="signal.h5", window=WINDOW, method=BANDS, oversample=1)
    assert made.closure_window is not None
    assert made.closure_auc is not None
    assert made.closure_auc_error is not None
    assert abs(made.closure_auc - 0.5) < 4 * made.closure_auc_error
    found = jet_classify(
        jets="signal.h5", window=WINDOW, template="template.h5", control="template_control.h5",
        folds=2, classifier=classifier, ensemble=ensemble,
    )  # fmt: skip
    score, mjj = load_arrays("scores.parquet", "scores")["score"], pairs(jets).mjj
    inside = (mjj >= WINDOW[0]) & (mjj < WINDOW[1])
    assert auc(score[inside & is_signal], score[inside & ~is_signal]) > 0.9
    assert found.closure is not None
    assert found.closure.n_data == ((mjj >= made.closure_window[0]) & (mjj < made.closure_window[1])).sum()
    assert found.warning is None, found.closure
    assert (found.n_window, found.n_template) == (inside.sum(), made.template.events)


def test_a_template_of_other_jets_is_warned_of() -> None:
    found = jet_classify(
        jets="signal.h5", window=WINDOW, template="wide.h5", control="wide.h5", closure_window=(4.0, 5.0), folds=2,
        classifier="frozen", ensemble=2,
        out="wide.parquet", out_template="wide_template.parquet",
    )  # fmt: skip
    assert found.warning is not None
    assert "does not close" in found.warning
    assert found.closure is not None
    assert found.closure.auc > 0.6


def test_frozen_weights_see_the_same_of_an_event_wherever_it_stands() -> None:
    """Jets of one length come in one part, so parts are not in the order of events; copies are seen once."""
    events = pairs(dijets(60, seed=5)[0])
    turned = events.take(np.arange(len(events))[::-1])
    store, other = (FrozenWeights(start="small.safetensors").on([each]) for each in (events, turned))
    np.testing.assert_allclose(store.table, other.table[::-1], atol=1e-5)
    assert np.unique(store.table, axis=0).shape == store.table.shape
    others = pairs(dijets(20, seed=7)[0])
    last = turned.take(np.arange(3))
    mixed = Dijets(
        concatenated(last.light, others.light),
        concatenated(last.heavy, others.heavy),
        np.concatenate([last.axes, others.axes]),
        np.concatenate([last.mjj, others.mjj]),
    )
    twice = FrozenWeights(start="small.safetensors").on([events, mixed, others])
    n = len(events)
    np.testing.assert_array_equal(twice.rows[1][:, 0], [n - 1, n - 2, n - 3, *range(n, n + len(others))])
    table = FrozenWeights(start="small.safetensors").on([others]).table
    for rows in (twice.rows[1][3:, 0], twice.rows[2][:, 0]):
        np.testing.assert_allclose(twice.table[rows], table, atol=1e-5)


@pytest.mark.slow
def test_generated_events_lie_in_the_window_and_look_like_their_kind(folder: Path) -> None:
    request = {
        "jets": "signal.h5", "window": WINDOW, "oversample": 0.5, "max_particles": 24,
        "method": {"kind": "generate", "start": "small.safetensors", "training": {**QUICK, "epochs": 2}, "steps": 6,
                   "kinematics": {"epochs": 6, "transforms": 1, "hidden": 16}},
    }  # fmt: skip
    made = jet_template(**request, out="made.h5")
    assert made.matched is not None
    assert made.matched.parameters_loaded > 0.5 * made.matched.parameters
    assert made.closure_window is not None
    assert made.history[-1].loss < made.history[0].loss
    events = read_dijet_file("made.h5", "template", 24)
    assert len(events) == made.template.events == int(0.5 * made.n_window)
    assert WINDOW[0] <= events.mjj.min() < events.mjj.max() < WINDOW[1]
    control = read_dijet_file("made_control.h5", "control", 24)
    assert made.closure_window[0] <= control.mjj.min() < control.mjj.max() < made.closure_window[1]
    true = pairs(dijets(5000, 150, seed=1)[0])
    for columns, within in ((slice(2, 4), 1.0), (slice(4, 7), 0.1)):
        difference = events.kinematics()[:, columns].mean(axis=0) - true.kinematics()[:, columns].mean(axis=0)
        assert np.all(np.abs(difference) < within)
    assert np.all(events.axes[:, 0, 3] <= events.axes[:, 1, 3] * (1 + 1e-5))
    np.testing.assert_allclose(log_mass(events.heavy), np.log(events.axes[:, 1, 3] / events.axes[:, 1, 0]), atol=0.02)


@pytest.mark.parametrize(
    ("changes", "field", "words"),
    [
        ({"jets": "none.h5"}, "jets", "no such file"),
        ({"jets": "few.h5"}, "window", "at least 500 each are needed"),
        ({"window": (1.0, 9.0)}, "window", "0 below and 0 above"),
        ({"window": (3.7, 3.3)}, "window", "0 < lower < upper"),
        ({"jets": "single.h5"}, "jets", "dijets"),
        ({"jets": "no_axes.h5"}, "jets", "without mjj"),
        ({"method": {"kind": "generate", "start": "none.safetensors"}}, "checkpoint", "no such file"),
        ({"out": "template.parquet"}, "out", ".h5"),
        ({"out_control": "template.h5"}, "out_control", "a file other than"),
        ({"max_particles": 4}, "max_particles", "greater than or equal"),
    ],
)
def test_bad_templates_are_refused(changes: dict[str, Any], field: str, words: str) -> None:
    write_jets(Path("single.h5"), prongs(300).take(np.random.default_rng(1).permutation(300)))
    write_jets(Path("no_axes.h5"), replace(dijets(100)[0], jet=None))
    with pytest.raises(ToolError) as caught:
        jet_template(**{"jets": "signal.h5", "window": WINDOW, "oversample": 1, **changes})
    assert caught.value.field == field
    assert words in caught.value.allowed


@pytest.mark.parametrize(
    ("changes", "field", "words"),
    [
        ({"template": "none.h5"}, "template", "no such file"),
        ({"template": "tiny.h5"}, "template", "at least 25"),
        ({"closure_window": (4.0, 5.0)}, "anomaly.jet_classify", "goes with control"),
        ({"control": "signal.h5", "closure_window": (3.6, 4.0)}, "closure_window", "beside"),
        ({"control": "signal.h5", "closure_window": (8.0, 9.0)}, "closure_window", "holds 0 events"),
        ({"classifier": {"kind": "tuned", "start": "signal.h5"}}, "checkpoint", "safetensors"),
        ({"classifier": {"kind": "frozen", "start": "generator.safetensors"}}, "classifier.start", "have none"),
        ({"classifier": "trees"}, "classifier", "frozen"),
    ],
)
def test_bad_classifications_are_refused(changes: dict[str, Any], field: str, words: str) -> None:
    write_jets(Path("tiny.h5"), dijets(10)[0])
    with pytest.raises(ToolError) as caught:
        jet_classify(**{"jets": "signal.h5", "window": WINDOW, "template": "signal.h5", **changes})
    assert caught.value.field == field
    assert words in caught.value.allowed
