"""Two tools on files: cut and count over a template, and whether a cut sculpts mjj."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import kstest

from tools.bumphunt import cut_and_count, scan, sculpting_test
from tools.bumphunt.measure import measure, threshold
from tools.bumphunt.scan import CutResult, checked, distrust
from tools.bumphunt.sculpting import sculpting
from tools.bumphunt.spectrum import signal_shape
from tools.contract import ToolError
from tools.events.parquet import write_events

WINDOW = (3.3, 3.7)
N = 30_000


def dijets(n: int, rng: np.random.Generator) -> np.ndarray:
    return 2.4 * (1 - rng.uniform(0, 1 - (2.4 / 6.4) ** 6, n)) ** (-1 / 6)


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> np.ndarray:
    """60 signal events in the window; a template that closes (`template`), and one that is 20% short (`short`)."""
    rng = np.random.default_rng(1)
    mjj = np.append(dijets(N, rng), rng.uniform(*WINDOW, 60))
    score = np.append(rng.normal(size=N), rng.normal(3, 0.5, 60))
    monkeypatch.chdir(tmp_path)
    write_events(Path("events.parquet"), {"mjj": mjj})
    write_events(Path("scores.parquet"), {"score": score})
    write_events(Path("template.parquet"), {"mjj": rng.uniform(*WINDOW, 20_000)})
    write_events(Path("template_scores.parquet"), {"score": rng.normal(size=20_000)})
    biased = np.append(rng.normal(size=19_000), rng.normal(-1, 0.1, 6_000))
    write_events(Path("short_scores.parquet"), {"score": biased})
    return mjj


REQUEST: dict[str, Any] = {"events": "events.parquet", "scores": "scores.parquet", "window": WINDOW}


def test_a_signal_stands_out_over_a_template_that_closes(files: np.ndarray) -> None:
    result = cut_and_count(**REQUEST)
    assert [cut.efficiency for cut in result.cuts] == [1e-2, 1e-3, 1e-4]
    inside = int(((files >= WINDOW[0]) & (files < WINDOW[1])).sum())
    for cut in result.cuts:
        assert cut.background == pytest.approx(cut.n_template / 20_000 * inside)
        assert cut.background_error == pytest.approx(cut.background * np.sqrt(1 / cut.n_template + cut.delta**2))
    assert result.cuts[0].delta < 0.3
    assert result.cuts[result.best].z > 4
    assert cut_and_count(**REQUEST, delta=0.5).cuts[0].z < result.cuts[0].z


def test_a_template_that_does_not_close_is_found_out_beside_the_window(files: np.ndarray) -> None:
    good = cut_and_count(**REQUEST, efficiencies=[0.2]).cuts[0]
    bad = cut_and_count(**REQUEST, efficiencies=[0.2], template_scores="short_scores.parquet").cuts[0]
    assert good.delta < 0.1 < bad.delta
    assert bad.z < 3 < cut_and_count(
        **REQUEST, efficiencies=[0.2], template_scores="short_scores.parquet", delta=0.0
    ).cuts[0].z  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"window": (3.7, 3.3)}, "window"),
        ({"window": (7.0, 8.0)}, "window"),
        ({"scores": "template_scores.parquet"}, "scores"),
        ({"efficiencies": [1e-5]}, "efficiencies"),
        ({"template_scores": "none.parquet"}, "template_scores"),
        ({"delta": -0.1}, "delta"),
    ],
)
def test_requests_that_cannot_be_counted(files: np.ndarray, changes: dict[str, Any], field: str) -> None:
    with pytest.raises(ToolError) as error:
        cut_and_count(**REQUEST | changes)
    assert error.value.field == field


@pytest.mark.parametrize("tool", [cut_and_count, scan, sculpting_test], ids=lambda tool: tool.name)
def test_negative_weights_are_refused(files: np.ndarray, tool: Any) -> None:
    request = {"scores": "scores.parquet"} | ({} if tool is sculpting_test else {"window": WINDOW})
    weights = np.where(np.arange(len(files)) == 17, -1.0, 1.0)
    write_events(Path("weighted.parquet"), {"mjj": files, "weight": weights})
    with pytest.raises(ToolError, match="row 17: a density and a classifier need"):
        tool(events="weighted.parquet", **request)
    write_events(Path("bare.parquet"), {"m": files})
    with pytest.raises(ToolError, match="needs the column mjj"):
        tool(events="bare.parquet", **request)


def test_a_score_that_uses_mjj_is_found_out_and_an_independent_one_is_not() -> None:
    rng = np.random.default_rng(2)
    smooth, shape = [], []
    for seed in range(40):
        mjj, score = dijets(10_000, rng), rng.normal(size=10_000)
        found = sculpting(mjj, score >= np.sort(score)[-200], n_toys=100, seed=seed)
        smooth.append(found.smooth_p)
        shape.append(found.shape_p)
    assert kstest(smooth, "uniform").pvalue > 1e-3
    assert kstest(shape, "uniform").pvalue > 1e-3
    mjj, noise = dijets(N, rng), rng.normal(size=N)
    for uses_mjj in (2 * np.exp(-(((mjj - 3.5) / 0.1) ** 2) / 2), 1.0 * (mjj > 3.5)):  # a bump, a step
        score = noise + uses_mjj
        found = sculpting(mjj, score >= np.sort(score)[-300])
        assert max(found.smooth_p, found.shape_p) < 0.01
    slope = noise + 2 * np.log(mjj)
    found = sculpting(mjj, slope >= np.sort(slope)[-300])
    assert found.shape_p < 0.01 < found.smooth_p  # no spectrum of its own, yet nothing that the fit could not follow


def test_the_tools_report_sculpting(files: np.ndarray) -> None:
    sidebands = sculpting_test(events="events.parquet", scores="scores.parquet", leave_out=WINDOW)
    template = sculpting_test(events="template.parquet", scores="template_scores.parquet")
    for cut in [*sidebands.cuts, *template.cuts]:
        assert min(cut.shape_p, cut.smooth_p) > 1e-3
    clean = scan(**REQUEST, efficiencies=[0.01]).cuts[0]
    assert clean.smooth_p is not None
    assert clean.smooth_p > 0.01
    rng = np.random.default_rng(3)
    write_events(Path("bump.parquet"), {"score": rng.normal(size=len(files)) + 3 * (np.abs(files - 3.0) < 0.06)})
    sculpted = scan(events="events.parquet", scores="bump.parquet", window=WINDOW, efficiencies=[0.01]).cuts[0]
    assert sculpted.smooth_p is not None
    assert sculpted.smooth_p < 0.01
    for changes, field in (
        ({"scores": "template_scores.parquet"}, "scores"),
        ({"efficiencies": [1e-5]}, "efficiencies"),
        ({"events": "none.parquet"}, "events"),
    ):
        with pytest.raises(ToolError) as error:
            sculpting_test(**{"events": "events.parquet", "scores": "scores.parquet"} | changes)
        assert error.value.field == field


@pytest.mark.parametrize("signal", [600, 2400])
def test_the_tails_of_a_strong_signal_are_neither_sculpting_nor_doubt(signal: int) -> None:
    """Up to 8% of all events, of the width and the tails of the R&D data's signal."""
    rng, edges = np.random.default_rng(3), np.linspace(2.4, 6.4, 4001)
    shape = signal_shape(edges, 3.5, 0.033)
    mjj = np.append(dijets(N, rng), rng.choice(edges[:-1], signal, p=shape / shape.sum()))
    is_signal = np.arange(len(mjj)) >= N
    score = rng.normal(size=len(mjj)) + 2 * is_signal
    cut = measure(mjj, score, WINDOW, 1e-2)
    true = (is_signal & (score >= threshold(score, mjj, WINDOW, 1e-2))).sum()
    assert cut.fit.z > 8
    assert cut.fit.signal == pytest.approx(true, abs=3 * cut.fit.signal_error)
    assert cut.spectrum.delta < 0.2
    assert (checked(cut, mjj, score, WINDOW).smooth_p or 0) > 0.02


@pytest.mark.parametrize(
    ("mass", "said"),
    [(3.5, None), (3.62, "leaks over the edge of the window at 3.7"), (3.31, "at 3.3"), (3.1, "at 3.3")],
)
def test_a_warning_says_when_the_peak_leaks_over_the_window(mass: float, said: str | None) -> None:
    fit = dict.fromkeys(("mass_error", "signal", "signal_error", "width_error", "delta", "deviance", "z"), 1.0)
    fit |= {"mass": mass, "width": 0.02, "p_value": 0.1, "efficiency": 0.01}
    cut = CutResult(**fit, degree=1, bins=9, valid=True, smooth_p=0.001)
    warning = distrust([cut], 0, WINDOW)
    assert warning is not None
    assert "The cut itself may have produced the bump" in warning
    assert ("leaks" in warning) == (said is not None)
    assert (said or "") in warning
    assert distrust([cut.model_copy(update={"smooth_p": 0.02})], 0, WINDOW) is None
