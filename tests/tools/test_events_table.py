"""The event table: derived features and the refusal of bad tables."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tools.contract import ToolError
from tools.events.cluster import COLUMNS
from tools.events.parquet import read_columns, round_mantissa, write_events
from tools.events.table import DERIVED, available, derive, validate


def table(rows: int = 5) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(1)
    columns = {name: rng.uniform(0.1, 0.5, rows) for name in COLUMNS}
    columns["mjj"] = rng.uniform(2.0, 6.0, rows)
    columns["mj2"] = columns["mj1"] + rng.uniform(0.0, 0.5, rows)
    return columns


def refused(columns: dict[str, np.ndarray]) -> ToolError:
    with pytest.raises(ToolError) as caught:
        validate(columns)
    return caught.value


def test_derived_features_follow_their_definitions() -> None:
    columns = table()
    features = derive(columns, ["tau21_j1", "tau32_j2", "delta_mj", "mjj"])
    assert list(features) == ["tau21_j1", "tau32_j2", "delta_mj", "mjj"]
    np.testing.assert_array_equal(features["tau21_j1"], columns["tau2_j1"] / (1e-5 + columns["tau1_j1"]))
    np.testing.assert_array_equal(features["tau32_j2"], columns["tau3_j2"] / (1e-5 + columns["tau2_j2"]))
    np.testing.assert_array_equal(features["delta_mj"], columns["mj2"] - columns["mj1"])
    np.testing.assert_array_equal(features["mjj"], columns["mjj"])


def test_regulator_keeps_ratios_finite() -> None:
    zero = {"tau1_j1": np.zeros(1), "tau2_j1": np.zeros(1)}
    assert derive(zero, ["tau21_j1"])["tau21_j1"][0] == 0.0


def test_mass_and_difference_are_inverse() -> None:
    columns = table()
    stored = {"mj1": columns["mj1"], "delta_mj": derive(columns, ["delta_mj"])["delta_mj"]}
    np.testing.assert_allclose(derive(stored, ["mj2"])["mj2"], columns["mj2"])


def test_available_lists_stored_then_computable() -> None:
    assert available(table()) == [*COLUMNS, *(n for n in DERIVED if n not in COLUMNS)]
    assert available({"mjj": np.ones(1), "mj1": np.ones(1)}) == ["mjj", "mj1"]


def test_unknown_feature_names_what_there_is() -> None:
    with pytest.raises(ToolError) as caught:
        derive({"mjj": np.ones(2)}, ["mass"])
    assert (caught.value.field, caught.value.value) == ("names", "mass")
    assert "mjj" in caught.value.allowed


def test_sound_table_passes() -> None:
    columns = table()
    columns["mj1"][0] = -2e-8  # as FastJet rounds a massless jet, and as the published files have it
    validate(columns)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_value_that_is_not_finite(bad: float) -> None:
    columns = table()
    columns["tau2_j1"][3] = bad
    error = refused(columns)
    assert error.field == "tau2_j1"
    assert str(error.value) == str(bad)
    assert "row 3" in error.allowed


def test_mjj_must_be_positive() -> None:
    columns = table()
    columns["mjj"][[2, 4]] = -1.0
    error = refused(columns)
    assert (error.field, error.value) == ("mjj", -1.0)
    assert "row 2, and 1 more" in error.allowed
    assert "positive" in error.allowed


def test_lengths_must_agree() -> None:
    columns = {**table(), "mj1": np.ones(4)}
    error = refused(columns)
    assert (error.field, error.value) == ("mj1", (4,))
    assert "(5,)" in error.allowed


def test_table_must_have_events_and_mjj() -> None:
    assert "no events" in refused({name: np.empty(0) for name in COLUMNS}).allowed
    assert "needs the column mjj" in refused({"mj1": np.ones(3)}).allowed


@pytest.mark.parametrize("name", ["mjj", "mj1", "mj2"])
def test_gev_is_recognised(name: str) -> None:
    columns = table()
    in_gev = {**columns, name: columns[name] * 1000}
    error = refused(in_gev)
    assert (error.field, error.value) == (name, in_gev[name][0])
    assert "row 0, and 4 more rows: looks like GeV" in error.allowed
    few = {**columns, name: np.where(np.arange(5) == 3, in_gev[name], columns[name])}
    assert "row 3: looks like GeV" in refused(few).allowed  # one event in five: the median would not tell


@given(
    st.lists(st.floats(1e-30, 1e30), min_size=1, max_size=20),
    st.integers(1, 23),
    st.sampled_from([-1.0, 1.0]),
)
def test_rounding_stays_within_its_bound(values: list[float], bits: int, sign: float) -> None:
    exact = sign * np.array(values, dtype=np.float32)
    rounded = round_mantissa(exact, bits)
    assert np.all(np.abs(rounded.astype(np.float64) - exact) <= 2.0 ** -(bits + 1) * np.abs(exact.astype(np.float64)))
    np.testing.assert_array_equal(round_mantissa(rounded, bits), rounded)


def test_parquet_round_trip_and_its_errors(tmp_path) -> None:  # type: ignore[no-untyped-def]
    path = tmp_path / "events.parquet"
    write_events(path, table(), bits={"mjj": 10})
    back = read_columns(path)
    np.testing.assert_array_equal(back["mj1"], table()["mj1"].astype(np.float32))
    np.testing.assert_allclose(back["mjj"], table()["mjj"], rtol=2**-10)
    assert list(tmp_path.iterdir()) == [path]

    for call, field, allowed in (
        (lambda: read_columns(path, ["mjj", "nope"]), "names", "delta_r_jj"),
        (lambda: round_mantissa(np.ones(1), 24), "bits", "1 to 23"),
        (lambda: write_events(path, {"a": np.ones(1), "b": np.ones(2)}), "columns", "same length"),
    ):
        with pytest.raises(ToolError) as caught:
            call()
        assert caught.value.field == field
        assert allowed in caught.value.allowed

    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(ToolError, match="not a readable parquet file"):
        read_columns(path)
