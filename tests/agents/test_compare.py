"""Two runs side by side: what differs is told, what agents wrote is only shown."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Iterator
from pathlib import Path

import pytest
from report_runs import SCRIPT, converged, failed
from scripted import Scripted, TinyTask, hand_in, two_rounds
from test_replay import beamcrew
from test_resume import COST, SETTINGS
from test_trace_store import STARTED

from agents.runs.compare import Comparison, compare, to_html
from agents.runs.run import start
from agents.trace.report import write_report
from agents.trace.store import Store
from agents.trace.words import HIDDEN
from tasks import catalogue


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Path]]:
    folder = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(catalogue.catalogue(), "tiny", TinyTask)
        start(SETTINGS, Scripted(two_rounds(), usage=COST), folder / "a")
        other = dict(two_rounds()) | {"worker/0/c": hand_in(0.3, "x = 1")}
        start(SETTINGS.model_copy(update={"seed": 2}), Scripted(other), folder / "b")
        yield folder / "a", folder / "b"


def test_what_differs_and_what_does_not(runs: tuple[Path, Path]) -> None:
    found = compare(*runs)
    rows = {f"{row.section} {row.name}": row for row in found.rows}
    assert (rows["run seed"].a, rows["run seed"].b) == ("1", "2")
    assert rows["run request"].same
    assert rows["plan iteration 0"].a == "because"
    assert "events.describe" in rows["plan iteration 0, a"].a
    first = rows["metrics iteration 0, correlation"]
    assert (first.same, "±" in first.a) == (False, True)
    assert rows["metrics iteration 1, correlation"].same
    assert (rows["cost dollars"].a, rows["cost dollars"].b) == ("7", "0")
    assert rows["claims text"].a == "nothing found"
    assert [diff.path for diff in found.code] == ["i0/c/score.py"]
    assert "+x = 1" in found.code[0].lines
    order = [row.section for row in found.rows]
    assert list(dict.fromkeys(order)) == ["run", "plan", "metrics", "claims", "cost"]
    assert order == sorted(order, key=list(dict.fromkeys(order)).index)


def test_a_run_is_the_same_as_itself(runs: tuple[Path, Path]) -> None:
    found = compare(runs[0], runs[0])
    assert all(row.same for row in found.rows)
    assert found.code == []


def test_runs_without_an_end_are_compared_and_foreign_text_is_escaped(tmp_path: Path) -> None:
    found = compare(converged(tmp_path / "a"), failed(tmp_path / "b"))
    page = to_html(found)
    assert SCRIPT not in page
    assert "&lt;script&gt;" in page
    assert "default-src 'none'" in page


HOSTILE = "\x1b[2J\x9b2J\u202ereversed\u2066 \u200bunseen \U000e0041\r"


def test_no_output_holds_a_character_that_moves_the_cursor_or_turns_the_text(tmp_path: Path) -> None:
    for name in ("a", "b"):
        with Store.create(tmp_path / name) as trace:
            trace.append(STARTED.model_copy(update={"request": f"{HOSTILE} {name}", "options": {HOSTILE: HOSTILE}}))
        write_report(tmp_path / name)
    words = [str(tmp_path / "a"), str(tmp_path / "b")]
    said = [
        beamcrew("compare", *words, "--html", str(tmp_path / "c.html"))[1],
        beamcrew("compare", *words, "--json")[1],
    ]
    said += [path.read_text() for path in (tmp_path / "c.html", tmp_path / "a/report.md", tmp_path / "a/report.html")]
    for text in said:
        assert "2J" in text
        assert not HIDDEN.search(text)


def test_what_is_hidden_is_all_that_unicode_calls_control_or_format() -> None:
    hidden = {c for c in map(chr, range(0x110000)) if unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp")}
    assert {c for c in hidden if not HIDDEN.fullmatch(c)} == {"\t", "\n"}


def test_the_command_prints_json_and_html(runs: tuple[Path, Path], tmp_path: Path) -> None:
    words = [str(run) for run in runs]
    status, out, _ = beamcrew("compare", *words, "--json", "--html", str(tmp_path / "c.html"))
    assert status == 0
    assert Comparison.model_validate(json.loads(out)).b.run == "b"
    assert "i0/c/score.py" in (tmp_path / "c.html").read_text()
    status, out, _ = beamcrew("compare", *words)
    assert (status, "+x = 1" in out, "correlation" in out) == (0, True, True)
    assert beamcrew("compare", words[0], str(tmp_path / "none"))[0] == 2
