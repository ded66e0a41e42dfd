"""Repeated scripts: what they are run on, and what is said of those that do not go."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tools.analysis import Answer, repeat
from tools.analysis.agreement import bootstrap_rows, half_rows, largest_pull, nearly_all_rows, spread_range
from tools.contract import ToolError

WRITE = """
import json, sys
from pathlib import Path
import pyarrow.parquet as pq
rows = pq.read_table(sys.argv[1]).num_rows
Path(sys.argv[2], "results.json").write_text(json.dumps(RESULTS))
"""
COUNT = '{"numbers": [{"name": "n", "value": rows, "error": rows**0.5, "unit": "1"}]}'
ROWS = 3000


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    pq.write_table(pa.table({"x": np.arange(ROWS)}), tmp_path / "events.parquet")
    (tmp_path / "resamples.json").write_text(json.dumps({"seed": 2**100, "bootstraps": 2}))
    return tmp_path


def repeated(code: str, **more: float) -> Answer:
    Path("analysis.py").write_text(code)
    repeat(script="analysis.py", data="events.parquet", resamples="resamples.json", **more)
    return Answer.model_validate_json(Path("answer.json").read_bytes())


def test_copies_of_a_row_stay_with_it() -> None:
    rng, original = np.random.default_rng(3), np.tile(np.arange(500), 2)  # a file joined to itself
    one, other = half_rows(original, rng)
    assert set(one % 500).isdisjoint(other % 500)
    assert len(one) + len(other) == 1000
    sums = [len(bootstrap_rows(original, rng)) for _ in range(400)]
    assert np.std(sums) == pytest.approx(2 * 500**0.5, rel=0.15)  # 1000 independent rows would give sqrt(1000)


def test_few_rows_give_way_to_others_with_their_copies() -> None:
    rng, original = np.random.default_rng(3), np.tile(np.arange(500), 2)
    rows = nearly_all_rows(original, rng)
    times = np.bincount(rows, minlength=1000)
    assert len(rows) == 1000
    np.testing.assert_array_equal(times[:500], times[500:])
    assert np.bincount(times[:500]).tolist() == [5, 490, 5]


def test_halves_make_the_whole_and_counts_vary_as_counts_do() -> None:
    rng = np.random.default_rng(1)
    one, other = half_rows(np.arange(ROWS), rng)
    assert sorted([*one, *other]) == list(range(ROWS))
    differences = [np.subtract(*map(len, half_rows(np.arange(ROWS), rng))) for _ in range(400)]
    counts = [len(bootstrap_rows(np.arange(ROWS), rng)) for _ in range(400)]
    for varied in (differences, counts):  # variances of N1 - N2 and of a Poisson number are N
        assert np.std(varied) == pytest.approx(np.sqrt(ROWS), rel=5 / np.sqrt(800))


def test_the_gates_are_those_of_normal_numbers() -> None:
    rng = np.random.default_rng(2)
    low, high = spread_range(20, 0.1)
    spread = np.std(rng.normal(size=(4000, 20)), axis=1, ddof=1)
    assert np.mean((spread < low) | (spread > high)) == pytest.approx(0.1, abs=0.02)
    assert np.mean(np.abs(rng.normal(size=4000)) > largest_pull(0.1)) == pytest.approx(0.1, abs=0.02)


def test_a_count_is_repeated_on_all_parts(here: Path) -> None:
    answer = repeated(WRITE.replace("RESULTS", COUNT))
    (one, other, *resamples) = answer.resampled
    assert [each.rows for each in resamples if each.kind == "nearly all"] == [ROWS] * 5
    assert answer.rows == answer.results.numbers[0].value == one.rows + other.rows == ROWS
    assert [each.numbers["n"][0] for each in resamples] == [each.rows for each in resamples]


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("1 / 0", "ZeroDivisionError"),
        ("pass", "must write OUT/results.json"),
        ("import time; time.sleep(60)", "did not finish within 1 s"),
        (WRITE.replace("RESULTS", '{"numbers": [{"name": "n", "value": float("nan")}]}'), "finite"),
        (WRITE.replace("RESULTS", '{"numbers": [{"name": "n", "value": 1.0}] * 2}'), "each name once"),
        (WRITE.replace("RESULTS", '{"number": []}'), "number"),
        (
            WRITE.replace("RESULTS", '{"figures": [{"file": "a", "x": {}, "y": {}, "series": [{"x": [], "y": [1]}]}]}'),
            "x as long as y",
        ),
    ],
)
def test_a_script_that_does_not_go_is_told_why(code: str, said: str, here: Path) -> None:
    with pytest.raises(ToolError, match=said):
        repeated(code, seconds=1.0 if "sleep" in code else 60.0)


def test_pictures_and_files_are_looked_for_below_the_folder_only(here: Path) -> None:
    (here / "outside.png").write_bytes(b"x")
    figures = [{"file": name, "x": {}, "y": {}} for name in ("../outside.png", "results.json", "none.png")]
    files = [{"file": "../outside.png"}, {"file": "results.json"}]
    answer = repeated(WRITE.replace("RESULTS", repr({"figures": figures, "files": files})))
    wrong = {"../outside.png": "no such file", "results.json": "not a PNG", "none.png": "no such file"}
    assert answer.pictures == wrong
    assert answer.hashes["../outside.png"] == ("", "")
    assert len(answer.hashes["results.json"][0]) == 64
