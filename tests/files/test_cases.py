"""Files as people have them, kept beside the project and not in it: each is read rightly or refused with a reason.

They are looked for in ../shared/cases, or where BEAMCREW_CASES says. Tests elsewhere write files of the same kinds.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.files.toys import assert_refused, data, refused
from tools.anomaly.classify import classify
from tools.anomaly.template import template
from tools.bumphunt.scan import scan
from tools.calorimeter.geometry import find_geometry
from tools.calorimeter.showers import read_showers
from tools.events.describe import describe
from tools.events.energyflow import read_zjets
from tools.events.jets_read import read_any_jets
from tools.events.lhco import read_events
from tools.unfolding.unfold import unfold

CASES = Path(os.environ.get("BEAMCREW_CASES") or Path(__file__).parents[3] / "shared" / "cases")
WINDOW = (3.3, 3.7)


def case(name: str) -> Path:
    """Return the path of a case; skip the test if it is not there."""
    if not (CASES / name).is_file():
        pytest.skip(f"{CASES / name} is not there; BEAMCREW_CASES names the folder with the cases")
    return CASES / name


def path(name: str) -> str:
    return str(case(name))


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def unfolded(simulation: str, **more: Any) -> Any:
    files = {"data": path("u_data.parquet"), "simulation": path(simulation)}
    return unfold(**files, observables=["mass"], method={"kind": "ibu"}, **more)


REFUSED: dict[str, tuple[Callable[[str], object], list[str]]] = {
    "gev.parquet": (lambda p: describe(events=p), ["mjj", "GeV", "TeV", "row 0", "gev.parquet"]),
    "z_nan.npz": (lambda p: read_zjets(Path(p)), ["sim_widths=nan", "row 0", "z_nan.npz"]),
    "z_zero.npz": (lambda p: read_zjets(Path(p)), ["no events"]),
    "p_vds_half.h5": (lambda p: read_events(Path(p)), ["missing", "not whole"]),
    "j_pidscalar.h5": (lambda p: read_any_jets(Path(p)), ["pid=()", "one entry per jet"]),
    "j_lz4.h5": (lambda p: read_any_jets(Path(p)), ["lz4", "not installed"]),
    "s_4d.h5": (lambda p: read_showers(p, find_geometry("ds1_photons")), ["(200, 5, 8, 9)", "voxels per shower"]),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused_with_a_reason(name: str) -> None:
    call, words = REFUSED[name]
    where = path(name)
    refused(lambda: call(where), *words)
    said = data("info", where)
    assert_refused(said, *words)
    assert data("convert", where, "out.parquet").exit_code == 2
    assert data("convert", where, "out.h5").exit_code == 2
    assert not list(Path().iterdir())


@pytest.mark.parametrize("name", ["ok.parquet", "markup_close.parquet", "p_raw.h5", "f_string.h5", "f_multiindex.h5"])
def test_events_that_are_read(name: str) -> None:
    columns, _ = read_events(case(name))
    assert np.all(columns["mjj"] > 0)
    assert data("convert", case(name), "out.parquet").exit_code == 0
    assert ("m[/jj]" in data("info", case(name)).stdout) == (name == "markup_close.parquet")


def test_jets_that_are_read() -> None:
    assert read_any_jets(case("j_ok.h5")).count() == {"0": 30, "1": 30}
    assert read_any_jets(case("top_swapped.h5")).count() == {"qcd": 40, "top": 40}


def test_a_scan_in_the_right_unit_and_with_the_efficiency_that_it_keeps() -> None:
    for scores in ("sc_ok.parquet", "sc_binary.parquet"):
        call: dict[str, Any] = {"scores": path(scores), "window": WINDOW, "efficiencies": [0.005]}
        cut = scan(events=path("ok.parquet"), **call).cuts[0]
        assert cut.kept == pytest.approx(0.005 if scores == "sc_ok.parquet" else 0.01, rel=0.2)
        refused(lambda call=call: scan(events=path("gev.parquet"), **call), "mjj", "GeV")


def test_copies_make_no_excess() -> None:
    assert describe(events=path("dup2.parquet")).copies == 4000
    call: dict[str, Any] = {"events": path("dup2.parquet"), "window": (2.7, 3.1)}
    template(**call, method="sideband", oversample=1.0, closure="events")
    made = classify(**call, template="template.parquet", ensemble=1, folds=3)
    assert made.copies == 4000
    assert all(cut.z < 3.5 for cut in scan(**call, scores="scores.parquet", efficiencies=[0.01, 0.03]).cuts)


def test_weights_and_sentinels_of_an_unfolding() -> None:
    plain, weighted = unfolded("u_sim.parquet"), unfolded("u_sim_weights.parquet", out="w.parquet", folder="w")
    assert plain.notes == []
    assert weighted.notes == ["simulation: column 'weights' taken as weights"]
    assert plain.content_sha256 != weighted.content_sha256
    missed = unfolded("u_sim_999.parquet", out="m.parquet", folder="m")
    assert "with -999 at reco taken as not passing" in missed.notes[0]
    assert missed.n_unfolded > plain.n_unfolded  # corrected for what was not reconstructed
