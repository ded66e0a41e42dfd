"""OmniFold with the jet model: soft and hard jets, whose density ratio is that of their numbers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.tools.jet_toys import network, prongs
from tools.contract import ToolError
from tools.events.parquet import write_events
from tools.jet_model.finetune import tune
from tools.jet_model.jets import LOG_PT, Jets
from tools.jet_model.jets_file import write_jets
from tools.jet_model.train import JetTraining
from tools.jet_model.weights import read as read_weights
from tools.jet_model.weights import save
from tools.unfolding import unfold
from tools.unfolding.classifier import Weighted, ratio
from tools.unfolding.iterate import OmniFold
from tools.unfolding.jets import JetNetwork
from tools.unfolding.problem import Problem
from tools.unfolding.read import read

HARD = 0.9  # share of hard jets in the data; half of the simulation


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A small network that can tell the two kinds apart: few events do not teach it both what is new and how often."""
    path = tmp_path_factory.mktemp("weights") / "small.safetensors"
    save(path, network(sample(20), mode="classifier"))
    training = JetTraining(epochs=4, batch=16, learning_rate=5e-3)
    save(path, tune(sample(160, 7), sample(60, 8), training, 1, read_weights(path)).model)
    return {"start": str(path), "epochs": 3, "batch": 32, "learning_rate": 1e-3}


def sample(n: int, seed: int = 1, hard: float = 0.5) -> Jets:
    """Jets of some 8 particles; the share `hard` of them has 2 TeV in place of 500 GeV."""
    jets = prongs(n, seed, mean_particles=8)
    pid = (np.arange(n) < round(hard * n)).astype(np.int64)
    harder = np.where(jets.mask & (pid[:, None] == 1), np.float32(np.log(4)), np.float32(0))
    particles = jets.particles.copy()
    particles[:, :, LOG_PT:] += harder[:, :, None]
    return Jets(particles, pid, None, ("soft", "hard")).take(np.random.default_rng(seed).permutation(n))


def rows(n: int, start: int = 0) -> np.ndarray:
    return np.arange(start, start + n, dtype=float)[:, None]


def on(classifier: JetNetwork, folder: Path, *samples: Jets) -> JetNetwork:
    paths = [folder / f"jets_{number}.h5" for number in range(len(samples))]
    for path, jets in zip(paths, samples, strict=True):
        write_jets(path, jets)
    return classifier.on([str(path) for path in paths])


def test_the_ratio_is_that_of_the_numbers(tmp_path: Path, settings: dict[str, Any]) -> None:
    n = 500
    simulation, data = sample(n), sample(n, 2, HARD)
    classifier = on(JetNetwork(**settings), tmp_path, simulation, data)
    reference = np.repeat([1.0, 0.0], n)
    found = ratio(classifier, Weighted(rows(2 * n), reference, 1 - reference), split=1, seed=1, members=3)
    assert found.gain > 3 * found.gain_error
    # Fifty soft jets in the data.
    z = found.log_ratio(rows(n))
    soft, hard = (np.median(z[simulation.pid == pid]) for pid in (0, 1))
    assert hard - soft == pytest.approx(np.log(HARD / (1 - HARD)), abs=0.6)
    # Weights count like copies; a network that goes on has learnt the same.
    target = np.where(simulation.pid == 1, 2 * HARD, 2 - 2 * HARD)
    again = ratio(classifier, Weighted(rows(n), np.ones(n), target), split=1, seed=1, members=3, start=found)
    z = again.log_ratio(rows(n))
    for pid, exact in ((0, np.log(2 - 2 * HARD)), (1, np.log(2 * HARD))):
        assert np.median(z[simulation.pid == pid]) == pytest.approx(exact, abs=0.25)


def test_data_that_are_the_simulation_give_weights_of_one(tmp_path: Path, settings: dict[str, Any]) -> None:
    n = 200
    jets = sample(n)
    classifier = on(JetNetwork(**settings | {"epochs": 2}), tmp_path, jets)
    mass = jets.pt_and_mass()[1]
    x = np.column_stack([mass, rows(n)])
    done = OmniFold(classifier=classifier, iterations=1).unfold(Problem.of(x, x, x), seed=1)
    np.testing.assert_allclose(done.push, 1, atol=0.15)
    assert np.std(done.push) < 0.05
    # What is counted in bins is the mass alone: no bins of rows.
    assert done.discrepancy[0] == (0.0, pytest.approx(np.sqrt(2 / 40), rel=0.05))


def test_a_known_reweighting_from_files_to_files(
    tmp_path: Path, settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    n = 400
    simulation, data = sample(n), sample(n, 2, HARD)
    order = np.random.default_rng(1).permutation(n)
    for name, jets in (("simulation", simulation), ("data", data)):
        columns = {"reco_mass": jets.pt_and_mass()[1], "reco_jet": rows(n)[:, 0]}
        if name == "simulation":  # a miss, and jets that are not in the order of the events
            columns = {key: values[order] for key, values in columns.items()}
            columns |= {key.replace("reco", "gen"): values for key, values in columns.items()}
            columns["pass_reco"] = (np.arange(n) > 0).astype(float)
            columns["reco_jet"] = np.where(columns["pass_reco"] > 0, columns["reco_jet"], -999.0)
        write_events(tmp_path / f"{name}.parquet", columns)
        write_jets(tmp_path / f"{name}.parquet.particles.h5", jets)
    request = {
        "data": "data.parquet",
        "simulation": "simulation.parquet",
        "observables": ["mass"],
        "method": {
            "kind": "omnifold",
            "iterations": 1,
            "step1_ensemble": 1,
            "classifier": {"kind": "jets", **settings},
        },
    }
    result = unfold(**request)
    published = read(Path(result.out))
    weights, hard = published.weights["nominal"], simulation.pid[order] == 1  # type: ignore[index]
    assert weights[hard].sum() / weights.sum() == pytest.approx(HARD, abs=0.06)
    assert set(published.metadata["method"]["classifier"]["files"]) == {
        "data.parquet.particles.h5",
        "simulation.parquet.particles.h5",
    }
    # The same request goes on from its folder; with other jets it is another study.
    assert unfold(**request).content_sha256 == result.content_sha256
    write_jets(tmp_path / "data.parquet.particles.h5", sample(n, 3, HARD))
    with pytest.raises(ToolError, match="another study"):
        unfold(**request)
    (tmp_path / "data.parquet.particles.h5").unlink()
    with pytest.raises(ToolError, match="no such file"):
        unfold(**request)
    write_jets(tmp_path / "data.parquet.particles.h5", data.take(slice(0, 100)))
    with pytest.raises(ToolError, match=r"reco_jet of event 100: a row of data\.parquet\.particles\.h5, below 100"):
        unfold(**request)


def test_rows_and_files_that_are_wrong_are_named(tmp_path: Path, settings: dict[str, Any]) -> None:
    classifier = JetNetwork(**settings)
    with pytest.raises(ToolError, match="files of jets"):
        classifier.jets(rows(3))
    classifier = on(classifier, tmp_path, sample(10))
    for wrong in (rows(11), rows(3) + 0.5, rows(3) - 1):
        with pytest.raises(ToolError, match="0 to 9"):
            classifier.jets(wrong)
    write_jets(tmp_path / "jets_0.h5", sample(10, seed=2))
    from tools.unfolding.jets import _table

    _table.cache_clear()
    with pytest.raises(ToolError, match="has changed"):
        classifier.jets(rows(3))
