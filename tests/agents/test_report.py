"""The report says what the trace says, the same every time, and nothing a model wrote comes alive in it."""

from __future__ import annotations

import hashlib
import itertools
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from report_runs import CODE, SCRIPT, converged, failed, graded_details
from test_trace_store import STARTED

from agents.trace import store, words
from agents.trace.events import Claimed, Confirmed, Graded, RunResumed, Sealed, ToolCalled
from agents.trace.report import write_report
from agents.trace.result import RunResult, build_result
from agents.trace.store import TRACE, Store, read_trace
from tasks.lhco.claims import SearchClaim
from tasks.lhco.plots import spectrum
from tasks.plotting import png
from tasks.score import Number, Quantity, Score
from tasks.writing import measured, probability, significance


@pytest.fixture(autouse=True)
def fixed_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = itertools.count(1.79e9, 7.5)
    monkeypatch.setattr(store.time, "time", lambda: next(clock))


class Document(HTMLParser):
    """Tags and attributes that a browser would see."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.urls: list[str] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.urls += [value or "" for name, value in attrs if name in ("src", "href")]
        assert not [name for name, _ in attrs if name.startswith("on")]

    def handle_data(self, data: str) -> None:
        self.text += data


def files_of(run_dir: Path) -> dict[str, bytes]:
    return {str(p.relative_to(run_dir)): p.read_bytes() for p in run_dir.rglob("*") if p.is_file()}


def test_the_same_trace_gives_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    converged(tmp_path)
    write_report(tmp_path)
    first = files_of(tmp_path)
    monkeypatch.setenv("TZ", "Pacific/Auckland")
    write_report(tmp_path)
    assert files_of(tmp_path) == first
    assert {"report.md", "report.html", "result.json"} <= set(first)


def test_nothing_a_model_wrote_comes_alive(tmp_path: Path) -> None:
    write_report(converged(tmp_path))
    page = Document((tmp_path / "report.html").read_text())
    assert "script" not in page.tags
    assert "b" not in page.tags
    assert page.text.count(SCRIPT) > 10  # shown, not dropped
    assert {url.partition(",")[0] for url in page.urls} == {"data:image/png;base64"}
    text = (tmp_path / "report.md").read_text()
    outside_code = re.sub(r"^(`{3,})python\n.*?^\1$", "", text, flags=re.DOTALL | re.MULTILINE)
    assert "<script" not in re.sub(r"\\<", "", outside_code)
    assert set(re.findall(r"(?<!\\)\]\(([^)]*)\)", outside_code)) == {
        f"figures/{p.name}" for p in (tmp_path / "figures").iterdir()
    }
    assert "not the end of the block" not in outside_code


def test_the_result_has_the_numbers_of_the_events(tmp_path: Path) -> None:
    write_report(converged(tmp_path))
    text = (tmp_path / "result.json").read_text()
    json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    result = RunResult.model_validate_json(text)
    assert [it.value for it in result.iterations] == [4.2, None, 5.2]
    assert "999 found" in result.iterations[1].reason
    assert result.best_iteration == 2
    assert result.steering is not None
    assert (result.steering.value, result.steering.error) == (5.2, 0.4)
    best = result.iterations[2]
    told = {number.name: (number.value, number.error) for number in best.numbers}
    assert told["mass"] == (3.512, 0.0213)
    assert (told["n_signal"][0], told["p_global"][0]) == (193.2, 4.1e-8)
    assert told["window"] == pytest.approx((3.5, 0.2))
    assert [(m.name, m.value) for m in result.sealed] == [("AUC", 0.912), ("max SIC", None)]
    assert {c.name: c.truth for c in result.claims}["mass"] == 3.5
    assert result.claim is not None
    assert result.claim["mass"] == 3.51
    assert (result.cost.model_calls, result.cost.prompt_tokens, result.cost.completion_tokens) == (3, 3000, 600)
    assert result.cost.dollars == pytest.approx(0.03)
    assert (result.status, result.seconds, result.peak_memory_mib) == ("converged", 754.2, 2311.5)
    assert result.canaries_held is True
    assert result.trace_sha256 == hashlib.sha256((tmp_path / TRACE).read_bytes()).hexdigest()


def test_both_reports_show_the_numbers(tmp_path: Path) -> None:
    write_report(converged(tmp_path))
    for text in (Document((tmp_path / "report.html").read_text()).text, (tmp_path / "report.md").read_text()):
        for words_ in (
            "No LLM was involved: built-in analyst",
            "A new resonance is claimed: m = 3.510 ± 0.020 TeV",
            "3.512 ± 0.021 TeV",
            "5.20 ± 0.40",
            "refused",
            "differs",
            "4.1 × 10⁻⁸ (> 5 σ)",
            "0.9120 ± 0.0040",
            "Canaries: held",
            "corrected for 77 trials",
        ):
            assert words_ in text
        assert "beamcrew resume" not in text
    assert len(list((tmp_path / "figures").iterdir())) == 5  # steering, spectrum, scores, SIC, and the step's one


def test_why_the_best_result_must_not_be_trusted_stands_under_the_answer(tmp_path: Path) -> None:
    plain, warned = tmp_path / "plain", tmp_path / "warned"
    with Store.create(warned) as store:
        for event in read_trace(converged(plain)):
            if isinstance(event, ToolCalled) and event.result is not None:
                # Iteration 2 is the best; what another one was warned of does not concern its result.
                text = "it does not close" if event.where.startswith("worker/2/") else "another trouble"
                event = event.model_copy(update={"result": event.result | {"warning": f"{text} {SCRIPT}"}})
            elif isinstance(event, Graded) and event.iteration == 2:
                details = event.score.details | {"warning": "the score sculpts"}
                event = event.model_copy(update={"score": event.score.model_copy(update={"details": details})})
            store.append(event)
    for folder, told in ((plain, False), (warned, True)):
        write_report(folder)
        html, markdown = (folder / "report.html").read_text(), (folder / "report.md").read_text()
        for text in (Document(html).text, markdown):
            assert ("The harness: the score sculpts" in text) == told
            assert (text.count("bumphunt.scan in step train, window 3.3 to 3.7: it does not close") == 1) == told
            assert "window 3.3 to 3.7: another trouble" not in text
            assert ("A warning." in text) == told
        assert SCRIPT not in html
        assert SCRIPT not in markdown


def test_the_closure_test_of_the_best_iteration_is_told_with_its_numbers(tmp_path: Path) -> None:
    numbers = {"auc": 0.4961, "auc_error": 0.0144, "p_closure": 0.805, "p_sculpting": 0.57}
    with Store.create(tmp_path / "tested") as store:
        for event in read_trace(converged(tmp_path / "plain")):
            if isinstance(event, ToolCalled) and event.result is not None:
                closure = numbers if event.where.startswith("worker/2/") else {**numbers, "auc": 0.7}
                broken = {**numbers, "auc": SCRIPT} if event.where.startswith("worker/2/") else None
                for each in (closure, broken):  # what comes out of a sandbox may be anything
                    store.append(event.model_copy(update={"result": event.result | {"closure": each}}))
                continue
            store.append(event)
    write_report(tmp_path / "tested")
    html, markdown = ((tmp_path / "tested" / name).read_text() for name in ("report.html", "report.md"))
    for text in (Document(html).text, markdown):
        told = "data against template AUC 0.496 ± 0.014, p = 0.81; passing fraction smooth in the mass, p = 0.57"
        assert text.count(told) == 1
        assert "AUC 0.7" not in text
    assert SCRIPT not in html + markdown


def test_where_no_truth_is_known_there_is_no_column_for_it(tmp_path: Path) -> None:
    events = read_trace(converged(tmp_path / "known"))
    with Store.create(tmp_path / "unknown") as trace:
        for event in events:
            if isinstance(event, Sealed):
                checks = [check.model_copy(update={"truth": None}) for check in event.checks]
                event = event.model_copy(update={"metrics": [], "checks": checks, "curves": {}})
            trace.append(event)
    for run, known in (("known", True), ("unknown", False)):
        text = write_report(tmp_path / run).with_name("report.md").read_text()
        assert ("no truth is known for these data" in text) is not known
        heads = re.findall(r"^\| quantity \|.*$", text, re.MULTILINE)
        assert heads == ["| quantity | claimed | computed by the harness | agrees |" + " truth |" * known]
        rows = [row for row in text.splitlines() if row.startswith(("| quantity |", "| mass |"))]
        assert {row.count("|") for row in rows} == {5 + known}, "header and rows have the same columns"
        assert ("<th>truth</th>" in (tmp_path / run / "report.html").read_text()) is known


def test_where_nothing_is_claimed_the_limit_stands_beside_what_was_to_be_expected(tmp_path: Path) -> None:
    limits = {"limit_mass": 3.749, "upper_limit": 207.3, "upper_limit_expected": [140.5, 196.7, 293.8, 459.1, 720.1]}
    events = read_trace(converged(tmp_path / "found"))
    with Store.create(tmp_path / "none") as store:
        for event in events:
            if isinstance(event, Claimed):
                event = event.model_copy(update={"claim": SearchClaim(discovery=False, p_value=0.85, text="nothing")})
            elif isinstance(event, Confirmed):
                changed = {"value": -1.05, "details": event.score.details | limits}
                event = event.model_copy(update={"score": event.score.model_copy(update=changed)})
            store.append(event)
    for folder, told in (("none", True), ("found", False)):
        write_report(tmp_path / folder)
        page = Document((tmp_path / folder / "report.html").read_text()).text
        text = (tmp_path / folder / "report.md").read_text().replace("**", "")
        for words_ in (
            "At most 207 signal events behind the cut (95% CL)",
            "At most 207 signal events are among the unseen events behind the cut at 95% confidence",
            "for the resonance chosen on the others, at 3.749 TeV.",
            "Without any signal 294 would be expected, 197 to 459 in 68% of such data.",
            "−1.1",
        ):
            assert (words_ in page, words_ in text) == (told, told), words_
        assert "all masses, widths and cuts of the window counted" in page


def test_a_failed_run_gets_a_report_that_says_what_is_missing(tmp_path: Path) -> None:
    write_report(failed(tmp_path))
    page = Document((tmp_path / "report.html").read_text()).text
    assert "did not reach a regular end" in page
    assert "What this report lacks: a submission that the grader accepted; the crew's answer" in page
    assert "engine gone" in page
    assert "beamcrew resume runs/r1" in page
    assert "No LLM was involved" not in page
    result = build_result(tmp_path)
    assert (result.status, result.steering, result.iterations, result.claim) == ("lost", None, [], None)


def test_a_run_that_goes_on_is_not_finished(tmp_path: Path) -> None:
    failed(tmp_path)
    with Store.open(tmp_path) as trace:
        trace.append(RunResumed(sandbox=STARTED.sandbox))
    write_report(tmp_path)
    assert build_result(tmp_path).status == "unfinished"
    assert build_result(tmp_path).seconds == 4 * 7.5


@pytest.mark.parametrize(
    "details",
    [
        {},
        {"spectrum": None, "cuts": "many", "score_histogram": []},
        {
            "spectrum": {"edges": [1, 2], "passed": [1]},
            "cuts": [{}, 3],
            "best": 9,
            "mass": "heavy",
            "p_global": float("nan"),
        },
        {
            "spectrum": {"edges": [1, 2, 3, 4], "passed": [0, 0, 0], "background": [0, 0, None], "signal": [1]},
            "window": [1],
        },
        {"score_histogram": {"edges": [0, 1, 2], "window": [0, 0], "sidebands": [1]}},
    ],
)
def test_whatever_a_grader_leaves_out_is_left_out(tmp_path: Path, details: dict[str, Any]) -> None:
    with Store.create(tmp_path) as trace:
        trace.append(STARTED)
        score = Score(metric="m", value=1.0, reason="r", details=details)
        trace.append(Graded(key="k", iteration=0, submission=None, score=score))
    write_report(tmp_path)
    assert build_result(tmp_path).steering is not None


def test_a_missing_blob_is_named_in_the_report(tmp_path: Path) -> None:
    converged(tmp_path)
    sha = hashlib.sha256(CODE.encode()).hexdigest()
    (tmp_path / "blobs" / sha[:2] / sha[2:]).unlink()
    write_report(tmp_path)
    assert "cannot be read" in (tmp_path / "report.html").read_text()


def test_the_users_matplotlib_settings_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    import matplotlib

    def drawn() -> bytes:
        figure = spectrum(graded_details())
        assert figure
        return png(figure)

    first = drawn()
    with matplotlib.rc_context({"axes.facecolor": "red", "figure.dpi": 30}):
        assert drawn() == first


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (measured(3.51234, 0.0213, "TeV"), "3.512 ± 0.021 TeV"),
        (measured(1234.5, 56.7), "1234 ± 57"),
        (measured(0.5), "0.5"),
        (measured(float("nan"), 1), "–"),
        (measured(1.0, 0.0), "1"),
        (probability(2.87e-7), "2.9 × 10⁻⁷ (5.0 σ)"),
        (probability(2e-9), "2.0 × 10⁻⁹ (> 5 σ)"),
        (significance(4.96), "5.0"),
        (significance(7.3), "> 5"),
        (significance(-1.25), "−1.2"),
        (significance(None), "–"),
        (probability(0.5), "0.5 (0.0 σ)"),
        (probability(0.85), "0.85"),
        (measured(-1.05), "−1.05"),
        (measured(-0.031, 0.012), "−0.031 ± 0.012"),
        (probability(0.0), "0"),
        (probability(None), "–"),
        (words.duration(59.99), "60.0 s"),
        (words.duration(3720), "1 h 02 min"),
        (Quantity(name="discovery").written(False), "no"),
        (Quantity(name="mass", unit="TeV").written(3.5, 0.1), "3.50 ± 0.10 TeV"),
        (Number(name="mass_bias", value=0.0008, error=0.0012).text, "0.0008 ± 0.0012"),
    ],
)
def test_numbers_are_written_as_physicists_do(text: str, expected: str) -> None:
    assert text == expected


def test_long_json_stays_json_and_short_lists_stay_on_a_line() -> None:
    value = {
        "window": [3.3, 3.7],
        "losses": [k / 7 for k in range(40)],
        "names": ["x" * 30] * 5,
        "deep": [{"a": "ü" * 90}],
    }
    text = words.document(value)
    assert json.loads(text) == value
    assert '  "window": [3.3, 3.7],' in text.splitlines()
    assert len(text.splitlines()) < 30
