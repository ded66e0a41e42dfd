"""The report of a study from its folder: links lead to runs, nothing comes alive, and the same gives the same."""

from __future__ import annotations

import csv
import json
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import pytest
from study_rows import SCRIPT, lost, outcomes_of, study_of

from agents.studies.outcome import Outcome
from agents.studies.report import environment, fault_link, pvalue, three_digits, write_study_report
from agents.studies.results import StudyResult
from agents.studies.study import Study
from agents.trace.report import environment as trace_environment
from tasks.page import Text

RATES = {"good": 0.9, "analyst": 0.6, "random": 0.15}


class Page(HTMLParser):
    """Tags, links and text that a browser would see."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []
        self.ids: list[str] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [value or "" for name, value in attrs if tag == "a" and name in ("href", "xlink:href")]
        self.ids += [value or "" for name, value in attrs if name == "id"]
        assert not [name for name, _ in attrs if name.startswith("on")]

    def handle_data(self, data: str) -> None:
        self.text += data


def fill(folder: Path, study: Study, rows: list[Outcome]) -> Path:
    """A folder as the runner leaves it."""
    folder.mkdir(exist_ok=True)
    (folder / "study.json").write_text(json.dumps(study.canonical()))
    for row in rows:
        run = folder / row.cell
        run.mkdir(parents=True)
        (run / "outcome.json").write_text(row.model_dump_json())
        (run / "trace.jsonl").write_text(json.dumps({"kind": "run_started", "versions": {"python": "3.12"}}) + "\n")
    return folder


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, StudyResult, list[Outcome]]:
    study = study_of(best_of=[{"arm": "good", "n": 4}])
    rows = outcomes_of(study, RATES)
    rows[3] = lost(rows[3])
    folder = fill(tmp_path_factory.mktemp("studies") / "one", study, rows)
    return folder, write_study_report(folder), rows


def test_the_first_screen_says_which_and_how_sure(done: tuple[Path, StudyResult, list[Outcome]]) -> None:
    folder, result, _ = done
    page = Page((folder / "report.html").read_text())
    begin = page.text[: page.text.index("Comparison of backends")]
    for sentence in (*result.answer.sentences, *result.answer.warnings):
        assert sentence in begin
    for heading in (
        "Data without a signal",
        "Claimed errors",
        "Sources of variation",
        "Number of runs needed",
    ):
        assert heading in page.text
    assert page.tags.count("svg") == 5
    assert result.study_sha256 in page.text
    assert "Runs lost to infrastructure after three attempts." in page.text


def test_every_run_that_counts_is_a_link_to_its_report(done: tuple[Path, StudyResult, list[Outcome]]) -> None:
    folder, _, rows = done
    page = Page((folder / "report.html").read_text())
    linked = {unquote(link).removesuffix("/report.html") for link in page.links if link.endswith("/report.html")}
    counted = {
        row.cell for row in rows if not row.missing and (row.truth.signal or (row.answer and row.answer.p_value))
    }
    assert counted <= linked <= {row.cell for row in rows}
    assert rows[3].cell not in linked
    elsewhere = {link for link in page.links if "://" in link}
    assert elsewhere
    assert all(link.startswith("http://127.0.0.1:8420/runs/") for link in elsewhere)


def test_nothing_comes_alive(done: tuple[Path, StudyResult, list[Outcome]]) -> None:
    text = (done[0] / "report.html").read_text()
    page = Page(text)
    assert SCRIPT in page.text  # shown, in the faults
    assert not {"script", "iframe", "object", "img", "form"} & set(page.tags)
    assert "default-src 'none'" in text


def test_ids_of_two_plots_do_not_meet(done: tuple[Path, StudyResult, list[Outcome]]) -> None:
    ids = Page((done[0] / "report.html").read_text()).ids
    assert len(ids) == len(set(ids))


def test_files_can_be_read_again(done: tuple[Path, StudyResult, list[Outcome]]) -> None:
    folder, result, rows = done
    assert StudyResult.model_validate_json((folder / "results.json").read_bytes()) == result
    assert result.run_versions == [{"python": "3.12"}]
    table = list(csv.DictReader((folder / "outcomes.csv").open()))
    assert len(table) == len(rows)
    by_cell = {row["cell"]: row for row in table}
    for row in rows:
        line = by_cell[row.cell]
        assert (line["success"], line["missing"]) == (str(row.success), str(row.missing))
        if row.truth.signal:
            assert float(line["metric"]) == pytest.approx(row.primary if row.primary is not None else 1.0)
        else:
            assert line["metric"] == "", "no failure of the metric, which is none of this data"
        mass = row.answer.numbers.get("mass") if row.answer else None
        assert line["answer_mass"] == ("" if mass is None else str(mass.value))
        assert float(line["cost_dollars"]) == row.cost.dollars


def test_outcomes_of_another_format_are_refused(tmp_path: Path) -> None:
    study = study_of(repeats=1)
    row = outcomes_of(study, RATES)[0]
    folder = fill(tmp_path / "s", study, [row])
    old = row.model_dump(mode="json", exclude={"format"}) | {"truth": {"mass": 3.5, "n_signal": 400}}
    (folder / row.cell / "outcome.json").write_text(json.dumps(old))
    with pytest.raises(ValueError, match=r"outcome\.json: format 1, but .* reads format 2; remove the file"):
        write_study_report(folder)


def test_the_same_outcomes_give_the_same_bytes(done: tuple[Path, StudyResult, list[Outcome]]) -> None:
    folder = done[0]
    names = ("report.html", "results.json", "outcomes.csv")
    before = {name: (folder / name).read_bytes() for name in names}
    write_study_report(folder)
    assert {name: (folder / name).read_bytes() for name in names} == before
    assert not [path for path in folder.iterdir() if path.name.startswith(".")]


def test_an_unfinished_study_says_so_and_damage_is_named(tmp_path: Path) -> None:
    study = study_of()
    rows = [row for row in outcomes_of(study, RATES) if row.repeat < 2]
    folder = fill(tmp_path / "s", study, rows)
    (folder / rows[0].cell / "outcome.json").write_text('{"cell": 1')
    other = rows[1].model_copy(update={"seed": 5})
    (folder / rows[1].cell / "outcome.json").write_text(other.model_dump_json())
    (folder / rows[2].cell / "trace.jsonl").write_text("[]\n")
    (folder / "notes").mkdir()
    (folder / "notes" / "outcome.json").write_text("{}")
    result = write_study_report(folder)
    assert (result.done, result.planned) == (len(rows) - 2, 192)
    assert sorted(result.damaged) == sorted([rows[0].cell, rows[1].cell])
    text = Page((folder / "report.html").read_text()).text
    assert f"Still to come: {192 - len(rows)} of 192 runs" in text
    assert rows[0].cell in text


@pytest.mark.parametrize("some", ["none", "one", "all lost", "one arm", "no null", "only null"])
def test_every_kind_of_study_has_a_report(tmp_path: Path, some: str) -> None:
    study = study_of(repeats=2)
    rows = outcomes_of(study, RATES)
    kept = {
        "none": [],
        "one": rows[:1],
        "all lost": [lost(row) for row in rows],
        "one arm": [row for row in rows if row.backend == "analyst"],
        "no null": [row for row in rows if row.truth.signal],
        "only null": [row for row in rows if not row.truth.signal],
    }[some]
    write_study_report(fill(tmp_path / "s", study, kept))
    assert (tmp_path / "s" / "report.html").read_text().rstrip().endswith("</html>")


def test_names_that_mathematics_or_html_would_take_for_its_own(tmp_path: Path) -> None:
    study = study_of(repeats=2, question="Which <b>$x_1^$</b> & why?")
    rows = outcomes_of(study, RATES)
    write_study_report(fill(tmp_path / "s", study, rows))
    page = Page((tmp_path / "s" / "report.html").read_text())
    assert "Which <b>$x_1^$</b> & why?" in page.text
    assert "b" not in page.tags


def test_a_folder_without_a_study_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="contains no study"):
        write_study_report(tmp_path)
    (tmp_path / "study.json").write_text('{"name": "x"}')
    with pytest.raises(ValueError, match="invalid fields"):
        write_study_report(tmp_path)


def test_numbers_and_links() -> None:
    assert [three_digits(v) for v in (None, 0.0, 22637.0, -3.514, 0.00926, 999.7)] == [
        "–",
        "0",
        "22,600",
        "−3.51",
        "0.00926",
        "1,000",
    ]
    assert [pvalue(p) for p in (None, 1e-9, 0.0123)] == ["–", "< 0.0001", "0.012"]
    assert fault_link("a/b/c/0", 7) == "http://127.0.0.1:8420/runs/a%2Fb%2Fc%2F0#e7"


def test_the_filters_of_study_pages_are_not_those_of_run_reports() -> None:
    of_studies, of_runs = environment(), trace_environment()
    assert of_studies.filters["kind"] != of_runs.filters["kind"]
    assert of_runs.filters["kind"](Text("said")) == "text"
    assert "between" not in of_runs.globals
