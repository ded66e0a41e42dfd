"""A cell comes to one outcome, whatever happens on the way; what is done is left, and nothing is paid twice."""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import signal
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from tiny_cell import COST, StudyTask, install, study

from agents.studies import cell as cells
from agents.studies.carry_out import forgive, open_folder
from agents.studies.cells import find_cell
from agents.studies.ledger import LEDGER, Busy, Ledger
from agents.studies.outcome import Outcome
from agents.studies.read import outcome_of
from agents.studies.study import Study
from agents.trace.events import ModelCalled
from agents.trace.store import Store, read_trace
from tasks import catalogue
from tasks.lhco.study import SearchJudge, SearchSuccess
from tasks.study import Answer, Truth, Value

NAME = "quick/only/none/0"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return prepared(tmp_path, study())


def prepared(tmp_path: Path, chosen: Study) -> Path:
    made = open_folder(chosen, tmp_path)
    install(made / "calls")
    return made


@pytest.fixture(autouse=True)
def _installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cells, "choose_backend", cells.choose_backend)  # both put back afterwards
    monkeypatch.setitem(catalogue.catalogue(), "study-tiny", StudyTask)
    install(None)


def carry_out(folder: Path, name: str = NAME) -> int:
    return cells.carry_out(folder, name, None, "bubblewrap")


def outcome(folder: Path, name: str = NAME) -> Outcome:
    return Outcome.model_validate_json((folder / name / "outcome.json").read_bytes())


def calls(folder: Path) -> Counter[str]:
    return Counter((folder / "calls").read_text().splitlines())


def test_a_cell_is_one_run_with_the_seed_of_its_block_and_is_not_run_again(folder: Path) -> None:
    assert carry_out(folder) == cells.DONE
    found, begun = outcome(folder), read_trace(folder / NAME)[0]
    assert (found.cell, found.backend, found.dataset, found.repeat) == (NAME, "quick", "none", 0)
    assert (found.status, found.missing, found.success, found.attempts) == ("exhausted", False, True, 1)
    assert found.seed == begun.seed == begun.options["seed"] == find_cell(study(), NAME).seed  # type: ignore[union-attr]
    assert begun.temperature == study().temperature  # type: ignore[union-attr]
    assert found.primary == found.sealed["signal fraction"].value
    paid = [event for event in read_trace(folder / NAME) if isinstance(event, ModelCalled)]
    assert found.cost.model_calls == len(paid) == calls(folder).total()
    assert found.cost.dollars == pytest.approx(COST.dollars * len(paid))
    before = {path: path.stat().st_mtime_ns for path in (folder / NAME).rglob("*")}
    assert carry_out(folder) == cells.DONE
    assert {path: path.stat().st_mtime_ns for path in (folder / NAME).rglob("*")} == before
    ledger = [json.loads(line) for line in (folder / NAME / LEDGER).read_text().splitlines()]
    assert ledger[0]["study"] == study().sha256()
    assert ledger[-1]["status"] == "exhausted"


def test_a_cell_that_is_killed_again_and_again_gets_the_outcome_of_one_that_was_left_in_peace(folder: Path) -> None:
    """Every sixth event kills the process of a session; the last kill is between the end of the run and the outcome."""
    append, left = Store.append, iter(range(10**6))

    def deadly(store: Store, event: Any) -> Any:
        written = append(store, event)
        if next(left) % 6 == 5:
            os.kill(os.getpid(), signal.SIGKILL)
        return written

    fork, kills = multiprocessing.get_context("fork"), 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cells, "write_outcome", lambda *_: os.kill(os.getpid(), signal.SIGKILL))
        patch.setattr(Store, "append", deadly)
        while not (folder / NAME / "result.json").exists():
            process = fork.Process(target=carry_out, args=(folder,))
            process.start()
            process.join(60)
            assert process.exitcode == -signal.SIGKILL
            kills += 1
    assert kills > 3
    assert carry_out(folder) == cells.DONE
    found = outcome(folder)
    assert (found.status, found.missing, found.attempts) == ("exhausted", False, kills + 1)
    recorded = Counter(f"{e.where} {e.key}" for e in read_trace(folder / NAME) if isinstance(e, ModelCalled))
    assert max(recorded.values()) == 1, "a reply that is recorded is never asked for again"
    shutil.rmtree(folder / NAME)
    assert carry_out(folder) == cells.DONE
    free = {"seconds", "attempts", "faults"}
    assert outcome(folder).model_dump(exclude=free) == found.model_dump(exclude=free)


def test_a_service_that_stays_away_makes_a_missing_outcome_after_so_many_attempts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arm = {"name": "down", "kind": "openai", "model": "m"}
    folder, name = prepared(tmp_path, study(backends=[arm], attempts=3)), "down/only/none/0"
    assert [carry_out(folder, name) for _ in range(4)] == [cells.LOST, cells.LOST, cells.DONE, cells.DONE]
    found = outcome(folder, name)
    assert (found.status, found.missing, found.success, found.attempts) == ("lost", True, False, 3)
    assert (found.answer, found.primary, found.is_llm) == (None, None, True)
    assert [fault.kind for fault in found.faults if fault.fatal] == ["service"]
    # What was no result may be tried again, and then counts from the beginning.
    forgive(study(backends=[arm], attempts=3), folder)
    assert not (folder / name / "outcome.json").exists()
    assert carry_out(folder, name) == cells.LOST


def test_what_never_got_a_trace_is_missing_with_the_truth_of_the_study(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    datasets = [{"name": "some", "fresh": True, "options": {"n_signal": 9}}]
    folder, name = prepared(tmp_path, study(datasets=datasets, attempts=1)), "quick/only/some/0"
    monkeypatch.setattr(cells.runs, "start", lambda *_: 1 / 0)
    assert carry_out(folder, name) == cells.DONE
    found = outcome(folder, name)
    assert (found.status, found.missing, found.attempts, found.truth.numbers["n_signal"]) == ("lost", True, 1, 9)


def test_a_model_that_writes_no_plan_has_failed_which_is_a_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, name = (
        prepared(tmp_path, study(backends=[{"name": "bad", "kind": "random"}])),
        "bad/only/none/0",
    )
    assert carry_out(folder, name) == cells.DONE
    found = outcome(folder, name)
    assert (found.status, found.missing, found.success, found.answer) == ("failed", False, False, None)
    assert found.cost.model_calls > 0
    assert any(fault.fatal and fault.kind == "schema" for fault in found.faults)


def test_a_budget_that_is_spent_ends_the_run_which_is_a_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arms = [{"name": "quick", "kind": "analyst", "budget": {"model_calls": 2}}]
    folder = prepared(tmp_path, study(backends=arms))
    assert carry_out(folder) == cells.DONE
    assert (outcome(folder).status, outcome(folder).missing, outcome(folder).success) == ("budget", False, False)
    assert outcome(folder).cost.model_calls == 2


def test_two_processes_never_work_on_one_cell(folder: Path) -> None:
    with Ledger(folder / NAME), pytest.raises(Busy, match="another process"):
        carry_out(folder)
    assert not (folder / NAME / "trace.jsonl").exists()


def test_what_only_the_operator_can_mend_is_said_and_costs_no_attempt(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def keyless(*_: Any, **__: Any) -> None:
        raise ValueError("MY_KEY: not set")

    monkeypatch.setattr(cells, "choose_backend", keyless)
    for _ in range(5):
        with pytest.raises(ValueError, match="MY_KEY: not set"):
            carry_out(folder)
    install(folder / "calls")
    assert carry_out(folder) == cells.DONE
    assert not outcome(folder).missing


def test_another_study_is_not_put_into_the_same_folder(folder: Path) -> None:
    assert open_folder(study(), folder.parent) == folder
    with pytest.raises(ValueError, match=r"contains study .*: repeats: 2 before, 9 now\. A study must not change"):
        open_folder(study(repeats=9), folder.parent)


def test_kills_count_only_where_the_run_gets_no_further(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reached = iter([0, 5, 9, 9, 9])
    now = [0]
    monkeypatch.setattr("agents.studies.ledger.headway", lambda _: now[0])
    counted = []
    for after in reached:
        with Ledger(tmp_path) as ledger:
            counted.append(ledger.losses())
            ledger.begin("hash", "cell", 1)
        now[0] = after
    with Ledger(tmp_path) as ledger:
        assert [*counted, ledger.losses()] == [0, 1, 1, 1, 2, 3]
        assert ledger.starts() == 5
        ledger.end("interrupted")
        assert ledger.losses() == 2, "the last start had an end after all, and being stopped is no loss"
        ledger.end("lost")
        assert ledger.losses() == 3
        ledger.forgive()
        assert ledger.losses() == 0


def test_a_ledger_whose_last_line_was_cut_short_is_gone_on_with(tmp_path: Path) -> None:
    with Ledger(tmp_path) as ledger:
        ledger.begin("hash", "cell", 1)
    with (tmp_path / LEDGER).open("a") as file:
        file.write('{"ended": 17')
    with Ledger(tmp_path) as ledger:
        ledger.begin("hash", "cell", 1)
        assert ledger.starts() == 2


ALPHA = {"alpha": 1e-6}
TRUE = Truth(signal=True, text="300 signal events", numbers={"mass": 3.5, "n_signal": 300})
RIGHT = Answer(signal=True, p_value=1e-9, numbers={"mass": Value(value=3.53)})


@pytest.mark.parametrize(
    ("change", "right"),
    [
        ({}, True),
        ({"signal": False}, False),
        ({"p_value": None}, False),
        ({"p_value": 1e-4}, False),
        ({"claimed_p_value": 1.0}, True),
        ({"numbers": {}}, False),
        ({"numbers": {"mass": Value(value=3.61)}}, False),
    ],
)
def test_with_signal_the_claim_must_be_confirmed_and_near_the_true_mass(change: dict[str, Any], right: bool) -> None:
    answer = RIGHT.model_copy(update=change)
    assert SearchJudge().succeeded(SearchSuccess(), ALPHA, answer, TRUE, None) is right


def test_the_rule_of_the_study_decides() -> None:
    far = RIGHT.model_copy(update={"numbers": {"mass": Value(value=9)}})
    assert SearchJudge().succeeded(SearchSuccess(mass_within=None), ALPHA, far, TRUE, None)
    rule = SearchSuccess(primary_at_least=5)
    assert [
        SearchJudge().succeeded(rule, ALPHA, RIGHT, TRUE, Value(value=v) if v else None) for v in (None, 4.9, 5.0)
    ] == [
        False,
        False,
        True,
    ]
    nothing = Truth(signal=False, text="no signal")
    assert not SearchJudge().succeeded(SearchSuccess(), ALPHA, RIGHT, nothing, None)
    assert SearchJudge().succeeded(SearchSuccess(), ALPHA, Answer(signal=False), nothing, None)
    assert not SearchJudge().succeeded(SearchSuccess(), ALPHA, None, nothing, None)


def test_numbers_that_are_none_do_not_get_into_an_outcome(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert carry_out(folder) == cells.DONE
    result_of = outcome_of.__globals__["result_of"]

    def wild(*arguments: Any) -> Any:
        result = result_of(*arguments)
        claim = result.claim | {"mass": float("inf"), "n_signal": 3.0, "n_signal_error": float("nan")}
        return result.model_copy(update={"claim": claim})

    monkeypatch.setitem(outcome_of.__globals__, "result_of", wild)
    answer = outcome_of(folder / NAME, find_cell(study(), NAME), study()).answer
    assert answer is not None
    assert answer.numbers == {"n_signal": Value(value=3.0, error=None)}
