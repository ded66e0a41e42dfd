"""`beamcrew data simulate showers`: the file it writes, its provenance, one line for what is wrong."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from tools import data_cli
from tools.calorimeter.geometry import Geometry, Layer, geometry, write_binning
from tools.calorimeter.gflash import incident_energies, simulate
from tools.calorimeter.showers import Showers, read_showers, write_showers

SMALL = Geometry("small", "photon", (Layer(0, (0.0, 1.0, 2.0), 4),))


def call(*arguments: object) -> Result:
    return CliRunner().invoke(data_cli.app, ["simulate", "showers", *(str(a) for a in arguments)])


def test_a_file_of_showers_and_where_it_comes_from(tmp_path: Path) -> None:
    out = tmp_path / "new" / "s.h5"
    done = call(out, "--events", 300, "--seed", 7)
    assert done.exit_code == 0, done.output
    assert "300 showers, E_dep/E_inc 0.9" in done.stdout
    g = geometry("ds1_photons")
    showers = read_showers(out, g)
    expected = simulate(incident_energies(g, 300, 7), g, 7)
    np.testing.assert_array_equal(showers.voxels, expected.voxels)
    provenance = json.loads(out.with_name("s.h5.provenance.json").read_text())
    assert provenance["simulation"]["seed"] == 7
    assert provenance["material"] == "lead_argon"
    assert "not Geant4" in provenance["model"]
    assert "exists" in call(out).stderr
    info = CliRunner().invoke(data_cli.app, ["info", str(out)])
    assert info.exit_code == 0, info.output
    for words in ("368 voxels as in ds1_photons", "the first 300, ", "0.01"):
        assert words in info.stdout
    write_showers(tmp_path / "other.h5", Showers(np.full(9, 1e3), np.full((9, 8), 99.0), SMALL))
    assert "368 (ds1_photons)" in CliRunner().invoke(data_cli.app, ["info", str(tmp_path / "other.h5")]).stderr


def test_other_geometries_particles_and_materials(tmp_path: Path) -> None:
    out = tmp_path / "e.safetensors"
    options = ("--geometry", "ds2_electrons", "--particle", "electron", "--material", "lead_tungstate")
    assert call(out, "--events", 20, *options).exit_code == 0
    assert len(read_showers(out, geometry("ds2_electrons"))) == 20
    write_binning(tmp_path / "mine.xml", geometry("ds1_photons"))
    assert call(tmp_path / "m.h5", "--events", 20, "--geometry", tmp_path / "mine.xml").exit_code == 0


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("x.parquet",), ".h5"),
        (("x.h5", "--material", "butter"), "lead_argon"),
        (("x.h5", "--particle", "pion"), "electromagnetic"),
        (("x.h5", "--geometry", "ds9"), "ds1_photons"),
        (("x.h5", "--events", "0"), "greater than 0"),
    ],
)
def test_one_line_for_what_is_wrong(tmp_path: Path, options: tuple[str, ...], said: str) -> None:
    done = call(tmp_path / options[0], *options[1:])
    assert done.exit_code == 2
    (line,) = (line for line in done.stderr.splitlines() if line.startswith("error:"))
    assert said in line
    assert not (tmp_path / options[0]).exists()
