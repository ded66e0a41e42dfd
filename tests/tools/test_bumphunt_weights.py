"""Weighted events: equal weights scale yields and nothing else, and p-values stay those of background."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tasks.lhco import grader
from tasks.lhco.claims import SearchSubmission
from tasks.lhco.cut_study import CUT_STUDY
from tasks.lhco.files import EVENTS
from tools.anomaly.classify import _background_rank, out_of_fold
from tools.anomaly.template import kde_sample
from tools.anomaly.trees import Trees
from tools.bumphunt.limits import upper_limit
from tools.bumphunt.lookelsewhere import Hunt, global_p_value, pseudo_experiments
from tools.bumphunt.measure import measure, threshold
from tools.bumphunt.sculpting import sculpting
from tools.bumphunt.spectrum import hypotheses
from tools.bumphunt.yields import total_yield
from tools.events.parquet import write_events
from tools.events.weights import drawn, effective

WINDOW, WIDTH = (3.3, 3.7), 0.035
Arrays = tuple[np.ndarray, np.ndarray, np.ndarray]


def spectrum(rng: np.random.Generator, n: int = 30_000, sigma: float = 1.0, signal: int = 0) -> Arrays:
    """Masses of a falling spectrum, scores that ignore them, and weights with a mean of 1 that follow the score: their
    logarithm has the standard deviation sigma."""
    n = int(rng.poisson(n))
    u = rng.random(n)
    mass = np.append(2.4 - 0.6 * np.log(1 - u * (1 - np.exp(-4 / 0.6))), rng.normal(3.5, 0.035 * 3.5, signal))
    noise = rng.normal(size=(2, len(mass)))
    score = noise[0] + 4.0 * (np.arange(len(mass)) >= n)
    weight = np.exp(sigma * (0.6 * noise[0] + 0.8 * noise[1]) - sigma**2 / 2)
    return mass, score, np.where(np.arange(len(mass)) < n, weight, 1.0)


@pytest.mark.parametrize("factor", [1.0, 3.0])
def test_equal_weights_change_no_significance_and_scale_yields(factor: float) -> None:
    mass, score, _ = spectrum(np.random.default_rng(1), signal=120)
    alike = np.full(len(mass), factor)
    plain, weighted = (measure(mass, score, WINDOW, 1e-2, weight=each) for each in (None, alike))
    assert weighted.fit.z == pytest.approx(plain.fit.z, rel=1e-3)
    assert weighted.fit.mass == pytest.approx(plain.fit.mass, rel=1e-4)
    for name in ("signal", "signal_error"):
        assert getattr(weighted.fit, name) == pytest.approx(factor * getattr(plain.fit, name), rel=2e-3)
    limits = [upper_limit(cut.spectrum, 3.5, WIDTH) for cut in (plain, weighted)]
    assert limits[1].observed == pytest.approx(factor * limits[0].observed, rel=0.02)
    assert np.allclose(limits[1].expected, factor * np.array(limits[0].expected), rtol=0.03)
    amounts = [
        total_yield(mass, score, WINDOW, 3.5, WIDTH, cut.spectrum, weight=each).n_signal
        for cut, each in ((plain, None), (weighted, alike))
    ]
    assert amounts[1] == pytest.approx(factor * amounts[0], rel=0.02)
    smooth = [sculpting(mass, score > 2, weight=each).smooth_p for each in (None, alike)]
    assert smooth[0] == pytest.approx(smooth[1], abs=0.02)


def test_the_cut_keeps_its_share_of_the_weights_and_ten_effective_events() -> None:
    mass, score, weight = spectrum(np.random.default_rng(2))
    cut = threshold(score, mass, WINDOW, 1e-2, weight)
    side = (mass < WINDOW[0]) | (mass >= WINDOW[1])
    kept = weight[side & (score >= cut)].sum() / weight[side].sum()
    assert kept == pytest.approx(1e-2, rel=0.05)
    assert (score[side] >= cut).mean() < 0.8e-2  # events that pass are heavier
    with pytest.raises(ValueError, match="at least 10"):
        threshold(score, mass, WINDOW, 6e-4, weight)


def test_the_signal_is_a_sum_of_weights() -> None:
    found = []
    for seed in range(12):
        mass, score, weight = spectrum(np.random.default_rng([3, seed]), signal=200)
        weight[-200:] = 1.7
        fit = measure(mass, score, WINDOW, 2e-2, width=WIDTH, weight=weight).fit
        found.append((fit.signal - 1.7 * (score[-200:] > 2.5).sum()) / fit.signal_error)
    assert abs(np.mean(found)) < 4 / np.sqrt(12) + 0.5
    assert np.std(found) < 2


def test_toys_vary_as_sums_of_weights_do() -> None:
    rng = np.random.default_rng(4)
    sums = []
    for _ in range(300):
        mass, score, weight = spectrum(rng, 8000)
        sums.append([weight[(score > at) & (mass < 3.0)].sum() for at in (2.0, 2.4)])
    mass, score, weight = spectrum(rng, 8000)
    cuts = [measure(mass, score, WINDOW, e, width=WIDTH, weight=weight).spectrum for e in (6e-2, 3e-2)]
    toys = pseudo_experiments(cuts, 2000, rng, np.array([WIDTH]))
    for cut, (passed, _) in zip(cuts, toys, strict=True):
        low = cut.edges[1:] <= 3.0
        drawn_sums = (passed / cut.scale)[:, low].sum(axis=1)
        expected = drawn_sums.mean()
        real = np.array(sums)[:, 0]
        # The scatter of a sum of weights over its mean, from the effective number, plus the freedom of the smooth fit.
        assert drawn_sums.std() / expected > 0.8 * real.std() / real.mean() * np.sqrt(real.mean() / expected)


def p_values(n: int, sigma: float, seed: int) -> np.ndarray:
    """Global p-values of two cuts on signal-free events."""
    found = []
    for toy in range(n):
        mass, score, weight = spectrum(np.random.default_rng([seed, toy]), 20_000, sigma)
        cuts = [measure(mass, score, WINDOW, e, weight=weight) for e in (5e-2, 2e-2)]
        hunt = Hunt([cut.spectrum for cut in cuts], hypotheses(*WINDOW))
        found.append(global_p_value([hunt], max(cut.fit.z for cut in cuts), 1, 60, toy).p_global)
    return np.array(found)


@pytest.mark.parametrize("n", [24, pytest.param(100, marks=pytest.mark.slow)])
def test_background_with_weights_of_large_spread_gives_no_small_p_values(n: int) -> None:
    p = p_values(n, 1.0, 5)
    for level in (0.05, 0.2):
        allowed = n * level
        assert (p <= level).sum() <= allowed + 3 * np.sqrt(allowed) + 1
    assert p.mean() > 0.5 - 3 / np.sqrt(12 * n)
    assert p.mean() < 0.5 + 3 / np.sqrt(12 * n) + 0.12  # errors of the background make p a little too large


def test_drawn_rows_have_the_weighted_distribution() -> None:
    rng = np.random.default_rng(6)
    x, weight = rng.random(20_000), rng.exponential(size=20_000)
    weight *= 2 * x
    rows = drawn(weight, 1)
    assert len(rows) == round(0.75 * effective(weight))
    assert x[rows].mean() == pytest.approx(2 / 3, abs=4 * 0.25 / np.sqrt(len(rows)))


def test_masses_of_a_template_follow_the_weights() -> None:
    rng = np.random.default_rng(7)
    mass = rng.uniform(3.3, 3.7, 20_000)
    made = kde_sample(mass, 3.3, 3.7, 20_000, rng, weight=(mass - 3.3) * 5)
    assert made.mean() == pytest.approx(3.3 + 0.4 * 2 / 3, abs=0.005)


def test_a_classifier_learns_the_weighted_density_and_ranks_by_weights() -> None:
    """Data and template differ by the weights alone: only with them, the score finds the difference."""
    rng = np.random.default_rng(8)
    events, template = rng.random((6000, 1)), rng.random((6000, 1))
    data = np.arange(6000) < 3000
    weight = np.where(events[:, 0] > 0.7, 3.0, 1.0)
    common: dict[str, Any] = {"folds": 2, "ensemble": 1, "seed": 1}
    heavy, plain = (
        out_of_fold(Trees(), events, template, data, ~data, **common, weight=each)[0] for each in (weight, None)
    )
    high = events[:, 0] > 0.7
    assert heavy[high].mean() - heavy[~high].mean() > 0.3
    assert abs(plain[high].mean() - plain[~high].mean()) < 0.2
    rank = _background_rank(np.array([0.5]), np.array([0.0, 1.0]), np.array([1.0, 3.0]))
    assert rank[0] == pytest.approx(-np.log10((1.5 + 0.5) / 2.5))


def test_the_cut_study_runs_on_weighted_events(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It leaves out cuts behind which too few effective events are left."""
    monkeypatch.chdir(tmp_path)
    mass, score, weight = spectrum(np.random.default_rng(1), 8000, signal=80)
    write_events(Path("e.parquet"), {"mass": mass, "weight": weight})
    write_events(Path("s.parquet"), {"score": score})
    given = {"EVENTS": "e.parquet", "SCORES": "s.parquet", "WINDOW": [3.3, 3.7], "COLUMN": "mass", "UNIT": "TeV"}
    exec(CUT_STUDY, given | {"FIT_RANGE": [2.4, 6.4]})
    assert 2 <= capsys.readouterr().out.count("efficiency") < 8
    assert Path("cut_study.png").is_file()


def test_the_harness_uses_the_weights_of_the_events(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grader, "TOYS", 20)
    monkeypatch.setattr(grader, "BOOTSTRAPS", 2)
    mass, score, weight = spectrum(np.random.default_rng(9), signal=150)
    scores = []
    for factor in (1.0, 2.0):
        write_events(tmp_path / EVENTS, {"mjj": mass, "mj1": mass / 9, "weight": factor * weight})
        write_events(tmp_path / "s.parquet", {"score": score})
        scores.append(grader.grade(SearchSubmission(scores="s.parquet", window=WINDOW), tmp_path, tmp_path, 1))
    one, two = scores
    assert one.value == pytest.approx(two.value, rel=1e-3)
    assert two.details["passing"] == pytest.approx(2 * one.details["passing"], rel=1e-3)
    drawn_as = one.details["spectrum"]
    inside = (mass >= drawn_as["edges"][0]) & (mass < drawn_as["edges"][-1])
    assert sum(drawn_as["inclusive"]) == pytest.approx(weight[inside].sum())
    assert len(drawn_as["per"]) == len(drawn_as["passed"])
