"""Readers of published layouts of jets: momenta come back, truth is right, LHCO jets are those of the features."""

from __future__ import annotations

import pickle
from pathlib import Path

import awkward as ak
import h5py
import numpy as np
import pytest
from typer.testing import CliRunner

from tests.tools.jet_toys import prongs
from tools import data_cli
from tools.contract import ToolError
from tools.events.cluster import cluster
from tools.events.jets_jetclass import KINDS, LABELS
from tools.events.jets_lhco import read_dijets
from tools.events.jets_read import Layout, layout_of, read_any_jets
from tools.events.jets_toptag import MOMENTA, PARTICLES
from tools.events.lhco import write_particles
from tools.jet_model.jets import PARTICLE_KINDS, Jets
from tools.jet_model.jets_file import read_jets, write_jets
from tools.training import split

N = 30


def vectors(seed: int = 3) -> np.ndarray:
    """(N, 20, 4): E, px, py, pz of jets of 5 to 20 particles with a mass, hardest first, zeros after."""
    rng = np.random.default_rng(seed)
    pt = np.sort(rng.exponential(40, (N, 20)) + 1)[:, ::-1] * (np.arange(20) < rng.integers(5, 21, (N, 1)))
    eta, phi = (rng.uniform(-1.5, 1.5, (N, 1)) + 0.2 * rng.standard_normal((N, 20)) for _ in range(2))
    p = np.stack([pt * np.cos(phi), pt * np.sin(phi), pt * np.sinh(eta)], axis=2)
    energy = np.sqrt(np.sum(p**2, axis=2) + 0.14**2 * (pt > 0))
    return np.concatenate([energy[:, :, None], p], axis=2)


def assert_same_momenta(jets: Jets, particles: np.ndarray) -> None:
    """Jets with axes against the four-vectors that they came from."""
    assert jets.jet is not None
    x, there = jets.particles.astype(float), jets.mask
    width = x.shape[1]
    pt = np.where(there, np.exp(x[:, :, 2]), 0)
    phi, eta = x[:, :, 1] + jets.jet[:, 2:3], x[:, :, 0] + jets.jet[:, 1:2]
    energy = np.where(there, np.exp(x[:, :, 3]), 0)
    again = np.stack([energy, pt * np.cos(phi), pt * np.sin(phi), pt * np.sinh(eta)], axis=2)
    np.testing.assert_allclose(again, particles[:, :width], atol=2e-3)


def toptag_file(path: Path, blocks: int = 2) -> tuple[np.ndarray, np.ndarray]:
    particles, label = vectors(), np.arange(N) % 2
    rows = np.zeros(
        N, [("index", "i8"), ("values_block_0", "f4", (4 * PARTICLES + 4,)), ("values_block_1", "i8", (blocks,))]
    )
    rows["values_block_0"][:, : 4 * 20] = particles.reshape(N, -1)
    rows["values_block_0"][:, -4:] = 500  # the true top is no particle
    rows["values_block_1"][:, -1] = label
    tops = [f"truth{component}" for component in ("E", "PX", "PY", "PZ")]
    integers = [f"ttv_{k}" for k in range(blocks - 1)] + ["is_signal_new"]
    with h5py.File(path, "w") as file:
        file.create_group("table")["table"] = rows
        for block, names in enumerate(([*MOMENTA, *tops], integers)):
            file["table/table"].attrs[f"values_block_{block}_kind"] = np.void(pickle.dumps(names, 0))
    return particles, label


def test_top_tagging(tmp_path: Path) -> None:
    particles, label = toptag_file(tmp_path / "val.h5")
    jets = read_any_jets(tmp_path / "val.h5")
    assert (layout_of(tmp_path / "val.h5"), jets.kinds) == (Layout.toptag, ("qcd", "top"))
    np.testing.assert_array_equal(jets.pid, label)
    assert_same_momenta(jets, particles)
    total = particles.sum(axis=1)
    assert jets.jet is not None
    mass = np.sqrt(total[:, 0] ** 2 - np.sum(total[:, 1:] ** 2, axis=1))
    np.testing.assert_allclose(jets.jet[:, 3], mass, rtol=1e-3)
    part = read_any_jets(tmp_path / "val.h5", max_particles=3, start=4, stop=6)
    np.testing.assert_array_equal(part.particles, jets.particles[4:6, :3])


def test_top_tagging_refuses_what_is_wrong(tmp_path: Path) -> None:
    toptag_file(tmp_path / "val.h5")
    with h5py.File(tmp_path / "val.h5", "r+") as file:
        rows = file["table/table"][:]
        rows["values_block_1"][7, -1] = 2
        file["table/table"][...] = rows
    with pytest.raises(ToolError, match=r"is_signal_new=2: jet 7"):
        read_any_jets(tmp_path / "val.h5")
    with pytest.raises(ToolError, match="0 to 29"):
        read_any_jets(tmp_path / "val.h5", start=30)
    with h5py.File(tmp_path / "val.h5", "r+") as file:
        file["table/table"].attrs["values_block_1_kind"] = np.void(b"cos\nsystem\n(S'false'\ntR.")  # a hostile pickle
    with pytest.raises(ToolError, match="names of the 2 columns"):
        read_any_jets(tmp_path / "val.h5")
    toptag_file(tmp_path / "other.h5", blocks=3)
    with pytest.raises(ToolError, match="top tagging"):
        read_any_jets(tmp_path / "other.h5")
    (tmp_path / "note.txt").write_text("no jets")
    with pytest.raises(ToolError, match="JetClass"):
        read_any_jets(tmp_path / "note.txt")


PDG = np.array([22, 211, -211, 130, 11, -13])


def jetclass_file(path: Path, **changed: object) -> np.ndarray:
    import uproot

    particles = vectors()
    there = particles[:, :, 0] > 0
    counts = there.sum(axis=1)
    flat = np.concatenate([np.arange(n) for n in counts]) % len(PDG)
    pdg = PDG[flat]
    kind = {"Electron": 11, "Muon": 13, "Photon": 22, "ChargedHadron": 211, "NeutralHadron": 130}
    columns = {
        f"part_{name}": ak.unflatten(particles[there][:, i], counts)
        for i, name in enumerate(("energy", "px", "py", "pz"))
    }
    # A lepton's PDG number has the sign opposite to its charge.
    charge = np.sign(pdg) * np.select([np.isin(pdg, (22, 130)), np.abs(pdg) < 20], [0, -1], 1)
    columns["part_charge"] = ak.unflatten(charge.astype(float), counts)
    for name, number in kind.items():
        columns[f"part_is{name}"] = ak.unflatten((np.abs(pdg) == number).astype(float), counts)
    for i, name in enumerate(("d0val", "d0err", "dzval", "dzerr")):
        columns[f"part_{name}"] = ak.unflatten(0.1 * (i + 1) * np.ones(len(flat)), counts)
    total = particles.sum(axis=1)
    pt = np.hypot(total[:, 1], total[:, 2])
    columns |= {"jet_pt": pt, "jet_eta": np.arcsinh(total[:, 3] / pt), "jet_energy": total[:, 0]}
    columns["jet_phi"] = np.arctan2(total[:, 2], total[:, 1])
    columns |= {name: (np.arange(N) % 10 == i).astype("f4") for i, name in enumerate(LABELS)}
    columns = {name: c for name, c in (columns | changed).items() if c is not None}
    with uproot.recreate(path) as file:
        file["tree"] = columns
    return particles


def test_jetclass(tmp_path: Path) -> None:
    particles = jetclass_file(tmp_path / "jets.root")
    jets = read_any_jets(tmp_path / "jets.root")
    assert jets.kinds == KINDS
    np.testing.assert_array_equal(jets.pid, np.arange(N) % 10)
    assert_same_momenta(jets, particles)
    extra = jets.particles[:, :, 4:]
    pdg = np.array(PARTICLE_KINDS)[extra[jets.mask][:, 0].astype(int)]
    np.testing.assert_array_equal(pdg, np.concatenate([PDG[np.arange(n) % len(PDG)] for n in jets.multiplicity]))
    np.testing.assert_allclose(extra[jets.mask][0, 1:], [np.tanh(0.1), 0.2, np.tanh(0.3), 0.4], rtol=1e-6)
    assert not np.any(extra[~jets.mask])
    part = read_any_jets(tmp_path / "jets.root", start=3, stop=5)
    np.testing.assert_array_equal(part.pid, [3, 4])


def test_jetclass_refuses_what_is_wrong(tmp_path: Path) -> None:
    jetclass_file(tmp_path / "a.root", jet_phi=None)
    with pytest.raises(ToolError, match="jet_phi"):
        read_any_jets(tmp_path / "a.root")
    jetclass_file(tmp_path / "b.root", label_Hbb=np.ones(N, dtype="f4"))
    with pytest.raises(ToolError, match="jet 0: exactly one of"):
        read_any_jets(tmp_path / "b.root")
    (tmp_path / "c.root").write_bytes(b"root and nothing else")
    with pytest.raises(ToolError, match="not a readable ROOT file"):
        read_any_jets(tmp_path / "c.root")


def aspen_file(path: Path, **changed: np.ndarray) -> np.ndarray:
    """Write jets in which every fourth particle is pile-up (PUPPI weight 0) and the others weigh 0.5 or 1; return the
    weighted momenta."""
    energy, *momenta = np.moveaxis(vectors(), 2, 0)
    there = energy > 0
    slot = np.arange(energy.shape[1])
    weight = np.where(there, np.where(slot % 4 == 3, 0.0, np.where(slot % 2 == 1, 0.5, 1.0)), 0.0)
    pdg = np.where(there, np.append(PDG, 1)[slot % 7], 0)
    track = np.where(np.isin(pdg, (130, 22, 1)), -1.0, 0.002) * there  # as in CMS: -1 without a track
    columns = [*momenta, energy, 3 * track, track, 5 * track, 2 * track, np.sign(pdg), pdg, weight]
    weighted = np.stack([energy, *momenta], axis=2) * weight[:, :, None]
    total = weighted.sum(axis=1)
    pt = np.hypot(total[:, 1], total[:, 2])
    axis = [pt, np.arcsinh(total[:, 3] / pt), np.arctan2(total[:, 2], total[:, 1]), np.full(N, 7.0)]
    data = {
        "event_info": np.ones((N, 3), dtype="i8"),
        "jet_kinematics": np.stack(axis, axis=1).astype("f4"),
        "jet_tagging": np.zeros((N, 13), dtype="f4"),
        "PFCands": np.stack(columns, axis=2).astype("f4"),
    }
    with h5py.File(path, "w") as file:
        for name, values in (data | changed).items():
            file.create_dataset(name, data=values, compression="gzip")
    return weighted


def test_aspen_open_jets(tmp_path: Path) -> None:
    weighted = aspen_file(tmp_path / "RunG_batch0.h5")
    jets = read_any_jets(tmp_path / "RunG_batch0.h5")
    assert (layout_of(tmp_path / "RunG_batch0.h5"), jets.kinds, jets.pid) == (Layout.aspen, (), None)
    np.testing.assert_array_equal(jets.multiplicity, (weighted[:, :, 0] > 0).sum(axis=1))
    order = np.argsort(-np.hypot(weighted[:, :, 1], weighted[:, :, 2]), axis=1)
    assert_same_momenta(jets, np.take_along_axis(weighted, order[:, :, None], axis=1))
    total = weighted.sum(axis=1)
    assert jets.jet is not None
    mass = np.sqrt(total[:, 0] ** 2 - np.sum(total[:, 1:] ** 2, axis=1))
    np.testing.assert_allclose(jets.jet[:, 3], mass, rtol=1e-3)  # of the whole jet, not that of soft drop
    kind, *vertex = np.moveaxis(jets.particles[jets.mask][:, 4:], 1, 0)
    pdg = np.array(PARTICLE_KINDS)[kind.astype(int)]
    assert set(pdg) == {22, 211, -211, 11, -13, 130}
    tracked = ~np.isin(pdg, (130, 22))
    for values, wanted in zip(vertex, (np.tanh(0.06), 0.02, np.tanh(0.1), 0.04), strict=True):  # mm
        np.testing.assert_allclose(values, np.where(tracked, wanted, 0.0), rtol=1e-4)
    part = read_any_jets(tmp_path / "RunG_batch0.h5", max_particles=3, start=4, stop=6)
    np.testing.assert_array_equal(part.particles, jets.particles[4:6, :3])


def test_aspen_open_jets_refuse_what_is_wrong(tmp_path: Path) -> None:
    aspen_file(tmp_path / "good.h5")
    with h5py.File(tmp_path / "good.h5") as file:
        particles = file["PFCands"][:]
    for name, column, value, said in (
        ("pdg", 9, 2212, "pdgId=2212.0: jet 2, particle 1"),
        ("w", 10, 1.5, "from 0 to 1"),
    ):
        wrong = particles.copy()
        wrong[2, 1, column] = value
        aspen_file(tmp_path / f"{name}.h5", PFCands=wrong)
        with pytest.raises(ToolError, match=said):
            read_any_jets(tmp_path / f"{name}.h5")
    aspen_file(tmp_path / "narrow.h5", PFCands=particles[:, :, :10])
    with pytest.raises(ToolError, match=r"shapes \(N, M, 11\)"):
        read_any_jets(tmp_path / "narrow.h5")


@pytest.fixture
def lhco(tmp_path: Path) -> tuple[Path, ak.Array]:
    """Back-to-back jets; every fifth event has one jet only."""
    rng = np.random.default_rng(6)
    events = []
    for event in range(25):
        turns = (0.0, np.pi) if event % 5 else (0.0,)
        events.append(
            [
                {"pt": float(p), "eta": float(e), "phi": float(np.arctan2(np.sin(f + turn), np.cos(f + turn)))}
                for turn in turns
                for p, e, f in zip(
                    rng.exponential(200, 8) + 50,
                    0.2 * rng.standard_normal(8),
                    0.2 * rng.standard_normal(8),
                    strict=True,
                )
            ]
        )
    particles = ak.Array(events)
    path = tmp_path / "events.h5"
    write_particles(path, particles, np.arange(25) % 2)
    return path, particles


def test_lhco_jets_are_those_of_the_features(lhco: tuple[Path, ak.Array]) -> None:
    path, particles = lhco
    dijets, is_signal = read_dijets(path)
    features, passed = cluster(particles, 0.0)
    np.testing.assert_allclose(dijets.mjj, features["mjj"], rtol=1e-5)
    for jets, name in ((dijets.light, "mj1"), (dijets.heavy, "mj2")):
        assert jets.jet is not None
        np.testing.assert_allclose(1e-3 * jets.jet[:, 3], features[name], rtol=1e-4, atol=1e-5)
    assert is_signal is not None
    np.testing.assert_array_equal(is_signal, (np.arange(25) % 2)[passed] == 1)
    both = read_any_jets(path)
    np.testing.assert_array_equal(both.particles[::2, :5], dijets.light.particles[:, :5])
    np.testing.assert_array_equal(both.particles[1::2, :5], dijets.heavy.particles[:, :5])
    np.testing.assert_array_equal(both.pid, np.repeat(is_signal, 2))


def test_convert_and_info(lhco: tuple[Path, ak.Array], tmp_path: Path) -> None:
    toptag_file(tmp_path / "val.h5")
    out = tmp_path / "new" / "jets.h5"
    done = CliRunner().invoke(data_cli.app, ["convert", str(tmp_path / "val.h5"), str(out), "--max-particles", "6"])
    assert done.exit_code == 0, done.output
    assert "30 jets: qcd 15, top 15" in done.stdout
    jets = read_jets(out)
    assert jets.particles.shape == (30, 6, 4)
    shown = CliRunner().invoke(data_cli.app, ["info", str(out)])
    assert shown.exit_code == 0, shown.output
    assert "layout omnilearned" in shown.stdout
    assert "ln GeV" in shown.stdout
    lhco_out = tmp_path / "lhco.h5"
    assert CliRunner().invoke(data_cli.app, ["convert", str(lhco[0]), str(lhco_out)]).exit_code == 0
    assert read_jets(lhco_out).count() == {"qcd": 20, "signal": 20}


def test_split_deals_every_jet_to_one_file_as_validation_does(tmp_path: Path) -> None:
    jets = prongs(50)
    write_jets(tmp_path / "jets.h5", jets)
    names = [str(tmp_path / name) for name in ("jets.h5", "rest.h5", "held.h5")]
    done = CliRunner().invoke(data_cli.app, ["split", *names, "--fraction", "0.2", "--seed", "3"])
    assert done.exit_code == 0, done.output
    parts = [read_jets(Path(name)) for name in names[1:]]
    assert [len(part) for part in parts] == [40, 10]
    used, held = split(50, 0.2, 3)
    for part, rows in zip(parts, (used, held), strict=True):
        np.testing.assert_array_equal(part.jet, jets.take(rows).jet)
        assert part.kinds == jets.kinds
    again = CliRunner().invoke(data_cli.app, ["split", *names])
    assert (again.exit_code, "--force" in again.stderr) == (2, True)
    other = [names[0], str(tmp_path / "a.h5"), str(tmp_path / "b.h5"), "--fraction", "1"]
    assert "50 of 50" in CliRunner().invoke(data_cli.app, ["split", *other]).stderr
    assert not (tmp_path / "a.h5").exists()
