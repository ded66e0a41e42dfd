"""Jets as particle sets: kinematic identities, the HDF5 layout as the package reads it, and bad input by name."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest

from tools.contract import ToolError
from tools.jet_model.jets import MAX_PARTICLES, PARTICLE_KINDS, Jets, check, from_momenta, in_order
from tools.jet_model.jets_file import GLOBAL, concatenate, count_jets, read_jets, write_jets


def momenta(n: int = 40, m: int = 12, seed: int = 1, mass: float = 0.0) -> tuple[np.ndarray, ...]:
    """Particles (pt, eta, phi, energy) around axes anywhere, some slots empty."""
    rng = np.random.default_rng(seed)
    pt = rng.exponential(40, (n, m)) + 1
    pt[np.arange(m) >= rng.integers(3, m + 1, n)[:, None]] = 0
    eta = rng.uniform(-2, 2, (n, 1)) + 0.2 * rng.standard_normal((n, m))
    phi = (rng.uniform(-np.pi, np.pi, (n, 1)) + 0.2 * rng.standard_normal((n, m)) + np.pi) % (2 * np.pi) - np.pi
    return pt, eta, phi, np.sqrt((pt * np.cosh(eta)) ** 2 + mass**2)


def labelled(**more: object) -> Jets:
    pid = np.arange(40, dtype=np.int64) % 3
    return from_momenta(*momenta(), pid=pid, kinds=("qcd", "top", "w"), **more)  # type: ignore[arg-type]


def test_momenta_come_back_from_features_and_axis() -> None:
    pt, eta, phi, energy = momenta(mass=0.14)
    jets = from_momenta(pt, eta, phi, energy)
    assert jets.jet is not None
    order = np.argsort(-pt, axis=1, kind="stable")
    for feature, truth in ((2, np.log(np.where(pt > 0, pt, 1))), (3, np.log(np.where(pt > 0, energy, 1)))):
        np.testing.assert_allclose(jets.particles[:, :, feature], np.take_along_axis(truth, order, 1), atol=1e-5)
    there = jets.mask
    again = jets.particles[:, :, 1] + jets.jet[:, 2:3] - np.take_along_axis(phi, order, 1)
    np.testing.assert_allclose(np.sin(again[there]), 0, atol=1e-5)
    assert np.all(np.abs(jets.particles[:, :, 1]) <= np.pi)


def test_pt_and_mass_are_those_of_the_summed_vectors_whatever_the_axis() -> None:
    pt, eta, phi, energy = momenta()
    jets = from_momenta(pt, eta, phi, energy)
    vectors = np.stack([energy * (pt > 0), pt * np.cos(phi), pt * np.sin(phi), pt * np.sinh(eta)])
    e, px, py, pz = vectors.sum(axis=2)
    np.testing.assert_allclose(jets.pt_and_mass()[0], np.hypot(px, py), rtol=1e-5)
    np.testing.assert_allclose(jets.pt_and_mass()[1], np.sqrt(e**2 - px**2 - py**2 - pz**2), rtol=1e-4)
    assert jets.jet is not None
    np.testing.assert_allclose(jets.jet[:, 0], np.hypot(px, py), rtol=1e-5)
    np.testing.assert_allclose(jets.jet[:, 3], jets.pt_and_mass()[1], rtol=1e-4)


def test_particles_are_ordered_and_cut_by_pt() -> None:
    jets = labelled()
    hardness = np.where(jets.mask, jets.particles[:, :, 2], -np.inf)
    assert np.all(np.diff(hardness[:, :3]) <= 0)
    shuffled = jets.particles[:, np.random.default_rng(2).permutation(jets.particles.shape[1])]
    np.testing.assert_array_equal(in_order(shuffled), jets.particles)
    three = labelled(max_particles=3)
    np.testing.assert_array_equal(three.particles, jets.particles[:, :3])
    np.testing.assert_array_equal(three.jet, jets.jet)  # the axis is of all particles


def test_a_particle_of_exactly_one_gev_is_no_empty_slot() -> None:
    pt, eta, phi, _ = momenta()
    pt[0, :3] = 5, 1, 7
    jets = from_momenta(pt, eta, phi, pt * np.cosh(eta))
    np.testing.assert_array_equal(jets.multiplicity, (pt > 0).sum(axis=1))


def test_kinds_are_counted_and_chosen() -> None:
    jets = labelled()
    assert jets.count() == {"qcd": 14, "top": 13, "w": 13}
    two = jets.with_kinds(("w", "qcd"))
    assert two.count() == {"w": 13, "qcd": 14}
    assert jets.pid is not None
    np.testing.assert_array_equal(two.particles, jets.particles[jets.pid != 1])
    with pytest.raises(ToolError, match=r"higgs.*qcd \(14\), top \(13\), w \(13\)"):
        jets.with_kinds(("higgs", "top"))
    with pytest.raises(ToolError, match="no labels"):
        replace(jets, pid=None).with_kinds(("top",))
    assert replace(jets, kinds=()).with_kinds(("2",)).count() == {"2": 13}


def test_written_is_read_and_is_what_the_package_expects(tmp_path: Path) -> None:
    jets, path = labelled(), tmp_path / "jets.h5"
    write_jets(path, jets)
    again = read_jets(path)
    for name in ("particles", "pid", "jet", "kinds"):
        np.testing.assert_array_equal(getattr(again, name), getattr(jets, name))
    with h5py.File(path) as file:
        assert file["data"].dtype == np.float32
        np.testing.assert_allclose(100 * file["global"][:, -1], jets.multiplicity, rtol=1e-6)
        assert tuple(file["global"].attrs["columns"]) == GLOBAL
    part = read_jets(path, max_particles=4, start=5, stop=9)
    np.testing.assert_array_equal(part.particles, jets.particles[5:9, :4])
    assert count_jets(path) == 40


def test_the_package_itself_reads_what_is_written(tmp_path: Path) -> None:
    from omnilearned import dataloader as loader

    jets = labelled()
    assert jets.jet is not None
    write_jets(tmp_path / "jets.h5", jets)
    data = loader.HEPDataset([str(tmp_path / "jets.h5")], [(0, i) for i in range(len(jets))], use_cond=True)
    batch = loader.collate_point_cloud([data[i] for i in range(len(jets))])
    np.testing.assert_array_equal(batch["X"], jets.particles)
    np.testing.assert_array_equal(batch["y"], jets.pid)
    np.testing.assert_array_equal(batch["cond"][:, :4], jets.jet)


def test_files_of_the_package_are_read_without_names(tmp_path: Path) -> None:
    jets, path = labelled(), tmp_path / "val.h5"
    with h5py.File(path, "w") as file:
        file["data"] = jets.particles[:, ::-1].astype(np.float64)  # empty slots first
        file["pid"] = np.full((40, 1), 201)
        file["global"] = np.ones((40, 3))
    read = read_jets(path)
    np.testing.assert_array_equal(read.particles, jets.particles)
    assert (read.kinds, read.jet, set(read.pid if read.pid is not None else ())) == ((), None, {201})


def test_sets_are_put_together_by_the_names_of_their_kinds() -> None:
    jets = labelled()
    top, rest = jets.with_kinds(("top",)).hardest(4), jets.with_kinds(("w", "qcd"))
    both = concatenate([top, rest], ("qcd", "top", "w"))
    assert both.count() == jets.count()
    assert both.pid is not None
    np.testing.assert_array_equal(both.particles[both.pid == 1][:, :4], jets.with_kinds(("top",)).particles[:, :4])
    assert not both.particles[: len(top), 4:].any()
    np.testing.assert_array_equal(both.particles[both.pid == 2], jets.with_kinds(("w",)).particles)
    assert both.jet is not None
    assert concatenate([top, replace(rest, jet=None)], ("qcd", "top", "w")).jet is None
    with pytest.raises(ToolError, match="labelled with some of qcd, top"):
        concatenate([top, rest], ("qcd", "top"))
    with pytest.raises(ToolError, match="labelled"):
        concatenate([replace(top, pid=None)], ("top",))
    wider = replace(top, particles=np.concatenate([top.particles, top.particles[:, :, :1] * 0], axis=2))
    with pytest.raises(ToolError, match="5 features"):
        concatenate([wider, rest], ("qcd", "top", "w"))


BAD = {
    "log_pt": lambda x: x[:, :, [2, 3, 0, 1]],  # order
    "delta_eta": lambda x: x + np.float32(1.5) * (np.arange(4) == 0) * (x[:, :, 2:3] != 0),  # absolute
    "log_energy": lambda x: x[:, :, [0, 1, 3, 2]],
}


@pytest.mark.parametrize("field", BAD)
def test_wrong_order_of_features_is_named(field: str) -> None:
    jets = labelled()
    pt, eta, phi, _ = momenta()
    energy = 3 * pt * np.cosh(eta)
    jets = from_momenta(pt, eta, phi, energy)
    with pytest.raises(ToolError, match="delta_eta, delta_phi, log_pt, log_energy"):
        check(replace(jets, jet=None, particles=BAD[field](jets.particles)))


@pytest.mark.parametrize("scale", [1e3, 1e-3])
def test_mev_and_tev_are_refused(scale: float) -> None:
    pt, eta, phi, energy = momenta()
    with pytest.raises(ToolError, match=r"log_pt=.*GeV"):
        from_momenta(scale * pt, eta, phi, scale * energy)


def test_values_in_where_of_logarithms_are_refused() -> None:
    pt, eta, phi, energy = momenta()
    linear = np.stack([eta - eta.mean(), phi * 0, pt, energy], axis=2).astype(np.float32) * (pt > 0)[:, :, None]
    with pytest.raises(ToolError, match="logarithm"):
        check(Jets(linear))
    jets = labelled()
    assert jets.jet is not None
    with pytest.raises(ToolError, match="both in GeV"):
        check(replace(jets, jet=jets.jet * np.float32(1e-3)))


def test_what_cannot_be_is_refused_by_name() -> None:
    jets = labelled()
    x = jets.particles
    nan, empty = x.copy(), x.copy()
    nan[3, 1, 2] = np.nan
    empty[7] = 0
    assert jets.pid is not None
    for wrong, message in (
        (replace(jets, particles=nan), "jet 3, particle 1, log_pt"),
        (replace(jets, particles=empty), "particles=7: jet without particles, 1 in all"),
        (replace(jets, pid=jets.pid + 1), "pid=3"),
        (jets.take(slice(0, 0)), "at least one jet"),
        (Jets(np.concatenate([x, x[:, :, :2]], axis=2)), "particles=6: features: 4"),
        (Jets(np.repeat(x, MAX_PARTICLES // 5, axis=1)), "keep the hardest with max_particles"),
        (Jets(np.concatenate([x, x[:, :, :1] * 0 + len(PARTICLE_KINDS)], axis=2)), "particle_kind"),
    ):
        with pytest.raises(ToolError, match=message):
            check(wrong)
    for shape, more in (((4, 5), {}), ((4, 5, 3), {}), ((4, 5, 4), {"pid": np.zeros(3, int)})):
        with pytest.raises(ToolError, match=r"shape|features"):
            Jets(np.zeros(shape, np.float32), **more)


def test_broken_files_are_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_jets(tmp_path / "none.h5")
    (tmp_path / "text.h5").write_text("jets")
    with pytest.raises(ToolError, match="not a readable HDF5"):
        read_jets(tmp_path / "text.h5")
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["events"] = np.zeros(3)
    with pytest.raises(ToolError, match="events"):
        read_jets(tmp_path / "other.h5")
    assert count_jets(tmp_path / "other.h5") is None
    for number, pid in enumerate((np.eye(40), np.full(40, 0.5), np.zeros(39))):
        path = tmp_path / f"pid_{number}.h5"
        write_jets(path, replace(labelled(), pid=None))
        with h5py.File(path, "r+") as file:
            file["pid"] = pid
        with pytest.raises(ToolError, match=r"pid=.*(one whole number per jet|one entry per jet)"):
            read_jets(path)
    write_jets(tmp_path / "jets.h5", labelled())
    with pytest.raises(ToolError, match="0 to 39"):
        read_jets(tmp_path / "jets.h5", start=40)
