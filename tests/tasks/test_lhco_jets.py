"""A search on constituents: jets go with their events, without labels, and their scores are graded as any others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from tasks.catalogue import make_task
from tasks.lhco import truth
from tasks.lhco.claims import SearchSubmission
from tasks.lhco.files import JETS
from tasks.lhco.presets import RND_FILE
from tasks.task import TaskError
from tests.tools.dijet_toys import WINDOW, dijets
from tools.anomaly import jet_classify, jet_template
from tools.events.frame import write_frame
from tools.events.jets_lhco import pair_mass
from tools.events.lhco import FEATURES
from tools.events.parquet import read_columns
from tools.jet_model.jets import Jets
from tools.jet_model.jets_file import read_jets, write_jets

N_SIGNAL = 150


def write_folder(folder: Path, n: int = 9000) -> Path:
    """Feature file (GeV) and labelled jets of the same events."""
    jets, is_signal = dijets(n, N_SIGNAL + 100, seed=6)
    assert jets.jet is not None
    pt, eta, phi, mass = jets.jet.reshape(-1, 2, 4).transpose(2, 0, 1).astype(np.float64)
    table = {name: np.full(len(pt), 0.2) for name in FEATURES}
    for j in (0, 1):
        momentum = {"px": pt * np.cos(phi), "py": pt * np.sin(phi), "pz": pt * np.sinh(eta), "m": mass}
        table |= {f"{name}j{j + 1}": values[:, j] for name, values in momentum.items()}
    folder.mkdir()
    columns = np.column_stack([*(table[name] for name in FEATURES), is_signal.astype(float)])
    write_frame(folder / RND_FILE, [columns.astype(np.float32)], (*FEATURES, "label"))
    labelled = Jets(jets.particles, np.repeat(is_signal.astype(np.int64), 2), jets.jet, ("qcd", "signal"))
    write_jets(folder / JETS, labelled)
    return folder


def prepared(folder: Path, out: Path) -> tuple[Any, dict[str, Any]]:
    task = make_task("lhco-jets", {"data": str(folder), "n_signal": N_SIGNAL})
    return task, task.prepare(out / "inputs", out / "held_out", out / "sealed")


def test_jets_go_with_their_events_and_tell_no_labels(tmp_path: Path) -> None:
    _, facts = prepared(write_folder(tmp_path / "data"), tmp_path)
    assert facts["jets"] == "/inputs/jets.h5"
    _, is_signal, unseen = truth.read(tmp_path / "sealed")
    for place, rows in (("inputs", ~unseen), ("held_out", np.ones(len(unseen), dtype=bool))):
        with h5py.File(tmp_path / place / JETS) as file:
            assert set(file) == {"data", "global"}
        jets = read_jets(tmp_path / place / JETS)
        assert jets.jet is not None
        mjj = pair_mass(jets.jet.reshape(-1, 2, 4).astype(np.float64))
        assert len(mjj) == rows.sum()
        np.testing.assert_allclose(mjj, read_columns(tmp_path / place / "events.parquet")["mjj"], rtol=1e-4)
    # Signal jets have two cores: the particles, too, are those of their events.
    width = np.hypot(jets.particles[1::2, :, 0], jets.particles[1::2, :, 1]).mean(axis=1)
    assert width[is_signal].mean() > 1.3 * width[~is_signal].mean()


@pytest.mark.slow
def test_a_search_on_constituents_is_graded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("omnilearned")
    task, _ = prepared(write_folder(tmp_path / "data"), tmp_path)
    workspace = tmp_path / "workspace"
    workspace.mkdir()
    monkeypatch.chdir(workspace)
    jets = str(tmp_path / "inputs" / JETS)
    jet_template(jets=jets, window=WINDOW, method={"kind": "sideband", "width": 0.5})
    jet_classify(jets=jets, window=WINDOW, template="template.h5", control="template_control.h5", folds=2, ensemble=2)
    score = task.grade(SearchSubmission(scores="scores.parquet", window=WINDOW), tmp_path / "inputs", workspace, 1)
    assert score.value is not None, score
    assert score.value > 4
    assert score.details["mass"] == pytest.approx(3.5, abs=0.1)


def test_jets_of_other_events_are_refused(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "data", 2000)
    jets = read_jets(folder / JETS)
    write_jets(folder / JETS, jets.take(np.r_[2 : len(jets), 0, 1]))
    with pytest.raises(TaskError, match="in the order of the feature file"):
        prepared(folder, tmp_path)
    write_jets(folder / JETS, jets.take(slice(2, None)))
    with pytest.raises(TaskError, match="two jets"):
        prepared(folder, tmp_path)
    (folder / JETS).write_text("broken")
    with pytest.raises(TaskError, match="not a readable HDF5"):
        prepared(folder, tmp_path)
    (folder / JETS).unlink()
    with pytest.raises(TaskError, match="beamcrew data convert"):
        prepared(folder, tmp_path)
