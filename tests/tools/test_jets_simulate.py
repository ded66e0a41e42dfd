"""Simulated jets: flat in pt, of the kind they say, same seed same jets; the command line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from tools import data_cli
from tools.events import jets_simulate
from tools.events.jets_cluster import find_jets
from tools.events.jets_kinds import ALL_KINDS, JetKind, JetProcess, decay_points, holds
from tools.events.jets_simulate import PT_EDGES, JetSimulation
from tools.events.pythia import start
from tools.jet_model.jets_file import read_jets

KINDS = ("gluon", "w", "top")
COMMAND = ["simulate", "jets", "--kinds", ",".join(KINDS), "--events", "60", "--seed", "5"]


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("jets") / "jets.h5"
    result = CliRunner().invoke(data_cli.app, [*COMMAND, "--workers", "1", str(out)])
    assert result.exit_code == 0, result.output
    return out


def test_jets_are_flat_in_pt_and_of_their_kind(sample: Path) -> None:
    jets = read_jets(sample)
    assert jets.jet is not None
    assert jets.pid is not None
    assert jets.count() == dict.fromkeys(KINDS, 20)
    assert np.count_nonzero(np.diff(jets.pid)) > 20  # mixed
    pt, mass = jets.jet[:, 0], jets.jet[:, 3]
    for kind in range(3):
        np.testing.assert_array_equal(np.histogram(pt[jets.pid == kind], PT_EDGES)[0], 2)
    medians = [np.median(mass[jets.pid == kind]) for kind in range(3)]
    assert abs(medians[1] - 80.4) < 15  # the detector and the underlying event shift it
    assert abs(medians[2] - 173) < 20
    # Particles are massless detector objects, and few jets have more than are kept.
    np.testing.assert_allclose(jets.pt_and_mass()[0], pt, rtol=5e-3)
    np.testing.assert_allclose(jets.pt_and_mass()[1], mass, rtol=2e-2, atol=0.5)


def test_same_seed_same_jets(sample: Path, tmp_path: Path) -> None:
    simulation = JetSimulation(kinds=(JetKind.gluon, JetKind.w, JetKind.top), events=60, seed=5)
    jets_simulate._simulate_shard(simulation, 1, tmp_path)
    again, jets = read_jets(tmp_path / "000001.h5"), read_jets(sample)
    assert again.jet is not None
    assert jets.jet is not None
    w = jets.with_kinds(("w",))
    assert w.jet is not None
    np.testing.assert_array_equal(np.sort(again.jet[:, 0]), np.sort(w.jet[:, 0]))
    provenance = json.loads(sample.with_name("jets.h5.provenance.json").read_text())
    assert JetSimulation.model_validate(provenance["simulation"]) == simulation
    assert provenance["jets"] == {"gluon": 20, "w": 20, "top": 20}


def test_shards_share_the_kinds_out() -> None:
    simulation = JetSimulation(events=16, shard_events=2)
    plan = simulation.plan()
    assert len(plan) == simulation.n_shards == 9
    made = {kind: sum(n for k, n in plan if k is kind) for kind in ALL_KINDS}
    assert sorted(made.values()) == [2, 2, 2, 2, 2, 3, 3]


@pytest.mark.parametrize(
    ("kind", "partons", "ids"),
    [(JetKind.top, 3, {1, 2, 3, 4, 5}), (JetKind.hgg, 2, {21}), (JetKind.z, 2, {1, 2, 3, 4, 5})],
)
def test_decay_partons_add_up_to_the_particle(kind: JetKind, partons: int, ids: set[int]) -> None:
    pythia = start(JetProcess(kind=kind), 7)
    for _ in range(3):
        assert pythia.next()
        points = decay_points(pythia.event, kind)
        assert len(points) == (1 if kind is JetKind.hgg else 2)
        for rows in points:
            assert len(rows) == partons + 1
            quarks = [p for p in pythia.event if abs(p.id()) in ids]
            where = np.array([(p.eta(), p.phi()) for p in quarks])
            nearest = [np.argmin(np.abs(where - row).sum(axis=1)) for row in rows[1:]]
            np.testing.assert_allclose(where[nearest], rows[1:], atol=1e-9)
            px, py, pz = np.sum([(p.px(), p.py(), p.pz()) for p in (quarks[n] for n in nearest)], axis=0)
            direction = np.arcsinh(pz / np.hypot(px, py)), np.arctan2(py, px)
            np.testing.assert_allclose(direction, rows[0], atol=0.02)


def test_a_jet_holds_its_decay() -> None:
    top = np.array([[0.0, 3.1], [0.3, -3.1], [-0.2, 3.0], [0.0, 2.6]])
    assert holds(np.array([0.0, -3.12]), top)
    assert not holds(np.array([0.5, 3.1]), top)  # the axis is off
    assert not holds(np.array([0.0, -2.85]), top)  # one parton is outside


def test_jets_of_a_known_event() -> None:
    import awkward as ak

    events = ak.Array(
        [
            [],
            [
                {"pt": 30.0, "eta": 0.0, "phi": 3.1},
                {"pt": 70.0, "eta": 0.1, "phi": -3.1},
                {"pt": 60.0, "eta": 0.0, "phi": 0.0},
                {"pt": 5.0, "eta": 2.0, "phi": 1.0},
            ],
        ]
    )
    jets = find_jets(events, 0.8, 20.0, 3)
    order = np.argsort(-jets["axis"][:, 0])
    np.testing.assert_array_equal(jets["event"], 1)
    np.testing.assert_allclose(jets["pt"][order], [[70, 30, 0], [60, 0, 0]], rtol=1e-6)
    px, py = 30 * np.cos(3.1) + 70 * np.cos(-3.1), 30 * np.sin(3.1) + 70 * np.sin(-3.1)
    pz, energy = 70 * np.sinh(0.1), 30 + 70 * np.cosh(0.1)
    mass = np.sqrt(energy**2 - px**2 - py**2 - pz**2)
    expected = [np.hypot(px, py), np.arcsinh(pz / np.hypot(px, py)), np.arctan2(py, px), mass]
    np.testing.assert_allclose(jets["axis"][order[0]], expected, rtol=1e-6)
    assert len(find_jets(events[:1], 0.8, 20.0, 3)["axis"]) == 0


@pytest.mark.parametrize(
    ("options", "word"),
    [(["jets.parquet"], ".h5"), (["--kinds", "w,squark", "jets.h5"], "hgg")],
)
def test_wrong_options_are_one_line(options: list[str], word: str) -> None:
    result = CliRunner().invoke(data_cli.app, ["simulate", "jets", *options])
    assert result.exit_code == 2
    assert word in result.stderr
    assert "Traceback" not in result.output


def test_a_kind_named_twice_is_refused() -> None:
    result = CliRunner().invoke(data_cli.app, ["simulate", "jets", "--kinds", "w,w", "jets.h5"])
    assert result.exit_code == 2
    assert "once" in result.stderr
