"""Events without labels: every layout gives the same search, and nothing about truth is written, sealed or shown."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from no_truth import assert_no_truth

from agents.intake.rules import by_rules
from tasks.catalogue import make_task
from tasks.lhco.blackbox import KNOWN
from tasks.lhco.claims import SearchClaim, SearchSubmission
from tasks.lhco.files import EVENTS
from tasks.lhco.mix import mix
from tasks.task import TaskError
from tools.events.frame import write_frame
from tools.events.parquet import read_columns, write_events
from tools.events.sight import look
from tools.events.table import derive

NAMES = ("mjj", "mj1", "delta_mj", "tau21_j1", "tau21_j2")
MASSES = ("mjj", "mj1", "delta_mj")
ASKED = "Is there anything new in here?"


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    drawn = mix(10_000, "3500_500_100", 300, 1)
    rows = {name: values[:1500] for name, values in drawn.columns.items()}
    return pd.DataFrame(derive(rows, NAMES)).astype(np.float32)


def prepared(path: Path, into: Path, **options: Any) -> dict[str, np.ndarray]:
    task = make_task("lhco-blackbox", {"data": str(path)} | options)
    task.prepare(into / "inputs", into / "held_out", into / "sealed")
    return read_columns(into / "held_out" / EVENTS)


def test_all_kinds_of_tables_give_the_same_events(table: pd.DataFrame, tmp_path: Path) -> None:
    gev = table.assign(**{name: 1000 * table[name] for name in MASSES})
    table.to_parquet(tmp_path / "a.parquet")
    table.to_csv(tmp_path / "a.csv", index=False)
    np.savez(tmp_path / "a.npz", **{name: table[name].to_numpy() for name in NAMES})
    np.save(tmp_path / "a.npy", table.to_numpy())
    write_frame(tmp_path / "a.h5", [table.to_numpy()], NAMES)
    gev.assign(run=1, is_signal=1, weight=1.0).to_parquet(tmp_path / "gev.parquet")
    for name in ("a.parquet", "a.csv", "a.npz", "a.npy", "a.h5", "gev.parquet"):
        unit = "GeV" if name == "gev.parquet" else "TeV"
        found = prepared(tmp_path / name, tmp_path / name.replace(".", "_"), unit=unit)
        assert list(found) == list(NAMES), name
        for column in NAMES:
            np.testing.assert_allclose(found[column], table[column], rtol=1e-6, err_msg=name)
        card = by_rules(ASKED, look(tmp_path / name))
        assert card.task == "lhco-blackbox"
        assert [question.about for question in card.questions] == (["unit"] if unit == "GeV" else [])
    assert "is_signal" in " ".join(card.remarks)


def particles(n: int) -> np.ndarray:
    """Events of two back-to-back jets in the layout of a black box: 700 x (pt, eta, phi), zeros where there is none."""
    rng = np.random.default_rng(3)
    rows = np.zeros((n, 700, 3), np.float32)
    phi = rng.uniform(-np.pi, np.pi, n)
    for jet in (0, 1):
        mine = slice(30 * jet, 30 * (jet + 1))
        rows[:, mine, 0] = rng.dirichlet(np.ones(30), n) * rng.uniform(1300, 1900, (n, 1))
        rows[:, mine, 1] = rng.normal(0, 0.15, (n, 30))
        rows[:, mine, 2] = (phi[:, None] + np.pi * jet + rng.normal(0, 0.15, (n, 30)) + np.pi) % (2 * np.pi) - np.pi
    return rows.reshape(n, 2100)


def test_a_black_box_of_particles_is_clustered_and_searched(tmp_path: Path) -> None:
    pytest.importorskip("fastjet")
    path = tmp_path / "blackbox1.h5"
    rows = particles(150)
    write_frame(path, [rows])
    card = by_rules(ASKED, look(path))
    assert (card.task, card.questions) == ("lhco-blackbox", [])
    assert "150 events are clustered" in " ".join(card.remarks)
    found = prepared(path, tmp_path)
    # The two jets hold all particles, so mjj is the mass of the event.
    pt, eta, phi = (rows[:, i::3].astype(float) for i in range(3))
    momenta = (pt * f for f in (np.cosh(eta), np.cos(phi), np.sin(phi), np.sinh(eta)))
    energy, px, py, pz = (x.sum(axis=1) for x in momenta)
    np.testing.assert_allclose(found["mjj"], 1e-3 * np.sqrt(energy**2 - px**2 - py**2 - pz**2), rtol=0.02)
    assert set(found) <= set(KNOWN)


def test_nothing_is_sealed_and_the_claim_is_checked_all_the_same(table: pd.DataFrame, tmp_path: Path) -> None:
    table.assign(is_signal=np.arange(len(table)) % 2).to_parquet(tmp_path / "a.parquet")
    prepared(tmp_path / "a.parquet", tmp_path)
    assert_no_truth(tmp_path / "inputs", set(NAMES))
    assert [path.name for path in (tmp_path / "sealed").iterdir()] == ["labels.parquet"]
    assert list(read_columns(tmp_path / "sealed" / "labels.parquet")) == ["held_out"]
    task = make_task("lhco-blackbox", {"data": str(tmp_path / "a.parquet")})
    checks = task.check(SearchClaim(discovery=False, text="Nothing."), [], None)
    submission = SearchSubmission(scores="scores.parquet", window=(3.3, 3.7))
    verdict = task.seal(checks, submission, tmp_path, tmp_path / "sealed", None)
    assert (verdict.metrics, verdict.curves, verdict.checks) == ([], {}, checks)
    assert json.loads(json.dumps(task.options()))["unit"] == "TeV"


@pytest.mark.parametrize(
    ("change", "options", "said"),
    [
        ({"mjj": 3500.0}, {}, "unit=GeV"),
        ({}, {"unit": "GeV"}, "is the unit right"),
        ({"weight": np.linspace(0, 1, 1500)}, {}, "must have weight 1"),
        ({"mj1": np.nan}, {}, "must be finite|not finite"),
    ],
)
def test_what_cannot_be_searched_is_named(
    change: dict[str, Any], options: dict[str, Any], said: str, table: pd.DataFrame, tmp_path: Path
) -> None:
    table.assign(**change).to_parquet(tmp_path / "a.parquet")
    with pytest.raises(TaskError, match=said):
        prepared(tmp_path / "a.parquet", tmp_path, **options)


def test_files_that_are_no_events_and_too_few_features_are_named(table: pd.DataFrame, tmp_path: Path) -> None:
    write_events(tmp_path / "few.parquet", {"mjj": table["mjj"].to_numpy(), "mj1": table["mj1"].to_numpy()})
    with pytest.raises(TaskError, match="two features"):
        prepared(tmp_path / "few.parquet", tmp_path)
    (tmp_path / "a.h5").write_bytes(b"\x89HDF\r\n\x1a\nbroken")
    with pytest.raises(TaskError, match="not a readable HDF5"):
        prepared(tmp_path / "a.h5", tmp_path)
    with pytest.raises(TaskError, match="a file of dijet events"):
        prepared(tmp_path, tmp_path)
