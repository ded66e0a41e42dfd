"""The survey: each window as by the three single calls, a resonance in the right window, nothing in background."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from tools.anomaly import classify, survey, template
from tools.anomaly.data import within
from tools.anomaly.survey import ENSEMBLE, FOLDS, OVERSAMPLE, QUICK, Searched, SurveyRequest, apart, covering
from tools.bumphunt.scan import scan
from tools.contract import ToolError
from tools.events.parquet import read_columns, write_events

Toy = Callable[..., tuple[dict[str, np.ndarray], np.ndarray]]
WINDOWS = [(2.9, 3.25), (3.3, 3.7), (3.65, 4.05)]


@pytest.fixture(scope="module")
def folder(toy: Toy, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("survey")
    write_events(path / "signal.parquet", toy(n_signal=250, seed=3)[0])
    write_events(path / "null.parquet", toy(seed=4)[0])
    return path


@pytest.fixture(autouse=True)
def here(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)


def test_a_resonance_is_found_in_its_window_and_each_window_is_as_by_single_calls(
    capsys: pytest.CaptureFixture[str],
) -> None:
    common = {"events": "signal.parquet", "seed": 5}
    assert len(apart(WINDOWS, read_columns(Path("signal.parquet"))["mjj"])) == 3, "no window shares its fit"
    found = survey(**common, windows=WINDOWS)
    assert [row.window for row in found.windows] == WINDOWS
    assert found.best == 1
    best = found.windows[1]
    assert best.z > 5
    assert found.p_global < 1e-4
    assert abs(best.mass - 3.5) < 3 * best.mass_error < 0.15
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 3, "a line of progress for each window, and no more"
    assert "(3/3, " in said[-1]
    for row in (found.windows[0], best):
        window = {**common, "window": row.window}
        made = template(**window, method=QUICK, oversample=OVERSAMPLE, closure="events", out="one.parquet")
        scored = classify(
            **window,
            template="one.parquet",
            control="one_control.parquet",
            folds=FOLDS,
            ensemble=ENSEMBLE,
            out="scores.parquet",
        )
        cuts = scan(events="signal.parquet", window=row.window, scores="scores.parquet")
        cut = cuts.cuts[cuts.best]
        assert Path(row.scores).read_bytes() == Path("scores.parquet").read_bytes()
        assert (row.closure_auc, row.argos) == (made.closure_auc, scored.argos)
        assert (row.z, row.mass, row.signal, row.efficiency) == (cut.z, cut.mass, cut.signal, cut.efficiency)
        # The windows are trials: of two p-values from the same spectra, that of the survey counts all of them.
        if row is best:
            assert found.p_global >= cuts.p_global


def test_windows_far_apart_share_a_fit_that_sees_the_events_of_neither(toy: Toy) -> None:
    columns = toy(seed=6)[0]
    windows = [(2.9, 3.2), (3.6, 3.9)]
    (group,) = apart(windows, columns["mjj"])
    assert group == windows
    changed, inside = dict(columns), within(columns["mjj"], windows[1])
    changed["mj1"] = np.where(inside, np.roll(columns["mj1"], 1), columns["mj1"])  # within the range of the feature
    found = []
    for name, table in (("as_is", columns), ("changed", changed)):
        write_events(Path(f"{name}.parquet"), table)
        found.append(survey(events=f"{name}.parquet", windows=windows, seed=7, out=name))
    for file in ("template.parquet", "template_control.parquet"):
        one, other = (Path(out, f"2.9_3.2_{file}").read_bytes() for out in ("as_is", "changed"))
        assert one == other, "the first window's template does not know the events of the second"
    assert found[0].windows[1].argos < found[1].windows[1].argos, "but the second window's classifier does"
    rows = [each.windows[0] for each in found]
    assert rows[0].closure_auc == rows[1].closure_auc
    for row in (*found[0].windows, *found[1].windows):
        assert abs(row.closure_auc - 0.5) < 5 * row.closure_auc_error


def test_in_background_there_is_nothing_and_what_cannot_be_searched_is_said() -> None:
    found = survey(events="null.parquet", windows=[*WINDOWS, (6.2, 6.4)], out="null")
    assert [row.window for row in found.windows] == WINDOWS
    assert found.p_global > 0.01
    assert max(row.z for row in found.windows) < 4
    (failed,) = found.failed
    assert "(6.2, 6.4)" in failed
    with pytest.raises(ToolError, match="at least 500"):
        survey(events="null.parquet", windows=[(6.2, 6.4)])


def test_a_fit_that_fails_costs_only_its_own_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    def fit(request: SurveyRequest, group: list[tuple[float, float]]) -> bytes:
        if WINDOWS[0] in group:
            raise ToolError("method", "spline", "a training that does not diverge")
        return b""

    def search(request: SurveyRequest, window: tuple[float, float], learned: bytes) -> Any:
        return SimpleNamespace(row=Searched.model_construct(window=window, z=1.0, mass=3.5))

    module = sys.modules[SurveyRequest.__module__]
    monkeypatch.setattr(module, "pool", lambda workers, *names: ThreadPoolExecutor(workers))
    monkeypatch.setattr(module, "_fit", fit)
    monkeypatch.setattr(module, "_search", search)
    monkeypatch.setattr(module, "_p_global", lambda *asked: 1.0)
    found = survey(events="null.parquet", windows=WINDOWS)
    assert [row.window for row in found.windows] == WINDOWS[1:]
    assert "does not diverge" in found.failed[0]


@pytest.mark.parametrize("search", [(3.0, 3.1), (3.5, 3.0), (-1.0, 2.0)])
def test_a_range_must_hold_a_window(search: tuple[float, float]) -> None:
    with pytest.raises(ToolError, match="at least a window apart"):
        covering(SurveyRequest(search=search))


def test_windows_cover_the_range_and_are_not_too_many() -> None:
    found = covering(SurveyRequest())
    assert (found[0][0], found[-1][1]) == (2.7, 5.5)
    assert all(a < c < b < d for (a, b), (c, d) in itertools.pairwise(found))
    with pytest.raises(ToolError, match="at most 48 windows"):
        covering(SurveyRequest(step=0.01))
