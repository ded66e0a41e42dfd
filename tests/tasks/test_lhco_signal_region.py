"""The signal-region task on the real LHC Olympics events, where they lie beside the repository."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from no_truth import assert_no_truth, assert_order_is_random
from sklearn.ensemble import HistGradientBoostingClassifier

from tasks.catalogue import make_task
from tasks.lhco import grader, truth
from tasks.lhco.task import LhcoTask
from tasks.score import Submission
from tools.anomaly import classify
from tools.events.parquet import read_columns, write_events

ROOT = Path(__file__).resolve().parents[2]
REAL = ROOT.parent / "shared" / "data" / "lhco_signal_region"
pytestmark = pytest.mark.skipif(not REAL.is_dir(), reason=f"the CATHODE arrays (Zenodo 5759087) are not in {REAL}")


@pytest.fixture(scope="module")
def signal_region(tmp_path_factory: pytest.TempPathFactory) -> tuple[LhcoTask, Path]:
    """The prepared task on the real events: inputs/, sealed/ and a workspace around them."""
    task, folder = make_task("lhco-sr", {"data": str(REAL)}), tmp_path_factory.mktemp("sr")
    assert task.prepare(folder / "inputs", folder / "held_out", folder / "sealed")["rows"] == 122_124
    return task, folder


BOTH = Submission(scores="scores.parquet", reference_scores="reference_scores.parquet", window=(3.3, 3.7))


def test_the_signal_region_inputs_hold_no_truth(signal_region: tuple[LhcoTask, Path]) -> None:
    assert_no_truth(signal_region[1] / "inputs", {"mjj", "mj1", "delta_mj", "tau21_j1", "tau21_j2"})
    _, is_signal, held_out = truth.read(signal_region[1] / "sealed")
    assert not held_out.any()
    assert not (signal_region[1] / "held_out").exists()
    assert is_signal.sum() == 772
    assert_order_is_random(is_signal)


def test_what_good_scores_are_worth_in_the_signal_region(signal_region: tuple[LhcoTask, Path]) -> None:
    """Supervised scores, from the extra signal and the other half of the reference: the best there can be."""
    task, folder = signal_region
    names = ["mj1", "delta_mj", "tau21_j1", "tau21_j2"]
    columns = [read_columns(folder / "inputs" / f"{file}.parquet") for file in ("events", "reference")]
    x, reference = (np.column_stack([table[name] for name in names]) for table in columns)
    signal = np.load(REAL / "innerdata_extrasig.npy")[:, 1:5]
    score, reference_score = np.zeros(len(x)), np.empty(len(reference))
    for half in (0, 1):
        other = np.arange(len(reference)) % 2 != half
        model = HistGradientBoostingClassifier(max_iter=60, class_weight="balanced", random_state=half)
        model.fit(np.concatenate([signal, reference[other]]), np.repeat([1, 0], [len(signal), other.sum()]))
        score += model.decision_function(x) / 2
        reference_score[~other] = model.decision_function(reference[~other])
    write_events(folder / "scores.parquet", {"score": score})
    write_events(folder / "reference_scores.parquet", {"score": reference_score})
    graded = task.grade(BOTH, folder / "inputs", folder, n_graded=2)
    details = graded.details
    assert graded.metric == "argos"
    assert (graded.value or 0) > 0.06
    assert 0 < (graded.error or 0) < 0.03
    assert 3.4 < details["mass"] < 3.6
    assert abs(details["mass"] - 3.5) < 4 * details["mass_error"] + 0.01
    assert 772 / 2 < details["n_signal"] < 772 * 2
    assert abs(details["n_signal"] - 772) < 3 * details["n_signal_error"]
    assert details["trials"] == 2 * len(grader.EFFICIENCIES)
    assert details["p_local"] < details["p_global"] < 1e-9
    metrics = {m.name: m.value for m in task.seal([], BOTH, folder, folder / "sealed", None).metrics}
    assert (metrics["auc"] or 0) > 0.9
    assert 9 < (metrics["max_sic_25"] or 0) < 25  # 13 to 18 with more training


def test_the_label_free_tool_finds_the_signal_in_the_signal_region(
    signal_region: tuple[LhcoTask, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    task, folder = signal_region
    monkeypatch.chdir(folder)
    files = {"events": "inputs/events.parquet", "template": "inputs/reference.parquet"}
    made = classify(**files, window=(3.3, 3.7), folds=5, ensemble=2, out_template="reference_scores.parquet")
    graded = task.grade(BOTH, folder / "inputs", folder, n_graded=1)
    assert graded.value == pytest.approx(made.argos, abs=1e-6)  # the tool and the harness agree
    assert (graded.value or 0) > 0.03
    assert graded.details["p_global"] < 1e-3
    assert 3.4 < graded.details["mass"] < 3.6
    assert abs(graded.details["n_signal"] - 772) < 3 * graded.details["n_signal_error"]


def test_scores_that_know_nothing_find_nothing_in_the_signal_region(signal_region: tuple[LhcoTask, Path]) -> None:
    task, folder = signal_region
    rng = np.random.default_rng(1)
    write_events(folder / "scores.parquet", {"score": rng.normal(size=122_124)})
    write_events(folder / "reference_scores.parquet", {"score": rng.normal(size=20_000)})
    blind = task.grade(BOTH, folder / "inputs", folder, n_graded=2)
    assert blind.value is not None
    assert abs(blind.value) < 0.03
    assert blind.details["p_global"] > 1e-3
    for changes, words in (
        ({"reference_scores": None}, "needs the scores of"),
        ({"scores": "reference_scores.parquet"}, "122124 events"),
        ({"reference_scores": "scores.parquet"}, "reference_scores: 'scores.parquet': 122124 rows"),
    ):
        refused = task.grade(BOTH.model_copy(update=changes), folder / "inputs", folder, 1)
        assert not refused.ok
        assert words in refused.reason
