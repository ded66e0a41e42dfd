"""Closure on the score: silent, at the stated rate, where nothing is wrong; it speaks of what was made wrong."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import binom

from tools.anomaly import classify, template
from tools.anomaly.score_closure import ALPHA, score_closure
from tools.contract import ToolError
from tools.events.parquet import read_columns, write_events

Toy = Callable[..., tuple[dict[str, np.ndarray], np.ndarray]]
WINDOW = (3.3, 3.7)
TOYS = 60


def sidebands(seed: int, n: int = 20_000) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """mjj, scores that know nothing of it, and which events are held out."""
    rng = np.random.default_rng(seed)
    mjj = 2.2 + rng.exponential(0.7, n)
    mjj = mjj[(mjj < WINDOW[0]) | (mjj >= WINDOW[1])]
    return mjj, rng.normal(size=len(mjj)), (mjj > 3.9) & (mjj < 4.4)


def test_warnings_of_what_is_right_are_as_rare_as_stated() -> None:
    found = []
    for seed in range(TOYS):
        mjj, score, held = sidebands(seed)
        made = np.random.default_rng([seed, 1]).normal(size=4 * held.sum())
        found.append(score_closure(score[held], made, score, mjj))
    assert sum(each.p_closure < ALPHA for each in found) <= binom.ppf(0.999, TOYS, ALPHA)
    assert sum(each.warning is not None for each in found) <= binom.ppf(0.999, TOYS, 2 * ALPHA)
    # Neither is it deaf: small p-values are rare, not absent.
    assert 0 < sum(each.p_closure < 0.3 for each in found) <= binom.ppf(0.999, TOYS, 0.3)
    pulls = np.array([(each.auc - 0.5) / each.auc_error for each in found])
    assert 0.8 < pulls.std() < 1.2
    counts = np.array([[cut.passing, cut.expected] for each in found for cut in each.cuts])
    assert abs(counts[:, 0].sum() - counts[:, 1].sum()) < 4 * np.sqrt(1.25 * counts[:, 0].sum())


def test_a_template_without_the_tail_of_the_data_is_warned_of_with_the_right_numbers() -> None:
    mjj, score, held = sidebands(1)
    made = np.random.default_rng(2).normal(size=4 * held.sum())
    found = score_closure(score[held], made[made < 2.0], score, mjj)  # 1% of the data lie above 2.33
    first = found.cuts[0]
    assert (first.efficiency, first.expected) == (0.01, 0.0)
    assert first.passing == (score[held] >= np.sort(score)[-round(0.01 * len(score))]).sum()
    # Only the template fails: P(none of m passes | k in all do) = C(n, k) / C(n + m, k) for k = `passing`.
    n, m = found.n_data, found.n_template
    one_sided = np.prod([(n - i) / (n + m - i) for i in range(first.passing)])
    assert first.p_value == pytest.approx(one_sided, rel=1e-6)
    assert found.p_closure < ALPHA
    assert found.warning is not None
    assert f"{first.passing} events pass where the template predicts 0" in found.warning
    assert "sculpts" not in found.warning


def test_a_score_that_prefers_one_mass_is_said_to_sculpt() -> None:
    mjj, score, held = sidebands(3)
    score = score + 1.5 * np.exp(-(((mjj - 4.15) / 0.15) ** 2))
    # Made of the held-out events themselves: the score closes, for the template prefers that mass as well.
    found = score_closure(score[held], np.repeat(score[held], 2), score, mjj)
    assert found.p_closure > ALPHA
    assert found.warning is not None
    assert found.warning.startswith("The score sculpts the mass")


@pytest.fixture(scope="module")
def folder(toy: Toy, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("closure")
    events = toy(seed=6)[0]
    write_events(path / "still.parquet", events)
    delta = events["mj2"] - events["mj1"]
    events["mj1"] = events["mj1"] + 0.4 * events["mjj"]
    write_events(path / "moving.parquet", events | {"mj2": events["mj1"] + delta})
    return path


@pytest.mark.parametrize(("events", "wrong"), [("still.parquet", False), ("moving.parquet", True)])
def test_bands_beside_the_window_are_warned_of_where_features_move_with_mjj(
    folder: Path, monkeypatch: pytest.MonkeyPatch, events: str, wrong: bool
) -> None:
    monkeypatch.chdir(folder)
    made = template(events=events, window=WINDOW, method="sideband", oversample=2, out="bands.parquet")
    assert made.control.path == "bands_control.parquet"
    columns = read_columns(folder / made.control.path)
    assert made.closure_window is not None
    assert columns["mjj"].min() >= made.closure_window[0]
    assert columns["mjj"].max() < made.closure_window[1]
    found = classify(events=events, window=WINDOW, template="bands.parquet", control="bands_control.parquet",
                     folds=2, ensemble=1)  # fmt: skip
    assert found.closure is not None
    assert found.closure.n_data == len(np.unique(columns["row"]))
    assert (found.warning is not None) == wrong, found.closure
    if wrong:
        assert "does not close" in str(found.warning)
        assert abs(found.closure.auc - 0.5) > 4 * found.closure.auc_error


def test_control_files_of_something_else_are_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    template(events="still.parquet", window=WINDOW, method="sideband", oversample=1, closure="events")
    request = {"template": "template.parquet", "folds": 2, "ensemble": 1}
    columns = read_columns(folder / "template_control.parquet")
    write_events(folder / "few.parquet", {name: values[:20] for name, values in columns.items()})
    write_events(folder / "others.parquet", columns | {"row": columns["row"] + 1})
    for control, window, words in (
        ("template_control.parquet", (3.6, 4.2), "has events in the window"),
        ("others.parquet", WINDOW, "made from `events`"),
        ("few.parquet", WINDOW, "at least 25"),
        ("template.parquet", WINDOW, "no such column"),
        ("none.parquet", WINDOW, "no such file"),
    ):
        with pytest.raises(ToolError) as caught:
            classify(**request, events="still.parquet", window=window, control=control)
        assert caught.value.field == "control", control
        assert words in caught.value.allowed
    # Without one nothing is tested, nothing said, and the scores are the same.
    plain = classify(**request, events="still.parquet", window=WINDOW)
    assert (plain.closure, plain.warning) == (None, None)
    tested = classify(**request, events="still.parquet", window=WINDOW, control="template_control.parquet")
    assert tested.closure is not None
    assert tested.scores.sha256 == plain.scores.sha256
