"""Numbers beyond what can be done are refused, with what is allowed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.files.toys import assert_refused, data, events, parquet, refused
from tools.bumphunt.scan import scan
from tools.catalogue import CATALOGUE
from tools.contract import SEEDS


@pytest.mark.parametrize("name", [n for n, tool in CATALOGUE.items() if "seed" in tool.request.model_fields])
def test_every_tool_refuses_a_seed_that_libraries_do_not_take(name: str) -> None:
    tool = CATALOGUE[name]
    needed: dict[str, Any] = {
        field: "x.parquet" for field, info in tool.request.model_fields.items() if info.is_required()
    }
    needed |= {"window": (3.3, 3.7)} if "window" in needed else {}
    needed |= {"observables": ["mass"]} if "observables" in needed else {}
    needed |= {"fit_range": (5.0, 16.0), "unit": "GeV"} if "fit_range" in needed else {}
    for seed in (2**32, SEEDS, 10**30):
        refused(lambda seed=seed: tool(**needed, seed=seed), "seed", str(SEEDS - 1))
    refused(lambda: tool(**needed, seed=-1), "seed")


def test_seeds_of_commands(tmp_path: Path) -> None:
    assert_refused(data("simulate", "qcd", tmp_path / "o.parquet", "--seed", 2**32), "seed", str(SEEDS - 1))
    assert data("split", tmp_path / "x.h5", tmp_path / "a.h5", tmp_path / "b.h5", "--seed", -1).exit_code == 2


@pytest.mark.parametrize("name", ["anomaly.template", "anomaly.latent"])
def test_an_oversample_that_makes_no_template(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    parquet(Path("events.parquet"), events(6000))
    for oversample in (1e-9, 1e-3):
        call = {"events": "events.parquet", "window": (2.9, 3.5), "oversample": oversample}
        refused(lambda call=call: CATALOGUE[name](**call), "oversample", "at least 0.0", "25 events in the window")


def test_the_efficiency_that_a_score_of_two_values_keeps(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = str(parquet(tmp_path / "events.parquet", events(4000)))
    rng = np.random.default_rng(1)
    for name, score in (("smooth", rng.uniform(size=4000)), ("two", 1.0 * (rng.uniform(size=4000) < 0.2))):
        scores = str(parquet(tmp_path / f"{name}.parquet", {"score": score}))
        (cut,) = scan(events=path, scores=scores, window=(3.3, 3.7), efficiencies=[0.01]).cuts
        assert cut.kept == pytest.approx(0.01 if name == "smooth" else 0.2, abs=0.02)
        assert ("many scores are equal" in capsys.readouterr().err) == (name == "two")
