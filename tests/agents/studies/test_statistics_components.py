"""Variance components and ICC against published tables, the textbook's mean squares, REML and simulation."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from statsmodels.regression.mixed_linear_model import MixedLM

from agents.studies.statistics.components import REST, components, icc1, shares

# Shrout and Fleiss (1979), table 2: six targets, four judges; table 4 gives ICC(1,1) = .17.
TARGETS = np.array([[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]], float)


def test_icc_of_the_table_of_shrout_and_fleiss() -> None:
    found = icc1(TARGETS.ravel(), np.repeat(np.arange(6), 4))
    assert found.value == pytest.approx(0.166, abs=5e-4)
    assert found.interval == pytest.approx((-0.133, 0.723), abs=1e-3)  # as the R package psych gives it


def test_icc_at_its_ends() -> None:
    cluster = np.repeat(np.arange(4), 3)
    assert icc1(np.repeat([1.0, 2.0, 3.0, 5.0], 3), cluster).value == 1.0
    assert icc1(np.tile([1.0, 2.0, 3.0], 4), cluster).value == pytest.approx(-1 / 2)
    for values, where in ((np.ones(12), cluster), (np.arange(12.0), np.zeros(12, int)), (np.arange(4.0), np.arange(4))):
        assert math.isnan(icc1(values, where).value)


def test_icc_of_unequal_data_sets_is_unbiased_enough() -> None:
    random, cluster = np.random.default_rng(2), np.repeat(np.arange(40), np.tile([2, 5, 9, 4], 10))
    found = [icc1(random.normal(0, 2, 40)[cluster] + random.normal(0, 1, 200), cluster) for _ in range(200)]
    assert np.mean([icc.value for icc in found]) == pytest.approx(0.8, abs=0.02)


def crossed(b: int, w: int, d: int, r: int) -> dict[str, np.ndarray]:
    backend, wording, dataset, _ = (axis.ravel() for axis in np.indices((b, w, d, r)))
    return {"backend": backend, "wording": wording, "data set": dataset}


def test_equal_numbers_give_the_mean_squares_of_a_textbook() -> None:
    """Two-way with interaction: s2 = MS_rest, s2_ab = (MS_ab - MS_rest) / r, s2_a = (MS_a - MS_ab) / (r d), ..."""
    b, d, r = 4, 5, 3
    factors = crossed(b, 1, d, r)
    y = np.random.default_rng(1).normal(size=(b, d, r)) + np.arange(b)[:, None, None] + 2 * np.arange(d)[None, :, None]
    cells, rows, columns, all_ = y.mean(2), y.mean((1, 2)), y.mean((0, 2)), y.mean()
    ms_rest = ((y - cells[:, :, None]) ** 2).sum() / (b * d * (r - 1))
    ms_ab = r * ((cells - rows[:, None] - columns[None] + all_) ** 2).sum() / ((b - 1) * (d - 1))
    ms_a, ms_b = r * d * ((rows - all_) ** 2).sum() / (b - 1), r * b * ((columns - all_) ** 2).sum() / (d - 1)
    assert components(y.ravel(), factors) == pytest.approx(
        {
            "backend": (ms_a - ms_ab) / (r * d),
            "data set": (ms_b - ms_ab) / (r * b),
            "backend × data set": (ms_ab - ms_rest) / r,
            REST: ms_rest,
        }
    )


def test_restricted_likelihood_of_statsmodels_finds_the_same() -> None:
    random, g, r = np.random.default_rng(3), 12, 5
    y = (random.normal(0, 1.5, g)[:, None] + random.normal(0, 1, (g, r))).ravel()
    groups = np.repeat(np.arange(g), r)
    fit = MixedLM(y, np.ones((len(y), 1)), groups).fit(reml=True)
    found = components(y, {"data set": groups})
    assert found["data set"] == pytest.approx(float(np.asarray(fit.cov_re)[0, 0]), rel=1e-3)
    assert found[REST] == pytest.approx(fit.scale, rel=1e-3)


def test_crossed_effects_agree_with_restricted_likelihood() -> None:
    random = np.random.default_rng(4)
    factors = crossed(5, 1, 6, 4)
    y = random.normal(0, 2, 5)[factors["backend"]] + random.normal(0, 1, 6)[factors["data set"]]
    y += random.normal(0, 1.2, (5, 6))[factors["backend"], factors["data set"]] + random.normal(0, 0.8, len(y))
    frame = pd.DataFrame({"y": y, "b": factors["backend"], "d": factors["data set"], "one": 0})
    frame["bd"] = frame.b * 6 + frame.d
    kinds = {name: f"0 + C({name})" for name in ("b", "d", "bd")}
    fit = MixedLM.from_formula("y ~ 1", groups="one", vc_formula=kinds, data=frame).fit(reml=True)
    reml = dict(zip(fit.model.exog_vc.names, fit.vcomp, strict=True))
    found = components(y, factors)
    for name, other in (("backend", "b"), ("data set", "d"), ("backend × data set", "bd")):
        assert found[name] == pytest.approx(reml[other], rel=0.02)


def test_unequal_numbers_are_unbiased() -> None:
    """Three crossed factors, a third of the runs missing at random; the mean over many draws is the truth."""
    random, true = np.random.default_rng(6), {"backend": 4.0, "wording": 0.5, "data set": 2.0}
    full = crossed(6, 4, 6, 4)
    kept = random.random(len(full["backend"])) < 0.67
    factors = {name: labels[kept] for name, labels in full.items()}
    names: dict[str, list[float]] = {}
    for _ in range(150):
        y = random.normal(0, 1, int(kept.sum()))
        for name, labels in factors.items():
            y += random.normal(0, math.sqrt(true[name]), 6)[labels]
        y += random.normal(0, 1.2, (6, 6))[factors["backend"], factors["data set"]]
        for name, value in components(y, factors).items():
            names.setdefault(name, []).append(value)
    expected = true | {"backend × data set": 1.44, REST: 1.0}
    for name, values in names.items():
        error = np.std(values, ddof=1) / math.sqrt(len(values))
        assert abs(np.mean(values) - expected.get(name, 0.0)) < 4 * error, name


def test_terms_that_cannot_be_told_apart_are_left_out() -> None:
    y = np.random.default_rng(0).normal(size=12)
    one_wording = {"backend": np.repeat([0, 1], 6), "wording": np.zeros(12, int), "data set": np.tile(np.arange(3), 4)}
    assert list(components(y, one_wording)) == ["backend", "data set", "backend × data set", REST]
    single_runs = {"backend": np.repeat([0, 1, 2], 4), "data set": np.tile(np.arange(4), 3)}
    assert list(components(y, single_runs)) == ["backend", "data set", REST]
    assert all(math.isnan(v) for v in components(np.array([1.0]), {"backend": np.array([0])}).values())


def test_shares_add_up_and_nothing_has_none() -> None:
    assert shares({"a": 3.0, "b": -1.0, REST: 1.0}) == {"a": 0.75, "b": 0.0, REST: 0.25}
    assert all(math.isnan(v) for v in shares({"a": 0.0, REST: 0.0}).values())
