"""The dual classifier: who sees what, muon pairs with a known optimum, and the search that offers it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from benchmarks.muon_pairs import FEATURES, best, pairs
from tools.anomaly import classify
from tools.anomaly.dual import Dual
from tools.anomaly.mlp import Mlp
from tools.contract import ToolError
from tools.events.parquet import write_events
from tools.events.table import derive
from tools.metrics import auc

SETTINGS: dict[str, Any] = {"epochs": 15, "batch": 256, "validation_fraction": 0.2, "best_epochs": 5}


def test_the_best_score_of_muon_pairs_is_their_likelihood_ratio() -> None:
    x, is_z = pairs(40_000, 5)
    m, pt, (pt1, pt2, eta1, eta2, phi1, phi2) = x[:, 0], x[:, 1], x[:, 2:].T
    np.testing.assert_allclose(2 * np.exp(pt1 + pt2) * (np.cosh(eta1 - eta2) - np.cos(phi1 - phi2)), m**2, rtol=1e-9)
    momentum = np.exp(pt1 + 1j * phi1) + np.exp(pt2 + 1j * phi2)
    np.testing.assert_allclose(np.abs(momentum), pt, rtol=1e-9)
    assert auc(pt[is_z], pt[~is_z]) == pytest.approx(0.5, abs=4 * 0.003)
    score = best(m, pt)
    # A ratio of densities r has mean 1 over the denominator's events, and 1/r over the numerator's.
    for ratio in (np.exp(score[~is_z]), np.exp(-score[is_z])):
        assert ratio.mean() == pytest.approx(1, abs=4 * ratio.std() / len(ratio) ** 0.5)
    # Among events with about the same score, its value is the odds.
    for low, high in ((-3, -2), (-0.5, 0.5), (1, 2)):
        here = (score > low) & (score < high)
        p = 1 / (1 + np.exp(-score[here]))
        assert is_z[here].mean() == pytest.approx(p.mean(), abs=4 * 0.5 / here.sum() ** 0.5)


def test_few_pairs_teach_the_dual_classifier_more_than_either_subnet_alone() -> None:
    x, y = pairs(6000, 1)
    fresh, is_z = pairs(50_000, 2)
    networks = {
        "invariant": (Mlp(**SETTINGS), [0]),
        "free": (Mlp(**SETTINGS), list(range(1, 8))),
        "dual": (Dual(invariant=["m"], breaking=["pt"], **SETTINGS).of(FEATURES), list(range(8))),
    }
    area = {"best": auc(*(best(fresh[each, 0], fresh[each, 1]) for each in (is_z, ~is_z)))}
    for name, (network, columns) in networks.items():
        score = network.log_odds(x[:, columns], y, fresh[:, columns], 1)
        area[name] = auc(score[is_z], score[~is_z])
    assert area["best"] > area["dual"] > area["invariant"] > area["free"] + 0.05, area
    assert area["best"] - area["invariant"] > 0.02  # there is something to gain


def test_each_subnet_sees_its_own_features_only() -> None:
    """With the factor all on one side, only that side's features count."""
    net = Dual(invariant=["b", "d"], breaking=["a"], hidden=8).of(["a", "b", "c", "d"]).build(4)
    x = torch.randn(50, 4)
    for side, seen in ((50.0, [1, 3]), (-50.0, [0, 2])):
        with torch.no_grad():
            net.factor[-1].weight.zero_()
            net.factor[-1].bias.copy_(torch.tensor([side, -side]))
        for j in range(4):
            other = x.clone()
            other[:, j] += 1.0
            assert torch.equal(net(other), net(x)) == (j not in seen), (side, j)


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"invariant": ["mj1", "mass"]}, "classifier.dual.invariant=.*'mass'.*some of the features mj1"),
        ({"invariant": ["mj1"], "breaking": ["pt"]}, "classifier.dual.breaking"),
        ({"invariant": ["mj1", "delta_mj"]}, "not all of the features"),
        ({"invariant": []}, "invariant"),
        ({}, "invariant"),
    ],
)
def test_names_that_are_no_features_are_refused(settings: Any, match: str) -> None:
    request = {"events": "e.parquet", "template": "t.parquet", "window": (3.3, 3.7), "features": ["mj1", "delta_mj"]}
    with pytest.raises(ToolError, match=match):
        classify(**request, classifier={"kind": "dual", **settings})


def test_the_search_offers_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, toy: Any) -> None:
    monkeypatch.chdir(tmp_path)
    columns, is_signal = toy(20_000, n_signal=200, seed=11)
    background = toy(6000, seed=12)[0]
    names = ["mj1", "delta_mj", "tau21_j1", "tau21_j2"]
    write_events(Path("events.parquet"), columns)
    write_events(Path("template.parquet"), {"mjj": background["mjj"], **derive(background, names)})
    request: dict[str, Any] = {"events": "events.parquet", "template": "template.parquet", "window": (3.3, 3.7)}
    chosen = {"kind": "dual", "invariant": ["mj1", "delta_mj"], "epochs": 10, "robust": "fgsm"}
    result = classify(**request, features=names, folds=2, ensemble=1, classifier=chosen)
    assert result.argos > 0.05
    assert is_signal.sum() == 200
