"""Z+jets at two levels: who is a miss and who a fake, a perfect detector, seeds; the command line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from tools import data_cli
from tools.events import zjets
from tools.events.parquet import particles_path, read_columns
from tools.events.pythia import PARTICLE
from tools.events.zjets import COLUMNS, NOT_PASSED, Tune, ZJets, ZJetsSimulation
from tools.events.zjets_jets import OBSERVABLES
from tools.jet_model.jets_file import read_jets

COMMAND = ["simulate", "zjets", "--tune", "a14", "--events", "40", "--seed", "5", "--workers", "1"]


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("zjets") / "events.parquet"
    result = CliRunner().invoke(data_cli.app, [*COMMAND, str(out)])
    assert result.exit_code == 0, result.output
    return out


def test_simulated_events_are_physical(sample: Path) -> None:
    columns = read_columns(sample)
    assert tuple(columns) == COLUMNS
    for level in ("gen", "reco"):
        passed = columns[f"pass_{level}"] > 0
        assert np.mean(passed) > 0.85
        for name in OBSERVABLES:
            values = columns[f"{level}_{name}"]
            np.testing.assert_array_equal(values[~passed], NOT_PASSED)
            assert np.all(values[passed] > NOT_PASSED)
        mult, zg = columns[f"{level}_mult"][passed], columns[f"{level}_zg"][passed]
        np.testing.assert_array_equal(mult, np.round(mult))
        assert np.all((zg == 0) | ((zg > 0.1) & (zg <= 0.5)))
    assert np.all((columns["pass_gen"] > 0) | (columns["pass_reco"] > 0))
    both = (columns["pass_gen"] > 0) & (columns["pass_reco"] > 0)
    # The detector blurs and does not shuffle.
    assert np.corrcoef(columns["gen_mass"][both], columns["reco_mass"][both])[0, 1] > 0.7
    assert np.mean(columns["reco_mult"][both]) < np.mean(columns["gen_mult"][both])


def test_same_seed_same_events_and_tunes_differ(sample: Path, tmp_path: Path) -> None:
    simulation = ZJetsSimulation(process=ZJets(tune=Tune.a14), events=40, seed=5)
    zjets._simulate_shard(simulation, 0, tmp_path)
    again, first = read_columns(tmp_path / "000000.parquet"), read_columns(sample)
    for name in COLUMNS:
        np.testing.assert_array_equal(again[name], first[name])
    assert len({tuple(ZJets(tune=tune).settings()) for tune in Tune}) == len(Tune)


def test_provenance_and_info(sample: Path) -> None:
    provenance = json.loads(sample.with_name("events.parquet.provenance.json").read_text())
    assert ZJetsSimulation.model_validate(provenance["simulation"]).process.tune is Tune.a14
    assert "Tune:pp = 21" in provenance["pythia_settings"]
    shown = CliRunner().invoke(data_cli.app, ["info", str(sample)])
    assert "rows 40, columns 14, labels: no" in shown.output
    assert "-999" not in shown.output


def test_particles_change_nothing_and_make_the_observables_again(sample: Path, tmp_path: Path) -> None:
    out = tmp_path / "events.parquet"
    result = CliRunner().invoke(data_cli.app, [*COMMAND, "--particles", str(out)])
    assert result.exit_code == 0, result.output
    columns, first = read_columns(out), read_columns(sample)
    assert set(columns) - set(COLUMNS) == {"gen_jet", "reco_jet"}
    jets = read_jets(particles_path(out))
    rows = []
    for level in ("gen", "reco"):
        for name in OBSERVABLES:
            np.testing.assert_array_equal(columns[f"{level}_{name}"], first[f"{level}_{name}"])
        passed = columns[f"pass_{level}"] > 0
        np.testing.assert_array_equal(columns[f"{level}_jet"][~passed], NOT_PASSED)
        mine = jets.take(columns[f"{level}_jet"][passed].astype(int))
        rows += columns[f"{level}_jet"][passed].tolist()
        assert mine.pid is not None
        assert {mine.kinds[number] for number in mine.pid} == {level}
        np.testing.assert_array_equal(mine.multiplicity, columns[f"{level}_mult"][passed])
        assert mine.jet is not None
        np.testing.assert_allclose(mine.jet[:, 3], columns[f"{level}_mass"][passed], rtol=1e-3, atol=0.02)
    assert sorted(rows) == list(range(len(jets)))


def jets(pt: list[float], rapidity: list[float], phi: list[float]) -> dict[str, np.ndarray]:
    table = {"pt": np.array(pt), "rapidity": np.array(rapidity), "phi": np.array(phi)}
    return table | {name: 10.0 * k + np.arange(len(pt)) for k, name in enumerate(OBSERVABLES)}


def test_misses_fakes_and_torn_events() -> None:
    """In order: both; soft Z at reco; soft jet at gen; forward jet at reco; two different jets; nothing."""
    gen = jets([100, 100, 40, 100, 100, 100], [0.0, 0, 0, 2.0, 0, 0], [3.1, 0, 0, 0, 0, 0])
    reco = jets([90, 90, 60, 90, 90, 90], [0.0, 0, 0, 2.2, 1.0, 0], [-3.1, 0, 0, 0, 0, 0])
    gen_z = np.array([250.0, 201, 250, 250, 250, 190])
    reco_z = np.array([240.0, 199, 250, 250, 250, 195])
    table = zjets.combine(gen, reco, gen_z, reco_z)
    np.testing.assert_array_equal(table["pass_gen"], [1, 1, 0, 1, 1, 0])
    np.testing.assert_array_equal(table["pass_reco"], [1, 0, 1, 0, 0, 1])
    np.testing.assert_array_equal(table["gen_mult"], [10, 11, NOT_PASSED, 13, 14, NOT_PASSED])
    np.testing.assert_array_equal(table["reco_mult"], [10, NOT_PASSED, 12, NOT_PASSED, NOT_PASSED, 14])


def test_a_perfect_detector_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(2)

    def event() -> np.ndarray:
        n = 20
        rows = np.zeros((n + 1, len(PARTICLE)))
        rows[:n, 0] = rng.dirichlet(np.full(n, 0.5)) * 250
        rows[:n, 1:3] = rng.normal(0.2, 0.15, (n, 2))
        rows[:n, 3] = 211
        rows[n] = rng.uniform(150, 300), 0, 3.0, zjets.Z_BOSON, 0, 91.2
        return rows

    monkeypatch.setattr(zjets, "respond", lambda index, particles, rng: (index, *particles[:, :3].T))
    monkeypatch.setattr(zjets, "z_resolution", np.zeros_like)
    table = zjets.both_levels([event() for _ in range(50)], rng)
    assert 10 < len(table["pass_gen"]) < 50
    for name in (*OBSERVABLES, "pass"):
        of = ("pass_gen", "pass_reco") if name == "pass" else (f"gen_{name}", f"reco_{name}")
        np.testing.assert_allclose(table[of[0]], table[of[1]], rtol=1e-9, err_msg=name)


def test_the_z_is_measured_as_two_muons() -> None:
    assert zjets.z_resolution(np.array([200.0]))[0] == pytest.approx(np.hypot(0.01, 0.015) / np.sqrt(2))
