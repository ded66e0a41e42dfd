"""Copies of events: counted, named, on one side of every split, and no reason for an excess."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tasks.catalogue import make_task
from tasks.lhco import truth
from tasks.lhco.presets import RND_FILE
from tasks.showers.samples import load as load_showers
from tasks.tagging.samples import load as load_jets
from tasks.unfolding.samples import load as load_zjets
from tests.files.toys import data, events, jets, parquet, zjets
from tools.anomaly.classify import classify, out_of_fold
from tools.anomaly.template import template
from tools.anomaly.trees import Trees
from tools.bumphunt.scan import scan
from tools.calorimeter.geometry import write_binning
from tools.calorimeter.showers import Showers, write_showers
from tools.events.copies import adjacent, originals, same_rows
from tools.events.describe import describe
from tools.events.frame import write_frame
from tools.events.lhco import FEATURES
from tools.events.parquet import read_columns, write_events
from tools.jet_model.finetune import split_kinds
from tools.jet_model.jets_file import read_jets, write_jets
from tools.training import split
from tools.unfolding.classifier import Weighted, ratio

N = 4000


def twice(columns: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name: np.tile(values, 2) for name, values in columns.items()}


def rows(columns: dict[str, np.ndarray]) -> set[bytes]:
    return {row.tobytes() for row in np.column_stack(list(columns.values())).astype(np.float32)}


def test_copies_are_found_whatever_their_number_and_chance_is_none() -> None:
    once = events(500)
    assert np.array_equal(originals(once), np.arange(500))
    assert np.array_equal(originals(twice(once)), np.tile(np.arange(500), 2))
    assert np.array_equal(originals(twice(once) | {"event": np.arange(1000)}), np.tile(np.arange(500), 2))
    few = {"mjj": np.round(once["mjj"], 1)}
    assert np.array_equal(originals(few), np.arange(500))
    table = np.random.default_rng(1).integers(0, 3, (2000, 4)).astype(np.float32)
    assert np.array_equal(table[same_rows(table)], table)
    _, first = np.unique(table, axis=0, return_index=True)
    assert set(np.flatnonzero(same_rows(table) == np.arange(2000))) == set(first)
    np.testing.assert_array_equal(adjacent(np.array([3, 0, 2, 1]), np.array([0, 1, 1, 0])), [3, 0, 2, 1])


def test_copies_are_named(tmp_path: Path) -> None:
    path = parquet(tmp_path / "twice.parquet", twice(events()))
    assert describe(events=str(path)).copies == N
    assert describe(events=str(parquet(tmp_path / "once.parquet", events()))).copies == 0
    for call in (["info", path], ["convert", path, tmp_path / "out.parquet"]):
        assert f"{N} of {2 * N} events are copies of others" in " ".join(data(*call).output.split())


def test_copies_share_a_fold_and_are_learned_from_once() -> None:
    seen: list[np.ndarray] = []

    class Spy:
        def log_odds(self, x: Any, y: Any, to_score: Any, seed: int, weight: Any = None) -> Any:
            seen.append(x[y])
            assert not {row.tobytes() for row in x[y]} & {row.tobytes() for row in to_score}
            return to_score[:, 0]

    x = np.random.default_rng(3).normal(size=(600, 2))
    both = np.concatenate([x, x])
    everything = np.ones(1200, dtype=bool)
    score, _ = out_of_fold(
        Spy(), both, x + 9, everything, ~everything, folds=3, ensemble=1, seed=1, original=np.tile(np.arange(600), 2)
    )
    np.testing.assert_array_equal(score[:600], score[600:])
    assert all(len(np.unique(each, axis=0)) == len(each) for each in seen)


def test_an_event_file_joined_to_itself_has_no_excess(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    window = (2.9, 3.3)
    found = []
    for name, columns in (("once", events(8000)), ("twice", twice(events(8000)))):
        parquet(Path(f"{name}.parquet"), columns)
        call: dict[str, Any] = {"events": f"{name}.parquet", "window": window}
        template(**call, method="sideband", oversample=1.0, closure="events", out=f"{name}_t.parquet")
        made = classify(
            **call, template=f"{name}_t.parquet", ensemble=1, folds=3, out=f"{name}_s.parquet", out_template="t.parquet"
        )
        assert made.copies == len(columns["mjj"]) - 8000
        found.append(scan(**call, scores=f"{name}_s.parquet", efficiencies=[0.01, 0.003]))
    assert "8000 of 16000 events are copies of others: each is counted once" in capsys.readouterr().err
    assert max(cut.z for cut in found[1].cuts) < 3.5  # 6 to 8 when copies fell into other folds
    score = read_columns(Path("twice_s.parquet"))["score"]
    np.testing.assert_array_equal(score[:8000], score[8000:])


def test_an_event_is_counted_once(tmp_path: Path) -> None:
    score = np.random.default_rng(1).uniform(size=N)
    results = []
    for name, columns, given in (("once", events(), score), ("twice", twice(events()), np.tile(score, 2))):
        call = {"events": str(parquet(tmp_path / name, columns))}
        results.append(scan(**call, scores=str(parquet(tmp_path / f"{name}_s", {"score": given})), window=(3.3, 3.7)))
    assert results[0] == results[1]


def test_the_hold_out_of_a_search_keeps_copies_together(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    table = np.tile(np.column_stack([rng.uniform(300, 400, (500, 14)), np.arange(500) % 5 == 0]), (2, 1))
    write_frame(tmp_path / RND_FILE, [table.astype(np.float32)], (*FEATURES, "label"))
    task = make_task("lhco-rnd", {"data": str(tmp_path), "n_signal": 20})
    facts = task.prepare(tmp_path / "inputs", tmp_path / "held", tmp_path / "sealed")
    _, _, unseen = truth.read(tmp_path / "sealed")
    everything = read_columns(tmp_path / "held" / "events.parquet")
    parts = [rows({name: values[chosen] for name, values in everything.items()}) for chosen in (unseen, ~unseen)]
    assert min(map(len, parts)) > 100
    assert not parts[0] & parts[1]
    copies = len(unseen) - len(rows(everything))
    assert facts["copies"].startswith(f"{copies} of {len(unseen)} events are copies")


def test_the_other_tasks_keep_copies_together(tmp_path: Path) -> None:
    for name in ("simulation", "alternative", "nature"):
        write_events(tmp_path / f"{name}.parquet", twice(zjets(1000)))
    samples = load_zjets(tmp_path, "vincia", 0.3, 1, None)
    parts = [
        rows({name: values[chosen] for name, values in samples.nature.items()})
        for chosen in (samples.unseen, ~samples.unseen)
    ]
    assert not parts[0] & parts[1]
    assert 0.2 < samples.unseen.mean() < 0.7

    made = jets(300)
    write_jets(tmp_path / "jets.h5", made.take(np.tile(np.arange(300), 2)))
    dealt = load_jets(tmp_path, 50, 1)
    pieces = [getattr(dealt, name) for name in ("labelled", "validation", "test", "relearnt", "claim")]
    assert sum(map(len, pieces)) == 300
    assert len({jet.tobytes() for piece in pieces for jet in piece.particles}) == 300


def test_showers_are_dealt_out_once(tmp_path: Path) -> None:
    from tests.tools.tiny_showers import TINY, tiny_showers

    write_binning(tmp_path / "tiny.xml", TINY)
    showers = tiny_showers(2500, 1)
    both = Showers(np.tile(showers.incident, 2), np.tile(showers.voxels, (2, 1)), TINY)
    write_showers(tmp_path / "twice.h5", both)
    samples = load_showers(tmp_path / "twice.h5", str(tmp_path / "tiny.xml"), None, 2500, 1)
    parts = [{row.tobytes() for row in part.voxels} for part in (samples.train, samples.reference, samples.asked)]
    assert sum(map(len, parts)) == len(set.union(*parts)) == 2500


def test_splits_of_jets_keep_copies_together(tmp_path: Path) -> None:
    path = tmp_path / "twice.h5"
    write_jets(path, jets(40).take(np.tile(np.arange(40), 2)))
    result = data("split", path, tmp_path / "a.h5", tmp_path / "b.h5", "--fraction", 0.3)
    assert result.exit_code == 0, result.output
    assert "40 of 80 jets are copies" in " ".join(result.output.split())
    parts = [{jet.tobytes() for jet in read_jets(tmp_path / name).particles} for name in ("a.h5", "b.h5")]
    assert not parts[0] & parts[1]
    original = np.tile(np.arange(40), 2)
    for used, held in (
        split(80, 0.3, 1, original=original),
        split_kinds(np.tile(np.arange(40) % 2, 2), 0.3, 1, original),
    ):
        assert len(set(original[used]) & set(original[held])) <= 1  # one that lies across the cut


def test_folds_of_an_unfolding_keep_copies_together() -> None:
    x = np.tile(np.random.default_rng(2).normal(size=(200, 4)), (2, 1))
    shared = []

    class Spy:
        def fit(self, events: Weighted, splits: Any, seed: int, start: Any = None) -> Any:
            for used, held in splits:
                shared.append(len({row.tobytes() for row in events.x[used]} & {r.tobytes() for r in events.x[held]}))
            return self

        def member(self, x: np.ndarray, k: int) -> np.ndarray:
            return 0.1 * x[:, 0]

    half = np.arange(400) % 2
    ratio(Spy(), Weighted(x, 1.0 * half, 1.0 - half), split=1, seed=1, members=3)  # type: ignore[arg-type]
    assert max(shared) <= 2  # those that lie across either end


def test_trees_do_not_learn_copies_by_heart() -> None:
    rng = np.random.default_rng(4)
    x = rng.normal(size=(1500, 4))
    inside = rng.uniform(size=1500) < 0.3
    both, tiled = np.concatenate([x, x]), np.tile(inside, 2)
    score, _ = out_of_fold(
        Trees(max_iter=50), both, x + 1e-3, tiled, ~tiled, 3, 1, 1, original=np.tile(np.arange(1500), 2)
    )
    assert abs(score[tiled].mean() - score[~tiled].mean()) < 0.15
