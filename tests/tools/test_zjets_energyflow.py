"""Readers of the published Z+jets layout, on files of that layout written here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from tools import data_cli
from tools.contract import ToolError
from tools.events.energyflow import ZJETS_FILES, read_zjets
from tools.events.parquet import read_columns
from tools.events.zjets import COLUMNS
from tools.events.zjets_jets import LN_RHO_MIN

N = 30


def arrays(seed: int = 0) -> dict[str, Any]:
    """Both levels; jet 0 has one particle, jet 1 is groomed to nothing."""
    rng = np.random.default_rng(seed)
    out: dict[str, Any] = {"gen_Zs": rng.uniform(200, 300, (N, 3))}
    for level, longest in (("gen", 9), ("sim", 6)):
        particles = np.zeros((N, longest, 4))
        for k in range(N):
            n = 1 if k == 0 else int(rng.integers(2, longest + 1))
            particles[k, :n, 0] = rng.uniform(0.01, 0.5, n)  # in units of 100 GeV
            particles[k, :n, 1:3] = rng.normal(0, 0.1, (n, 2)) if n > 1 else 0.0
        jets = np.column_stack(
            [rng.uniform(200, 400, N), rng.normal(size=N), rng.uniform(0, 6, N), rng.uniform(5, 50, N)]
        )
        widths = rng.uniform(0.05, 0.3, N)
        widths[0] = 0
        sdms = rng.uniform(1, 20, N)
        sdms[1] = 0
        zgs = rng.uniform(0.1, 0.5, N)
        zgs[1] = 0
        found = {
            "jets": jets,
            "particles": particles,
            "mults": (particles[:, :, 0] > 0).sum(axis=1),
            "lhas": widths,
            "widths": widths,
            "ang2s": widths,
            "tau2s": widths * rng.uniform(0.2, 0.8, N),
            "sdms": sdms,
            "zgs": zgs,
        }
        out |= {f"{level}_{key}": values for key, values in found.items()}
    return out


def write(path: Path, **changed: Any) -> Path:
    np.savez(path, **{k: v for k, v in (arrays() | changed).items() if v is not None})
    return path


def test_columns_follow_the_definitions(tmp_path: Path) -> None:
    raw, table = arrays(), read_zjets(write(tmp_path / "Herwig_0.npz"))
    assert tuple(table) == COLUMNS
    for level, ours in (("gen", "gen"), ("sim", "reco")):
        np.testing.assert_array_equal(table[f"{ours}_mass"], raw[f"{level}_jets"][:, 3])
        np.testing.assert_array_equal(table[f"{ours}_mult"], raw[f"{level}_mults"])
        np.testing.assert_array_equal(table[f"{ours}_zg"], raw[f"{level}_zgs"])
        for k in range(N):
            particles = [p for p in raw[f"{level}_particles"][k] if p[0] > 0]
            width = sum(p[0] * np.hypot(p[1], p[2]) for p in particles) / sum(p[0] for p in particles)
            assert table[f"{ours}_width"][k] == pytest.approx(width)
        ratio = raw[f"{level}_tau2s"][1:] / raw[f"{level}_widths"][1:]
        np.testing.assert_allclose(table[f"{ours}_tau21"], [0, *ratio])
        rho = raw[f"{level}_sdms"][2:] ** 2 / raw[f"{level}_jets"][2:, 0] ** 2
        np.testing.assert_allclose(table[f"{ours}_lnrho"][2:], np.log(rho))
        assert table[f"{ours}_lnrho"][1] == LN_RHO_MIN
        np.testing.assert_array_equal(table[f"pass_{ours}"], 1)


def test_an_angle_beyond_pi_is_a_small_one(tmp_path: Path) -> None:
    particles = arrays()["gen_particles"]
    turned = particles.copy()
    turned[:, :, 2] -= 2 * np.pi * (particles[:, :, 2] > 0)
    one, other = (read_zjets(write(tmp_path / f"{k}.npz", gen_particles=p)) for k, p in enumerate((particles, turned)))
    np.testing.assert_allclose(one["gen_width"], other["gen_width"], rtol=1e-12)


def test_convert_writes_our_table(tmp_path: Path) -> None:
    result = CliRunner().invoke(
        data_cli.app, ["convert", str(write(tmp_path / "a.npz")), str(tmp_path / "out.parquet")]
    )
    assert result.exit_code == 0, result.output
    assert "30 events, no labels" in result.output
    table = read_zjets(tmp_path / "a.npz")
    for name, values in read_columns(tmp_path / "out.parquet").items():
        np.testing.assert_allclose(values, table[name], rtol=1e-6)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"sim_zgs": None}, "sim_zgs"),
        ({"gen_jets": np.zeros((N, 3))}, "gen_jets"),
        ({"gen_widths": np.zeros(N - 1)}, "gen_widths"),
        ({"gen_mults": np.array([{}] * N)}, "npz file of plain arrays"),
    ],
)
def test_another_layout_is_refused(tmp_path: Path, changed: dict[str, Any], said: str) -> None:
    with pytest.raises(ToolError, match=said):
        read_zjets(write(tmp_path / "x.npz", **changed))


def test_levels_of_different_events_are_refused(tmp_path: Path) -> None:
    shorter = {k: v[:-1] for k, v in arrays().items() if k.startswith("sim_")}
    with pytest.raises(ToolError, match="both levels"):
        read_zjets(write(tmp_path / "x.npz", **shorter))


def test_what_is_no_archive_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.npz").write_bytes(b"nothing")
    with pytest.raises(ToolError, match="npz"):
        read_zjets(tmp_path / "x.npz")
    with pytest.raises(FileNotFoundError):
        read_zjets(tmp_path / "none.npz")


def test_the_record_has_68_files() -> None:
    assert len(ZJETS_FILES) == 4 * 17
    assert "Pythia26_Zjet_pTZ-200GeV_16.npz" in ZJETS_FILES
