"""Calorimeter files and geometries: official layouts, round trips, and one clear error for each thing that is wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tools.calorimeter.geometry import GEOMETRIES, Geometry, Layer, geometry, read_binning, write_binning
from tools.calorimeter.points import Points, to_points, to_voxels
from tools.calorimeter.showers import Showers, read_showers, write_showers
from tools.contract import ToolError

SMALL = Geometry("small", "photon", (Layer(0, (0.0, 1.0, 3.0), 1), Layer(4, (0.0, 2.0, 5.0, 9.0), 2)))
OFFICIAL = """<Bins>
   <Bin pid="22" etaMin="0" etaMax="130" name="photon">
      <Layer id="0" r_edges="0,5,10,30,50,100,200,400,600" n_bin_alpha="1" />
      <Layer id="1" r_edges="0,2,4,6,8,10,12,15,20,30,40,50,70,90,120,150,200" n_bin_alpha="10"/>
      <Layer id="2" r_edges="0,2,5,10,15,20,25,30,40,50,60,80,100,130,160,200,250,300,350,400" n_bin_alpha="10"/>
      <Layer id="3" r_edges="0,50,100,200,400,600" n_bin_alpha="1" />
      <Layer id="4" r_edges="0" n_bin_alpha="1" />
      <Layer id="12" r_edges="0,100,200,400,1000,2000" n_bin_alpha="1" />
      <Layer id="13" r_edges="0" n_bin_alpha="1" />
   </Bin>
</Bins>
"""


def some(n: int = 5, seed: int = 1) -> Showers:
    rng = np.random.default_rng(seed)
    voxels = rng.gamma(1.0, 50.0, (n, SMALL.n_voxels)) * (rng.uniform(size=(n, SMALL.n_voxels)) < 0.6)
    return Showers(rng.uniform(300, 900, n), voxels, SMALL)


def test_voxels_stand_in_the_official_order() -> None:
    # As the official script reads a layer: reshape to (n_alpha, n_r).
    for g in GEOMETRIES.values():
        for i, (layer, place) in enumerate(zip(g.layers, g.slices, strict=True)):
            alpha, r = np.indices((layer.n_alpha, layer.n_r))
            np.testing.assert_array_equal(g.voxel_layer[place], i)
            np.testing.assert_array_equal(g.voxel_alpha[place], alpha.ravel())
            np.testing.assert_array_equal(g.voxel_r[place], r.ravel())
    assert SMALL.radius_mm.tolist() == [0.5, 2.0, 1.0, 3.5, 7.0, 1.0, 3.5, 7.0]
    np.testing.assert_allclose(SMALL.angle[2:], np.pi * np.array([0.5, 0.5, 0.5, 1.5, 1.5, 1.5]))


def test_the_official_binning_file_is_the_built_in_geometry(tmp_path: Path) -> None:
    (tmp_path / "b.xml").write_text(OFFICIAL)
    read, built = read_binning(tmp_path / "b.xml", "photon"), geometry("ds1_photons")
    bins = [[(layer.id, layer.r_edges_mm, layer.n_alpha) for layer in g.layers] for g in (read, built)]
    assert bins[0] == bins[1]
    with pytest.raises(ToolError, match=r"need a depth"):
        _ = read.depths_x0
    for g in GEOMETRIES.values():
        write_binning(tmp_path / f"{g.name}.xml", g)
        assert read_binning(tmp_path / f"{g.name}.xml", g.particle) == read_binning(tmp_path / f"{g.name}.xml") == g


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("<Bins", "not XML"),
        ('<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]><Bins>&a;</Bins>', "no entities"),
        (OFFICIAL.replace('name="photon"', 'name="pion"'), "pion"),
        (OFFICIAL.replace('"0,50,100,200,400,600"', '"0,50,x"'), "numbers"),
        (OFFICIAL.replace('"0,50,100,200,400,600"', '"0,50,50"'), "rising"),
        (OFFICIAL.replace('n_bin_alpha="10"', 'n_bin_alpha="0"'), "at least 1"),
        (OFFICIAL.replace('id="1"', 'id="0"'), "each id once"),
    ],
)
def test_wrong_binning_files(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "b.xml").write_text(text)
    with pytest.raises(ToolError, match=said):
        read_binning(tmp_path / "b.xml", "photon")
    with pytest.raises(ToolError, match="readable file"):
        read_binning(tmp_path / "none.xml", "photon")


@pytest.mark.parametrize("name", ["s.h5", "s.hdf5", "s.safetensors"])
def test_files_round_trip(tmp_path: Path, name: str) -> None:
    showers = some(300)
    write_showers(tmp_path / name, showers)
    read = read_showers(tmp_path / name, SMALL)
    np.testing.assert_array_equal(read.incident, showers.incident)
    np.testing.assert_array_equal(read.voxels, showers.voxels)
    part = read_showers(tmp_path / name, SMALL, 10, 20)
    np.testing.assert_array_equal(part.voxels, showers.voxels[10:20])
    write_showers(tmp_path / name, showers[:0])
    with pytest.raises(ToolError, match="no showers"):
        read_showers(tmp_path / name, SMALL)


def test_the_file_has_the_official_layout(tmp_path: Path) -> None:
    showers = some(7)
    write_showers(tmp_path / "s.h5", showers)
    with h5py.File(tmp_path / "s.h5") as file:
        assert set(file) == {"incident_energies", "showers"}
        assert file["incident_energies"].shape == (7, 1)
        np.testing.assert_array_equal(file["showers"][:], showers.voxels)


def change(showers: Showers, row: int, value: float) -> dict[str, Any]:
    voxels = showers.voxels.copy()
    voxels[row, 3] = value
    return {"voxels": voxels}


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (lambda s: change(s, 2, np.nan), "shower 2, voxel 3"),
        (lambda s: change(s, 4, -1.0), "shower 4, voxel 3"),
        (lambda s: change(s, 1, np.inf), "finite"),
        (lambda s: {"voxels": s.voxels[:, 1:]}, r"\(N, 8\) for small"),
        (lambda s: {"voxels": s.voxels / 1000}, "GeV"),
        (lambda s: {"incident": s.incident / 1000}, "GeV"),
        (lambda s: {"incident": s.incident * 1000}, "GeV"),
        (lambda s: {"incident": np.full(5, np.nan)}, "MeV"),
        (lambda s: {"incident": s.incident[:-1]}, "voxels"),
    ],
)
def test_showers_that_cannot_be(wrong: Any, said: str) -> None:
    showers = some()
    with pytest.raises(ToolError, match=said):
        Showers(
            **({"incident": showers.incident, "voxels": showers.voxels, "geometry": SMALL} | wrong(showers))
        ).check_units()


def test_wrong_units_in_a_file_are_refused_and_a_soft_shower_is_not(tmp_path: Path) -> None:
    showers = some(50)
    write_showers(tmp_path / "gev.h5", Showers(showers.incident, showers.voxels / 1000, SMALL))
    with pytest.raises(ToolError, match="GeV"):
        read_showers(tmp_path / "gev.h5", SMALL)
    # One that leaves next to nothing is not wrong: photons may convert late.
    assert len(Showers(showers.incident[:1], showers.voxels[:1] / 1000, SMALL).check_units()) == 1


def test_files_that_cannot_be(tmp_path: Path) -> None:
    with pytest.raises(ToolError, match="no such file"):
        read_showers(tmp_path / "none.h5", SMALL)
    for name in ("text.h5", "text.safetensors"):
        (tmp_path / name).write_text("hello")
        with pytest.raises(ToolError, match="not a"):
            read_showers(tmp_path / name, SMALL)
    write_showers(tmp_path / "s.h5", some())
    with pytest.raises(ToolError, match="368 voxels, the file 8"):
        read_showers(tmp_path / "s.h5", geometry("ds1_photons"))
    with h5py.File(tmp_path / "s.h5", "a") as file:
        del file["showers"]
        file["showers"] = h5py.ExternalLink(str(tmp_path / "other.h5"), "showers")
    with pytest.raises(ToolError, match=r"other\.h5', which is missing"):
        read_showers(tmp_path / "s.h5", SMALL)
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["showers"] = some().voxels
    with pytest.raises(ToolError, match="plain data sets"):
        read_showers(tmp_path / "s.h5", SMALL)


@given(seed=st.integers(0, 10**6), n=st.integers(0, 6))
def test_points_are_the_showers(seed: int, n: int) -> None:
    showers = some(n, seed)
    points = to_points(showers)
    np.testing.assert_array_equal(points.counts, (showers.voxels > 0).sum(axis=1))
    back = to_voxels(points, SMALL)
    np.testing.assert_array_equal(back.voxels, showers.voxels)
    np.testing.assert_array_equal(back.incident, showers.incident)
    cut = to_voxels(to_points(showers, 20.0), SMALL)
    np.testing.assert_array_equal(cut.voxels, np.where(showers.voxels > 20, showers.voxels, 0))


def test_points_that_cannot_be() -> None:
    p = to_points(some())
    fields = {name: getattr(p, name) for name in ("incident", "offsets", "layer", "alpha", "r", "energy")}
    for wrong, said in (
        ({"offsets": p.offsets[:-1]}, "rising numbers"),
        ({"energy": p.energy[:-1]}, "one entry per point"),
        ({"energy": -p.energy}, "above the threshold"),
        ({"threshold": 1e9}, "above the threshold"),
    ):
        with pytest.raises(ToolError, match=said):
            Points(**{**fields, **wrong})
    with pytest.raises(ToolError, match=r"alpha=2: point \d+, layer 1: 0 to 1"):
        to_voxels(Points(**{**fields, "alpha": np.where(p.layer == 1, 2, 0)}), SMALL)
