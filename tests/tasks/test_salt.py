"""Secrets of a run follow from its salt: who knows code, options and seed can rebuild none of them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import tools
from sandbox.bubblewrap import Bubblewrap
from sandbox.driver import Limits, SandboxLost
from tasks import salt
from tasks.lhco.mix import SAMPLE, mix
from tasks.lhco.presets import LhcoDemo
from tasks.showers.task import ShowersTask
from tasks.tagging import audit
from tasks.tagging.task import TaggingTask
from tasks.unfolding.task import UnfoldingTask
from tools.calorimeter.gflash import incident_energies
from tools.events.parquet import read_columns
from tools.metrics import auc

ONE, OTHER = "1" * 32, "2" * 32


def test_a_seed_without_salt_is_public_and_salts_differ() -> None:
    assert salt.secret_seed("", 7) == 7
    seeds = {salt.secret_seed(s, seed) for s in (ONE, OTHER) for seed in range(50)}
    assert len(seeds) == 100
    assert min(seeds) > 2**100  # nobody tries them all
    assert len({salt.fresh() for _ in range(50)}) == 50


def test_a_salt_is_kept_for_the_operator_alone(tmp_path: Path) -> None:
    assert salt.kept(tmp_path / "sealed") == ""
    salt.keep(tmp_path / "sealed", ONE)
    assert salt.kept(tmp_path / "sealed") == ONE
    assert (tmp_path / "sealed" / salt.FILE).stat().st_mode & 0o077 == 0


def test_the_options_of_a_task_do_not_tell_its_salt() -> None:
    task = LhcoDemo(seed=3)
    assert task.salted(ONE).options() == task.options()
    assert ONE not in repr(task.salted(ONE))
    assert task.salted(ONE).secret_seed == salt.secret_seed(ONE, 3)
    assert task.secret_seed == 3


def guessed(task: LhcoDemo, seeds: range, folder: Path) -> float:
    """The best AUC of whoever rebuilds the mixing with public constants, trying seeds: no event has to be looked at."""
    task.prepare(folder / "inputs", folder / "held_out", folder / "sealed")
    true = read_columns(folder / "sealed" / "labels.parquet")["is_signal"] > 0
    best = 0.0
    for seed in seeds:
        mine = mix(task.events - task.n_signal, task.signal, task.n_signal, seed).is_signal.astype(float)
        best = max(best, auc(mine[true], mine[~true]))
    return best


def test_signal_events_cannot_be_found_by_trying_seeds(tmp_path: Path) -> None:
    task = LhcoDemo(events=20_000, n_signal=500, seed=5)
    assert guessed(task, range(12), tmp_path / "public") == 1.0  # the attack is a real one
    assert guessed(task.salted(ONE), range(12), tmp_path / "salted") < 0.55


AGAIN = """
import json, sys
from pathlib import Path
from tools.events import simulate
from tools.events.simulate import Simulation
simulate.write_shard = lambda folder, shard, columns, *rest: print(json.dumps([columns[n].tolist() for n in NAMES]))
NAMES = ("mjj", "mj1", "mj2", "tau1_j1")
Simulation.shard_size = lambda self, shard: 100
simulate._simulate_shard(Simulation(**json.loads(sys.argv[1])), 0, Path())
"""


def test_shipped_events_cannot_be_made_again_inside(tmp_path: Path) -> None:
    """The seeds of the shipped sample are public, and the simulation follows from them: the generator is not inside."""
    pytest.importorskip("pythia8mc")
    pytest.importorskip("fastjet")
    simulation = json.dumps(json.loads((SAMPLE / "provenance.json").read_text())["signal_3500_500_100"]["simulation"])
    environment = {"PYTHONPATH": str(Path(tools.__file__).parents[1]), "OMP_NUM_THREADS": "1"}
    outside = subprocess.run([sys.executable, "-c", AGAIN, simulation], env=environment, capture_output=True, text=True)
    made = np.array(json.loads(outside.stdout.splitlines()[-1]))
    columns = read_columns(SAMPLE / "signal_3500_500_100.parquet")
    shipped = np.array([columns[name] for name in ("mjj", "mj1", "mj2", "tau1_j1")])
    apart = np.abs(made[:, :, None] / np.maximum(shipped[:, None, :], 1e-9) - 1).max(axis=0).min(axis=1)
    assert np.mean(apart < 3e-3) > 0.9  # the attack is a real one: it would name the signal, event by event
    for name in ("inputs", "workspace"):
        (tmp_path / name).mkdir()
    try:
        box = Bubblewrap(tmp_path / "inputs", tmp_path / "workspace", Path(tools.__file__).parent, Limits())
    except SandboxLost as error:
        pytest.skip(f"this machine lets nobody build a bubblewrap sandbox: {error}")
    with box:
        inside = box.exec(["python", "-c", AGAIN, simulation])
        assert not inside.ok
        assert "No module named 'pythia8mc'" in inside.stderr
        assert box.exec(["python", "-c", "import tools.events.simulate"]).ok  # nothing else was missing


def test_sealed_showers_are_not_those_of_the_shipped_simulator() -> None:
    task = ShowersTask(showers=2000, seed=1)
    public, secret, other = (t.samples() for t in (task, task.salted(ONE), task.salted(OTHER)))
    mine = np.sort(incident_energies(public.train.geometry, 2000, 1))
    for samples, known in ((public, True), (secret, False), (other, False)):
        energies = np.sort(np.concatenate([samples.train.incident, samples.reference.incident, samples.asked.incident]))
        assert np.allclose(energies, mine) == known
    again = task.salted(ONE).samples()
    np.testing.assert_array_equal(again.asked.voxels, secret.asked.voxels)


def test_the_audited_number_does_not_follow_from_the_seed() -> None:
    task = TaggingTask(labels=(50, 200, 800, 1600, 2400))
    found = {audit.audited(task.labels, task.salted(f"{k:032x}").secret_seed)[-1] for k in range(40)}
    assert found == {50, 200, 800, 1600}


def test_held_out_events_do_not_follow_from_the_seed() -> None:
    task = UnfoldingTask(events=2000)
    first, again, other = (task.salted(s).samples() for s in (ONE, ONE, OTHER))
    np.testing.assert_array_equal(first.data(unseen=True), again.data(unseen=True))
    assert first.data(unseen=True).shape != other.data(unseen=True).shape or not np.array_equal(
        first.data(unseen=True), other.data(unseen=True)
    )


@pytest.mark.parametrize("seed", [0, 1])
def test_a_salted_seed_is_one_that_generators_take(seed: int) -> None:
    secret = salt.secret_seed(ONE, seed)
    draws = [np.random.default_rng([secret, k]).random() for k in (1, 2)]
    assert draws[0] != draws[1]
