"""Data against template: ranks mean what they say, events are scored by models that never saw them, signal comes up."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tools.anomaly import classify, template
from tools.anomaly.classify import _background_rank, copies_of
from tools.anomaly.data import FEATURES
from tools.anomaly.smear import smeared
from tools.anomaly.trees import Trees
from tools.arrays import load_arrays
from tools.contract import ToolError
from tools.dependence import dependence
from tools.events.parquet import write_events
from tools.events.table import derive
from tools.metrics import auc

Table = dict[str, np.ndarray]
Toy = Callable[..., tuple[Table, np.ndarray]]
WINDOW = (3.3, 3.7)
REQUEST = {"events": "events.parquet", "template": "template.parquet", "window": WINDOW, "folds": 2, "ensemble": 1}
SEEDS = range(5)


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def stack(columns: Table) -> np.ndarray:
    features = derive(columns, FEATURES)
    return np.column_stack([features[name] for name in FEATURES])


def inside(columns: Table) -> np.ndarray:
    return (columns["mjj"] >= WINDOW[0]) & (columns["mjj"] < WINDOW[1])


def write(columns: Table, background: Table) -> None:
    write_events(Path("events.parquet"), columns)
    write_events(Path("template.parquet"), {"mjj": background["mjj"], **derive(background, FEATURES)})


def scores(path: str = "scores.parquet") -> np.ndarray:
    return load_arrays(path, "scores")["score"]


class Passing:
    """Background events passing `score > cut` in the window and beside it, over several data sets."""

    def __init__(self, cut: float) -> None:
        self.cut, self.counts = cut, np.zeros(4)

    def add(self, score: np.ndarray, window: np.ndarray, side: np.ndarray) -> None:
        self.counts += [(score[window] > self.cut).sum(), window.sum(), (score[side] > self.cut).sum(), side.sum()]

    def excess(self) -> tuple[float, float]:
        """Relative excess in the window over the side, and its binomial error."""
        k, n, k_side, n_side = self.counts
        return k / n * n_side / k_side - 1, float(np.sqrt(1 / k + 1 / k_side))


def test_without_signal_a_cut_keeps_as_much_of_the_window_as_of_the_sidebands(toy: Toy) -> None:
    loose, tight, in_sample = Passing(1), Passing(2), Passing(1)
    for seed in SEEDS:
        columns, background = toy(seed=seed)[0], toy(12_000, seed=100 + seed)[0]
        write(columns, background)
        classify(**REQUEST, seed=seed)
        window = inside(columns)
        for passing in (loose, tight):
            passing.add(scores(), window, ~window)
        # What scoring the training events themselves would do.
        x = np.concatenate([stack(columns)[window], stack(background)])
        raw = Trees().log_odds(x, np.arange(len(x)) < window.sum(), stack(columns), seed)
        in_sample.add(_background_rank(raw, np.sort(raw[~window])), window, ~window)
    for passing in (loose, tight):
        excess, error = passing.excess()
        assert abs(excess) < 4 * error
    assert loose.excess()[1] < 0.05
    assert tight.counts[2] / tight.counts[3] == pytest.approx(0.01, rel=0.15)  # ties of the trees' scores
    excess, error = in_sample.excess()
    assert excess > 8 * error  # so the test above has the power to see it


@pytest.mark.slow
def test_a_sideband_template_does_not_lower_the_sidebands_it_was_taken_from(toy: Toy) -> None:
    passing = Passing(1)
    for seed in SEEDS:
        columns = toy(seed=seed)[0]
        write_events(Path("events.parquet"), columns)
        template(events="events.parquet", window=WINDOW, method="sideband", out="template.parquet")
        classify(**REQUEST, seed=seed)
        mjj = columns["mjj"]
        passing.add(scores(), inside(columns), (mjj > 2.9) & (mjj < 4.1) & ~inside(columns))
    excess, error = passing.excess()
    assert abs(excess) < 4 * error  # 4.5 standard deviations without the folds shared with the originals


def test_copies_in_a_template_are_found_and_nothing_else(toy: Toy) -> None:
    events = stack(toy(2000, seed=1)[0])
    fresh = stack(toy(500, seed=2)[0])
    rows = np.array([7, 1999, 0, 3])
    mixed = np.concatenate([fresh, events[rows].astype(np.float32)])
    np.testing.assert_array_equal(copies_of(mixed, events), [*[-1] * 500, *rows])


def test_an_injected_cluster_comes_out_on_top(toy: Toy) -> None:
    columns, is_signal = toy(n_signal=120, seed=11)
    write(columns, toy(12_000, seed=12)[0])
    result = classify(**{**REQUEST, "ensemble": 2}, seed=1)
    window = inside(columns)
    score = scores()
    assert auc(score[is_signal & window], score[~is_signal & window]) > 0.8
    assert result.argos > 0.1 + 2 * result.argos_error
    assert result.argos > 3 * 0.04  # what a window without signal gives, see the test of metrics
    assert result.auc == pytest.approx(auc(score[window], scores("template_scores.parquet")), abs=1e-6)
    assert result.n_window == window.sum()
    assert result.scores.rows == len(score)
    assert result.template_scores.rows == result.n_template == 12_000


def test_the_rank_is_calibrated_in_every_fold(toy: Toy) -> None:
    columns = toy(seed=4)[0]
    write(columns, toy(6000, seed=5)[0])
    classify(**REQUEST, seed=9)
    fold = np.random.default_rng(9).permutation(len(columns["mjj"])) % 2
    side = ~inside(columns)
    for k in range(2):
        here = scores()[(fold == k) & side]
        for cut in (1.0, 2.0):  # by construction, but for ties of the trees' discrete scores
            assert (here > cut).sum() == pytest.approx(10**-cut * len(here), abs=0.02 * len(here) * 10**-cut + 6)


def test_the_rank_is_the_share_of_the_background_above() -> None:
    sideband = np.array([0.0, 1.0, 1.0, 2.0])
    np.testing.assert_allclose(
        10 ** -_background_rank(np.array([-1.0, 0.5, 1.0, 2.0, 3.0]), sideband) * 4.5, [4.5, 3.5, 1.5, 0.5, 0.5]
    )


def test_same_request_same_scores(toy: Toy) -> None:
    write(toy(5000, seed=6)[0], toy(3000, seed=7)[0])
    one, same, other = (classify(**REQUEST, seed=seed) for seed in (3, 3, 4))
    assert one == same
    assert one.scores.sha256 != other.scores.sha256


def test_without_sidebands_the_held_out_template_ranks(toy: Toy) -> None:
    columns = toy(seed=8)[0]
    window = inside(columns)
    write({name: values[window] for name, values in columns.items()}, toy(12_000, seed=9)[0])
    classify(**REQUEST)
    reference = scores("template_scores.parquet")
    for cut in (1.0, 2.0):
        assert (reference > cut).mean() == pytest.approx(10**-cut, rel=0.05)
        # The data are background too: binomial, 4 sigma.
        assert (scores() > cut).mean() == pytest.approx(10**-cut, abs=4 * np.sqrt(10**-cut / window.sum()))


def test_smeared_copies_keep_means_variances_correlations_and_bounds() -> None:
    rng = np.random.default_rng(2)
    x, y = rng.exponential(size=4000), rng.normal(size=4000)
    sample = np.column_stack([x, 0.6 * x + 0.8 * y, 2 * x])  # the last depends on the first
    more = smeared(sample, 40_000, rng)
    error = sample.std(axis=0) / 40_000**0.5
    assert (np.abs(more.mean(axis=0) - sample.mean(axis=0)) < 5 * error).all()
    np.testing.assert_allclose(more.std(axis=0), sample.std(axis=0), rtol=0.03)
    np.testing.assert_allclose(np.corrcoef(more.T), np.corrcoef(sample.T), atol=0.03)
    assert (more.min(axis=0) >= sample.min(axis=0)).all()
    assert (more.max(axis=0) <= sample.max(axis=0)).all()
    assert len(np.unique(more[:, 0])) > 30_000  # none is a copy


def test_smearing_a_small_template_brings_up_more_signal_and_no_more_background(toy: Toy) -> None:
    columns, is_signal = toy(n_signal=120, seed=11)
    window = inside(columns)
    here = {name: values[window] for name, values in columns.items()}
    write(here, toy(1200, seed=12)[0])
    areas, cut = [], 1.3
    small_leaves = {"kind": "trees", "min_samples_leaf": 20}  # larger ones smooth the template as well
    for copies in (0, 6):
        classify(**{**REQUEST, "ensemble": 2}, seed=1, smear=copies, classifier=small_leaves)
        areas.append(auc(scores()[is_signal[window]], scores()[~is_signal[window]]))
    passing = (scores()[~is_signal[window]] > cut).mean()
    assert 1 - areas[1] < 0.75 * (1 - areas[0])
    assert passing == pytest.approx(10**-cut, abs=4 * np.sqrt(10**-cut * (1 / window.sum() + 1 / 1200)))


@pytest.mark.parametrize("k", [1, 2, 5])
def test_a_cut_at_the_rank_of_the_kth_reference_event_keeps_its_share_of_others(k: int) -> None:
    """Of n + 1 events of one kind each is as likely to be among the k highest: k / (n + 1), not (k + 1) / (n + 1)."""
    rng, n, kept = np.random.default_rng(1), 200, []
    for _ in range(300):
        reference, others = np.sort(rng.normal(size=n)), rng.normal(size=2000)
        cut = np.sort(_background_rank(reference, reference))[-k]
        kept.append((_background_rank(others, reference) >= cut).mean())
    assert np.mean(kept) == pytest.approx(k / (n + 1), abs=5 * np.std(kept) / 300**0.5)
    assert np.mean(kept) != pytest.approx((k + 1) / (n + 1), abs=3 * np.std(kept) / 300**0.5)


def test_scores_that_follow_the_mass_no_longer_do_on_request(toy: Toy) -> None:
    """The template's jets are too light, so that heavy ones score high; and jets grow heavier with the mass."""
    columns, background = toy(seed=3)[0], toy(12_000, seed=103)[0]
    columns["mj1"] = columns["mj1"] * (1 + 0.5 * (columns["mjj"] - 3.5))
    write(columns, background | {"mj1": 0.7 * background["mj1"]})
    beside, found = ~inside(columns), {}
    for choice in ("none", "flow"):
        classify(**REQUEST, decorrelate=choice)
        score = scores()[beside]
        found[choice] = dependence(columns["mjj"][beside], score >= np.quantile(score, 0.9))
        assert len(scores()) == len(beside)
        assert len(scores("template_scores.parquet")) == 12_000
    assert found["none"].over_ceiling < 0.1
    assert found["flow"].over_ceiling > 0.25
    write_events(Path("template.parquet"), derive(background, FEATURES))
    with pytest.raises(ToolError, match="mjj"):
        classify(**REQUEST, decorrelate="flow")
