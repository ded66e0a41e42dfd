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
from tools.events.pythia import PARTICLE, Process, generate, start
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
        off = np.abs(columns[name] - values) / (values + 1e-6)  # tau3 of a jet of three particles is 0
        # One-pass axes may fall into another local minimum when the momenta are rounded to float32.
        assert np.mean(off < 1e-4) > (0.9 if name.startswith("tau") else 0.999), name
        assert off.max() < 0.05, name


def test_resonance_is_where_it_should_be(reference: Path) -> None:
    columns = read_columns(reference)
    assert len(columns["mjj"]) == SAMPLE.events
    assert np.median(columns["mjj"]) == pytest.approx(3.5, rel=0.04)
    assert np.median(columns["mj1"]) == pytest.approx(0.1, rel=0.25)  # radiation adds to R=1 jets
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
    assert first[0].shape[1] == len(PARTICLE)
    assert not np.array_equal(first[0][:5], other[0][:5])


def test_particles_are_what_pythia_says() -> None:
    particles = next(generate(Process(), 3))
    event = start(Process(), 3)
    assert event.next()
    rows = [(p.pT(), p.eta(), p.phi(), p.id(), p.charge(), p.m()) for p in event.event if p.isFinal()]
    np.testing.assert_allclose(particles, rows, rtol=1e-6, atol=1e-9)
    pt, eta, mass = particles[:, [0, 1, 5]].T
    assert np.sqrt((pt * np.cosh(eta)) ** 2 + mass**2).sum() == pytest.approx(13_000.0, rel=1e-4)
    assert particles[:, 4].sum() == pytest.approx(2.0)  # two protons


def test_the_veto_gives_up_events_without_a_hard_jet_only() -> None:
    """What is kept has a jet near the threshold, or above it; without the veto one event in fifty has."""
    kept = list(itertools.islice(generate(Process(), 5, Process().veto(LEADING_PT_MIN)), 60))
    free = list(itertools.islice(generate(Process(), 5), 60))
    hard, soft = (np.array([leading_pt(event) for event in events]) for events in (kept, free))
    assert np.mean(hard > 1000) > 0.9
    assert np.mean(hard > LEADING_PT_MIN) > 0.25
    assert np.mean(soft > 1000) < 0.3
    assert RESONANCE.veto(LEADING_PT_MIN) is Process().veto(0.0) is None


def leading_pt(particles: np.ndarray) -> float:
    import awkward as ak
    import fastjet

    pt, eta, phi = particles[np.abs(particles[:, 1]) < 5, :3].T
    four = {"px": pt * np.cos(phi), "py": pt * np.sin(phi), "pz": pt * np.sinh(eta), "E": pt * np.cosh(eta)}
    jets = fastjet.ClusterSequence(ak.zip(four), fastjet.JetDefinition(fastjet.antikt_algorithm, 1.0)).inclusive_jets()
    return float(ak.max(np.hypot(jets.px, jets.py)))


class HardProcess(Process):
    """Without showers and hadrons: a thousand times faster."""

    def settings(self) -> list[str]:
        return [*super().settings(), "PartonLevel:all = off"]


@pytest.mark.parametrize(("masses", "width"), [((3.5, 0.5, 0.1), 0.007), ((3.4, 0.2, 0.12), 0.08)])
def test_resonance_is_a_breit_wigner_of_the_width_asked_for(masses: tuple[float, float, float], width: float) -> None:
    """Within +-2 Gamma half a width holds arctan(1)/arctan(4) of it; falling parton luminosities tilt it a little."""
    n = 6000
    pythia = start(HardProcess(masses=masses, width=width), 4)
    mass = np.empty(n)
    for i in range(n):
        assert pythia.next()
        mass[i] = pythia.infoPython().mHat() / 1e3
    off = (mass - masses[0]) / (width * masses[0])
    core = np.abs(off[np.abs(off) < 2]) < 0.5
    assert core.mean() == pytest.approx(np.arctan(1) / np.arctan(4), abs=4 * np.sqrt(0.25 / len(core)) + 0.3 * width)
    assert np.median(off[np.abs(off) < 2]) == pytest.approx(0, abs=0.05 + 4 * width)


def test_a_resonance_decays_to_longitudinal_vectors() -> None:
    """Quarks fly across the direction of B and C, as sin^2 theta in their rest frames: mean cos^2 theta = 1/5."""
    pythia = start(HardProcess(masses=(3.5, 0.5, 0.1)), 4)
    squared: dict[int, list[float]] = {24: [], 23: []}
    for _ in range(1500):
        assert pythia.next()
        for boson in (p for p in pythia.process if abs(p.id()) in squared and len(p.daughterList()) == 2):
            quark = pythia.process[boson.daughterList()[0]]
            energy, momentum = boson.e(), np.array([boson.px(), boson.py(), boson.pz()])
            q = np.array([quark.px(), quark.py(), quark.pz()])
            along = q @ momentum / np.linalg.norm(momentum)
            boosted = (energy * along - np.linalg.norm(momentum) * quark.e()) / boson.m()
            squared[abs(boson.id())].append((boosted / (boson.m() / 2)) ** 2)
    for kind, values in squared.items():
        assert len(values) == 1500
        assert np.mean(values) == pytest.approx(0.2, abs=0.04), kind


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
