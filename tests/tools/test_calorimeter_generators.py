"""Frozen showers, files of generators, and the tools calorimeter.train and calorimeter.generate."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from tiny_showers import THRESHOLD, TINY, tiny_showers

from tools.calorimeter.generate import generate
from tools.calorimeter.generators import BeyondTraining, FrozenShowers, load
from tools.calorimeter.geometry import write_binning
from tools.calorimeter.showers import read_showers, write_showers
from tools.calorimeter.train import train
from tools.contract import ToolError


def test_frozen_showers_are_those_of_the_library_at_its_energies() -> None:
    showers = tiny_showers(500, 1)
    library = FrozenShowers(size=100).fit(showers, seed=1)
    made = library.generate(showers.incident[:50], seed=2)
    for energy, voxels in zip(made.incident, made.voxels, strict=True):
        same = showers.voxels[showers.incident == energy]
        assert (voxels == same).all(axis=1).any()
    assert len(library.library) == 100


def test_frozen_showers_scale_to_energies_between_and_lose_what_falls_below_threshold() -> None:
    library = FrozenShowers(neighbours=1).fit(tiny_showers(500, 1), seed=1)
    made = library.generate(np.full(200, 160.0), seed=3)  # 200 MeV is nearest, in logarithms
    scaled = library.library.voxels[library.library.incident == 200.0] * np.float32(0.8)
    scaled[scaled < library.threshold] = 0
    assert all((voxels == scaled).all(axis=1).any() for voxels in made.voxels)
    assert made.voxels[made.voxels > 0].min() >= np.float32(library.threshold)
    with pytest.warns(BeyondTraining, match="1 of 1"):
        library.generate(np.array([1000.0]), 1)


def test_a_file_gives_the_same_showers(tmp_path: Path) -> None:
    library = FrozenShowers(size=200).fit(tiny_showers(500, 1), seed=1)
    library.save(tmp_path / "frozen.safetensors")
    incident = np.geomspace(100, 400, 40)
    again = load(tmp_path / "frozen.safetensors")
    np.testing.assert_array_equal(again.generate(incident, 1).voxels, library.generate(incident, 1).voxels)


def test_files_that_hold_no_generator_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ToolError, match="there is none"):
        load(tmp_path / "absent.safetensors")
    (tmp_path / "text.safetensors").write_text("not a generator")
    with pytest.raises(ToolError, match=r"a file that calorimeter\.train wrote"):
        load(tmp_path / "text.safetensors")
    save_file({"a": np.zeros(2)}, tmp_path / "other.safetensors")
    with pytest.raises(ToolError, match=r"a file that calorimeter\.train wrote"):
        load(tmp_path / "other.safetensors")
    good = tmp_path / "good.safetensors"
    FrozenShowers(size=100).fit(tiny_showers(500, 1), seed=1).save(good)
    arrays, header = load_file(good), _header(good)
    save_file(arrays, tmp_path / "kind.safetensors", {"generator": json.dumps(header | {"kind": "oracle"})})
    with pytest.raises(ToolError, match=r"a kind of generator: flow, .*, frozen"):
        load(tmp_path / "kind.safetensors")
    save_file({"incident": arrays["incident"]}, tmp_path / "part.safetensors", {"generator": json.dumps(header)})
    with pytest.raises(ToolError, match="a complete frozen generator"):
        load(tmp_path / "part.safetensors")


def _header(path: Path) -> dict[str, object]:
    size = int.from_bytes(path.read_bytes()[:8], "little")
    metadata = json.loads(path.read_bytes()[8 : 8 + size])["__metadata__"]
    found: dict[str, object] = json.loads(metadata["generator"])
    return found


def test_tools_train_and_generate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_binning(Path("tiny.xml"), TINY)
    showers = tiny_showers(400, 1)
    write_showers(Path("train.h5"), showers)
    small = {"kind": "flow", "epochs": 1, "layer_epochs": 1}
    for kind, name in (("frozen", "frozen"), (small, "flow")):
        trained = train(showers="train.h5", geometry="tiny.xml", generator=kind, out=f"{name}.safetensors")
        assert (trained.kind, trained.n_showers, trained.incident_mev) == (name, 400, (100.0, 400.0))
        made = generate(generator=trained.generator, like="train.h5", out="made.h5")
        assert (made.n_showers, made.beyond_training, made.warning) == (400, 0, "")
        again = read_showers("made.h5", load("frozen.safetensors").geometry)
        np.testing.assert_array_equal(again.incident, showers.incident)
        assert again.voxels[again.voxels > 0].min() >= THRESHOLD
    made = generate(generator="frozen.safetensors", energies_mev=[150.0, 500.0], each=3)
    assert (made.n_showers, made.beyond_training) == (6, 3)
    assert "beyond those of training, 100 to 400 MeV" in made.warning


def test_tools_say_what_is_wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_binning(Path("tiny.xml"), TINY)
    write_showers(Path("train.h5"), tiny_showers(400, 1))
    file = {"showers": "train.h5", "geometry": "tiny.xml"}
    for field, arguments in {
        "out": {**file, "generator": "frozen", "out": "/tmp/a.safetensors"},
        "generator": {**file, "generator": "oracle"},
        "path": {"showers": "train.h5", "geometry": "ds1_photons"},
        "showers": {**file, "rows": 50},
    }.items():
        with pytest.raises(ToolError) as caught:
            train(**arguments)
        assert caught.value.field == field
    train(**file, generator="frozen")
    with pytest.raises(ToolError, match="either these, or a file in `like`"):
        generate(generator="generator.safetensors")
    with pytest.raises(ToolError, match="showers of this geometry at a time"):
        generate(generator="generator.safetensors", energies_mev=[200.0] * 1000, each=1_000_000)
    with pytest.raises(ToolError, match="MeV, from 1"):
        generate(generator="generator.safetensors", energies_mev=[0.2])
