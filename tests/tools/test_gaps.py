"""Masses that a selection has emptied, and masses that were rounded: neither makes resonances nor hides any."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tools.contract import ToolError
from tools.events.parquet import write_events
from tools.events.steps import rounding
from tools.gaps import emptied, runs
from tools.spectrum import count_window, hunt, limit

VETO = (80.0, 100.0)
GIVEN = {"column": "mass", "unit": "GeV", "fit_range": (25.0, 135.0)}
MASS, WIDTH, N_SIGNAL = 55.0, 0.015, 1000


@pytest.fixture(scope="module")
def masses() -> np.ndarray:
    """A falling spectrum with a resonance of 1,000 events at 55 GeV."""
    rng = np.random.default_rng(2)
    return np.append(20 + rng.exponential(25.0, 150_000), rng.normal(MASS, WIDTH * MASS, N_SIGNAL))


def vetoed(masses: np.ndarray) -> np.ndarray:
    return masses[(masses < VETO[0]) | (masses > VETO[1])]


def test_an_empty_bin_is_a_gap_only_between_full_ones() -> None:
    rng = np.random.default_rng(1)
    falling = rng.poisson(1000 * np.exp(-np.linspace(0, 9, 200))).astype(float)
    assert np.any(falling == 0)
    assert not emptied(falling).any()
    falling[20:30] = 0
    falling[30] = 3  # emptied in part
    assert runs(emptied(falling)) == [(20, 29)]
    assert not emptied(np.zeros(10)).any()


def test_a_veto_makes_no_resonances_and_leaves_those_beside_it(
    masses: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, chosen in (("whole", masses), ("vetoed", vetoed(masses))):
        write_events(tmp_path / f"{name}.parquet", {"mass": chosen})
        found = hunt(events=f"{name}.parquet", width=WIDTH, **GIVEN)
        (only,) = found.resonances
        assert abs(only.mass - MASS) < 4 * only.mass_error
        assert abs(only.n_signal - N_SIGNAL) < 4 * only.n_signal_error
        assert found.warning is None
    (gap,) = found.left_out
    assert gap[0] < VETO[0] < VETO[1] < gap[1]
    assert gap == pytest.approx(VETO, rel=0.01)


def test_a_window_is_predicted_from_what_a_veto_left(
    masses: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, chosen in (("whole", masses[:-N_SIGNAL]), ("vetoed", vetoed(masses[:-N_SIGNAL]))):
        write_events(tmp_path / f"{name}.parquet", {"mass": chosen})
    whole, beside = (
        count_window(events=f"{name}.parquet", window=(65.0, 75.0), **GIVEN) for name in ("whole", "vetoed")
    )
    assert abs(beside.background - whole.background) < 4 * beside.background_error
    assert beside.z is not None
    assert abs(beside.z) < 4
    with pytest.raises(ToolError, match="a selection has emptied"):
        count_window(events="vetoed.parquet", window=(75.0, 85.0), **GIVEN)


def test_limits_beside_a_veto_are_those_of_the_whole_spectrum(
    masses: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, chosen in (("whole", masses[:-N_SIGNAL]), ("vetoed", vetoed(masses[:-N_SIGNAL]))):
        write_events(tmp_path / f"{name}.parquet", {"mass": chosen})
    given = {**GIVEN, "width": WIDTH, "masses": [60.0, 115.0]}
    whole, beside = (limit(events=f"{name}.parquet", **given).limits for name in ("whole", "vetoed"))
    for one, other in zip(whole, beside, strict=True):
        assert other.expected[2] == pytest.approx(one.expected[2], rel=0.2)
        assert other.observed == pytest.approx(one.observed, abs=one.expected[3] - one.expected[1])
    with pytest.raises(ToolError, match="a selection has emptied"):
        limit(events="vetoed.parquet", **(given | {"masses": [90.0]}))
    everywhere = limit(events="vetoed.parquet", **GIVEN, width=WIDTH).limits
    assert not any(VETO[0] < each.mass < VETO[1] for each in everywhere)
    assert any(each.mass > VETO[1] for each in everywhere)


@pytest.mark.parametrize("step", [0.01, 0.05, 0.2])
def test_rounded_masses_are_spread_over_their_steps(
    step: float, masses: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Steps of 0.2 GeV are as wide as the bins: without spreading, every bin but a few has one value or two."""
    monkeypatch.chdir(tmp_path)
    write_events(tmp_path / "rounded.parquet", {"mass": np.round(masses / step) * step})
    found = hunt(events="rounded.parquet", width=WIDTH, **GIVEN)
    (only,) = found.resonances
    assert found.step == pytest.approx(step, rel=1e-3)
    assert found.warning is None
    assert abs(only.mass - MASS) < 4 * only.mass_error
    assert abs(only.n_signal - N_SIGNAL) < 4 * only.n_signal_error


def test_what_was_not_rounded_has_no_step(masses: np.ndarray) -> None:
    assert rounding(masses) is None
    assert (rounding(masses.astype(np.float32).astype(float)) or 0) < 1e-5  # the last bit of single precision
    assert rounding(np.repeat(masses[:1000], 4)) is None
    assert rounding(np.full(100, 3.0)) is None
    assert rounding(np.round(masses, 1).astype(np.float32).astype(float)) == pytest.approx(0.1, rel=1e-3)
