"""Pythia and the simulation: the resonance is where it should be; results depend on the seed alone."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from tools.contract import ToolError
from tools.events.cluster import COLUMNS, LEADING_PT_MIN
from tools.events.lhco import read_events
from tools.events.parquet import read_columns
from tools.events.pythia import Process, generate
from tools.events.simulate import Simulation, simulate

RESONANCE = Process(masses=(3.5, 0.5, 0.1))
SAMPLE = Simulation(process=RESONANCE, events=60, shard_events=30, seed=5)


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One process, no interruption, particles kept."""
    out = tmp_path_factory.mktemp("simulation") / "events.parquet"
    simulate(SAMPLE.model_copy(update={"particles": True}), out, workers=1)
    return out


def test_interrupted_parallel_run_without_particles_gives_the_same_events(reference: Path, tmp_path: Path) -> None:
    out = tmp_path / "events.parquet"

    def interrupt(done: int, total: int) -> None:
        if 0 < done < total:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        simulate(SAMPLE, out, workers=1, progress=interrupt)
    assert not out.exists()
    seen: list[tuple[int, int]] = []
    simulate(SAMPLE, out, workers=2, progress=lambda *step: seen.append(step))
    assert seen[0][0] >= SAMPLE.shard_events  # what was finished is not done again
    assert seen[-1] == (SAMPLE.events, SAMPLE.events)
    one, other = read_columns(reference), read_columns(out)
    for name in COLUMNS:
        np.testing.assert_array_equal(one[name], other[name], err_msg=name)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["events.parquet", "events.parquet.provenance.json"]


def test_kept_particles_cluster_to_the_same_features(reference: Path) -> None:
    columns, truth = read_events(reference.with_name("events.parquet.particles.h5"))
    assert truth is not None
    assert truth.all()  # a resonance is signal
    for name, values in read_columns(reference).items():
        off = np.abs(columns[name] / values - 1)
        # One-pass axes may fall into another local minimum when the momenta are rounded to float32.
        assert np.mean(off < 1e-4) > (0.9 if name.startswith("tau") else 0.999), name
        assert off.max() < 0.05, name


def test_resonance_is_where_it_should_be(reference: Path) -> None:
    columns = read_columns(reference)
    assert len(columns["mjj"]) == SAMPLE.events
    assert np.median(columns["mjj"]) == pytest.approx(3.5, rel=0.04)
    assert np.median(columns["mj1"]) == pytest.approx(0.1, rel=0.25)  # the underlying event adds to R=1 jets
    assert np.median(columns["mj2"]) == pytest.approx(0.5, rel=0.06)


def test_provenance_tells_how_to_make_it_again(reference: Path) -> None:
    provenance = json.loads(reference.with_name("events.parquet.provenance.json").read_text())
    assert Simulation.model_validate(provenance["simulation"]) == SAMPLE.model_copy(update={"particles": True})
    assert 0.3 < provenance["acceptance"] <= 1.0
    assert "pythia8mc" in provenance["versions"]
    assert provenance["columns"] == list(COLUMNS)


def test_existing_result_and_foreign_shards_are_refused(reference: Path, tmp_path: Path) -> None:
    with pytest.raises(ToolError, match="exists") as caught:
        simulate(SAMPLE, reference)
    assert (caught.value.field, caught.value.value) == ("out", str(reference))

    out = tmp_path / "events.parquet"
    folder = tmp_path / "events.parquet.shards"
    folder.mkdir()
    (folder / "simulation.json").write_text(SAMPLE.model_copy(update={"seed": 6}).model_dump_json())
    with pytest.raises(ToolError, match="another simulation") as caught:
        simulate(SAMPLE, out)
    assert caught.value.field == "out"
    assert '"seed": 6' in caught.value.allowed


def test_pythia_events_follow_the_seed() -> None:
    first, again, other = (list(itertools.islice(generate(RESONANCE, seed), 2)) for seed in (1, 1, 2))
    for a, b in zip(first, again, strict=True):
        np.testing.assert_array_equal(a, b)
    assert first[0].shape[1] == 6
    assert not np.array_equal(first[0][:5], other[0][:5])


def test_pythia_conserves_the_beam_energy() -> None:
    pt, eta, _, _, _, mass = next(generate(Process(), 3)).T
    assert np.sqrt((pt * np.cosh(eta)) ** 2 + mass**2).sum() == pytest.approx(13_000.0, rel=1e-4)


@pytest.mark.parametrize("masses", [(3.5, 3.0, 0.6), (0.1, 0.03, 0.03), (20.0, 1.0, 1.0), (3.5, 0.0, 0.1)])
def test_impossible_masses_are_refused(masses: tuple[float, float, float]) -> None:
    with pytest.raises(ValidationError) as caught:
        Process(masses=masses)
    cause = caught.value.errors()[0]["ctx"]["error"]
    assert isinstance(cause, ToolError)
    assert (cause.field, cause.value) == ("masses", masses)
    assert "m_B + m_C < m_A" in cause.allowed


def test_sizes_of_shards_add_up() -> None:
    simulation = Simulation(events=105, shard_events=50)
    assert [simulation.shard_size(s) for s in range(simulation.n_shards)] == [50, 50, 5]
    assert simulation.leading_pt_min == LEADING_PT_MIN
    with pytest.raises(ValidationError):
        Simulation(events=0)
