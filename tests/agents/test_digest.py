"""What agents read of results: shorter, and still the same numbers under the same names."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from agents.backends.digest import LONGEST, digest, ends
from agents.backends.opening import opening, read_context

NUMBERS = st.floats(allow_nan=False, allow_infinity=False) | st.integers()
VALUES = st.recursive(
    NUMBERS | st.text(max_size=5) | st.none() | st.booleans(),
    lambda inner: st.lists(inner, max_size=LONGEST) | st.dictionaries(st.text("abc", min_size=1), inner, min_size=1),
    max_leaves=20,
)


def same(one: Any, other: Any) -> bool:
    """Equal, floats to five digits."""
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[name], other[name]) for name in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == pytest.approx(other, rel=1e-4)) if isinstance(one, float) else bool(one == other)


@settings(deadline=None)
@example(1.79765e308)  # to five digits: infinity
@given(VALUES)
def test_names_and_numbers_stay(value: Any) -> None:
    assert same(digest(value), value)
    assert digest(digest(value)) == digest(value)


def test_what_only_programs_read_is_left_out_and_long_lists_are_cut() -> None:
    losses = [[5.55660550814, 5.3185682]] * 40
    result = {"scores": {"path": "s.parquet", "sha256": "ab", "dtype": "float32", "units": {}}, "losses": losses}
    assert digest(result) == {
        "scores": {"path": "s.parquet"},
        "losses": [[5.5566, 5.3186]] * 3 + ["... 40 in all ...", [5.5566, 5.3186]],
    }
    cuts = [{"efficiency": k} for k in range(40)]
    assert digest(cuts) == cuts, "objects are not numbers: each of them is one to choose from"


@settings(deadline=None)
@given(st.text(max_size=200), st.integers(2, 100))
def test_outputs_keep_their_ends(text: str, shown: int) -> None:
    cut = ends(text, shown)
    assert cut.startswith(text[: shown // 2])
    assert cut.endswith(text[-(shown // 2) :])
    assert ("left out" in cut) == (len(text) > shown) or "left out" in text


def test_a_context_is_read_back_and_begins_with_what_does_not_change() -> None:
    first, second = ({"facts": {"rows": 300}, "iteration": k, "said": "```"} for k in range(2))
    (_, one), (_, other) = (opening("You plan.", "# A task", context) for context in (first, second))
    assert read_context(one) == first
    shared = one.content[: one.content.index('"iteration"')]
    assert other.content.startswith(shared)
    assert json.dumps({"rows": 300}, separators=(",", ":")) in shared
