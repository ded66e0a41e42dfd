"""The benchmark at the published strength: files in the official layout, and what is counted as a correct claim."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.power import PUBLISHED, strength
from benchmarks.published import summarise, write_rnd
from tasks.lhco.mix import mix
from tools.events.lhco import read_features
from tools.events.table import derive

NAMES = ["mjj", "mj1", "delta_mj", "tau21_j1", "tau21_j2", "tau32_j1", "tau32_j2"]


def test_the_reader_of_the_official_layout_returns_the_features_that_were_written(tmp_path: Path) -> None:
    data = mix(10_000, "3500_500_100", 500, 3)
    features = derive(data.columns, NAMES)
    write_rnd(tmp_path / "features.h5", features, data.is_signal)
    columns, labels = read_features(tmp_path / "features.h5")
    found = derive(columns, NAMES)
    for name in NAMES:
        np.testing.assert_allclose(found[name], features[name], rtol=1e-4, atol=1e-4)
    assert labels is not None
    assert np.array_equal(labels, data.is_signal)


def test_the_published_strength_is_that_of_the_official_file() -> None:
    """1,000 signal events among 1,000,000 are 2.2 standard deviations in the window."""
    assert strength(PUBLISHED, 1_000_000) == pytest.approx(1000, rel=0.05)


def test_only_claims_count_and_wrong_windows_are_named() -> None:
    row = {"n_signal": 1000, "claim": True, "z": 6.0, "mass": 3.49, "mass_error": 0.02, "passing": 100.0}
    row |= {"passing_error": 20.0, "passing_true": 90, "sic25": 9.0, "ideal": 10.0, "wall_s": 60.0, "peak_mib": 900.0}
    elsewhere = row | {"mass": 4.6, "passing_true": 0}
    missed = row | {"claim": False, "z": 2.0, "sic25": 5.0}
    found = summarise([row, elsewhere, missed])
    assert (found["claims"], found["false_windows"], found["sets"]) == (2, 1, 3)
    assert (found["mass_within_1_percent"], found["passing_within_2_errors"]) == (1, 1)
    assert found["mass_pull"][0] == pytest.approx((-0.5 + 55) / 2)
    assert found["sic25_ratio_median"] == pytest.approx(0.9)
