"""A run stops where a person is to be asked, costs nothing meanwhile, and goes on, changes or ends by the answer."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import scripted
from killed import COST, SAME
from scripted import CLAIM, Script, Scripted, hand_in, plan, step, two_rounds

from agents.backends.base import Request
from agents.backends.built_in import BuiltIn
from agents.backends.opening import read_context
from agents.cli.asking import Person
from agents.crew.budget import Budget
from agents.runs import answers
from agents.runs.answers import Answer, give, open_question, say
from agents.runs.fork import fork
from agents.runs.replay import replay
from agents.runs.run import Settings, resume, start
from agents.trace.approval import Approval
from agents.trace.events import (
    Answered,
    AnyEvent,
    Asked,
    Claimed,
    Confirmed,
    ModelCalled,
    Planned,
    RunFinished,
    RunStarted,
    Sealed,
)
from agents.trace.record import identity, of_session, wall_seconds
from agents.trace.result import RunResult, build_result
from agents.trace.store import TRACE, read_trace


def settings(gates: str, **options: Any) -> Settings:
    approve, held = Approval.of(gates) if gates else Approval(), {"holds_out": True} | options
    return Settings(request="?", task="tiny", sandbox="bubblewrap", salt="", options=held, approve=approve)


def backend(script: Script | None = None) -> Scripted:
    return Scripted(script or two_rounds(), usage=COST)


def answered(run_dir: Path, answer: Any, words: str = "") -> RunResult:
    give(run_dir, say(open_question(run_dir), answer, words, who="ada"))
    return resume(run_dir, backend())


def of(run_dir: Path, *kinds: type[Any]) -> list[Any]:
    return [event for event in read_trace(run_dir) if isinstance(event, kinds)]


def course(run_dir: Path) -> list[tuple[str, str]]:
    """All that a run did but what a person was asked."""
    kept = [e for e in read_trace(run_dir) if not of_session(e) and not isinstance(e, Asked | Answered)]
    return sorted(identity(event) for event in kept)


def test_a_run_that_stops_everywhere_does_what_one_does_that_never_stops(tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    free = start(settings(""), backend(), tmp_path / "free")
    result, gates = start(settings("card,plan,unblind,spend=3"), backend(), run_dir), []
    while result.status == "waiting":
        asked = open_question(run_dir)
        gates.append(asked.gate)
        if asked.gate == "unblind" or "unblind" not in gates:
            assert not of(run_dir, Confirmed, Claimed, Sealed)
            assert not list((run_dir / "claim").iterdir())
            assert "## Confirmation" not in (run_dir / "report.md").read_text()
        played = replay(run_dir, tmp_path / f"played{len(gates)}", patience=0.1)
        assert (played.status, set(played.report.values())) == ("waiting", {"identical"})
        result = answered(run_dir, "yes")
    assert gates == ["card", "plan", "spend", "plan", "unblind", "spend"]
    assert result.model_dump(include=SAME - {"options"}) == free.model_dump(include=SAME - {"options"})
    assert course(run_dir) == course(tmp_path / "free")
    assert [(a.gate, a.answer, a.who) for a in result.approvals] == [(gate, "yes", "ada") for gate in gates]
    assert replay(run_dir, tmp_path / "again").agrees
    assert not (run_dir / answers.FILE).exists()
    report = (run_dir / "report.md").read_text()
    assert "## Confirmation" in report
    assert report.count("ada (command)") == len(gates)


def remarks(request: Request) -> list[str]:
    return [each["words"] for each in read_context(request.messages[1]).get("operator", {}).get("said", [])]


def wider(name: str) -> Any:
    """A planner that names its step after what the operator last said."""
    return lambda request: plan(step((remarks(request) or [name])[-1].split()[0], submits=True))


def obedient() -> Script:
    found: dict[str, Any] = {"reporter": [json.dumps(CLAIM)]}
    for n, noise in enumerate((0.1, 0.5, 0.5)):
        found[f"planner/{n}"] = [wider("first")]
        found |= {f"worker/{n}/{name}": hand_in(noise) for name in ("first", "wide", "more")}
    return found


def test_words_go_back_to_the_planner(tmp_path: Path) -> None:
    """At `plan` it plans again; at `unblind` another iteration follows, with all that was said before."""
    asked: list[str] = []

    def person(question: Asked) -> Answer:
        asked.append(question.gate)
        words = {1: "wide please", 4: "more of it"}.get(len(asked))
        return say(question, "say" if words else "yes", words or "", via="terminal", who="ada")

    crew = backend(obedient())
    result = start(settings("plan,unblind", max_iterations=2), crew, tmp_path / "run", ask=person)
    assert asked == ["plan", "plan", "plan", "unblind", "plan", "unblind"]
    steps = [(event.iteration, event.plan.steps[0].id) for event in of(tmp_path / "run", Planned)]
    assert steps == [(0, "first"), (0, "wide"), (1, "wide"), (2, "more")]
    assert [remarks(request) for where, request in crew.asked if where == "planner/2"] == [
        ["wide please", "more of it"]
    ]
    assert len(of(tmp_path / "run", Confirmed)) == 1
    assert (result.status, len(result.iterations)) == ("converged", 3)
    assert len(of(tmp_path / "run", RunFinished)) == 1, "it was one session"
    assert replay(tmp_path / "run", tmp_path / "again").agrees


@pytest.mark.parametrize("gate", ["card", "plan", "unblind"])
def test_no_ends_the_run_with_what_was_found(tmp_path: Path, gate: str) -> None:
    run_dir = tmp_path / "run"
    assert start(settings(gate), backend(), run_dir).status == "waiting"
    assert "The run waits for a person." in (run_dir / "report.html").read_text()
    calls = len(of(run_dir, ModelCalled))
    result = answered(run_dir, "no", "too dear")
    assert (result.status, result.claim, result.sealed, result.confirmed) == ("declined", None, [], None)
    assert result.reason.startswith("ada said no to: ")
    assert "too dear" in result.reason
    assert len(of(run_dir, ModelCalled)) == calls
    report = (run_dir / "report.html").read_text()
    assert ("What was found so far" in report) == (gate == "unblind")
    with pytest.raises(ValueError, match="has ended"):
        resume(run_dir, backend())
    assert replay(run_dir, tmp_path / "again").agrees


def test_dollars_are_asked_for_step_by_step(tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    assert start(settings("spend=2"), backend(), run_dir).cost.dollars == 2.0
    assert open_question(run_dir).shown["next_dollars"] == 2.0
    for words in ("-1", "nan", "a lot"):
        with pytest.raises(ValueError, match="the dollars that may be spent next"):
            give(run_dir, say(open_question(run_dir), "say", words))
    result = answered(run_dir, "say", "0.5")
    assert (result.status, result.cost.dollars) == ("waiting", 2.5)
    result = answered(run_dir, "no")
    assert (result.status, result.cost.dollars) == ("budget", 2.5)
    assert "no more were approved" in result.reason
    assert replay(run_dir, tmp_path / "again", patience=0.1).agrees
    assert resume(run_dir, backend()).status == "waiting", "whoever resumes it is asked again"
    assert answered(run_dir, "say", "100").status == "converged"
    model = backend()
    model.is_llm = True
    with pytest.raises(ValueError, match="spend=2 dollars: the price is unknown"):
        start(settings("spend=2"), model, tmp_path / "unpriced")


def test_a_question_outlives_the_process_that_asked(tmp_path: Path) -> None:
    """The machine goes down after the question was written, and again after the answer was."""
    run_dir = tmp_path / "run"
    start(settings("plan=first"), backend(), run_dir)
    lines = (run_dir / TRACE).read_bytes().splitlines(keepends=True)
    (run_dir / TRACE).write_bytes(b"".join(lines[:-1]))
    (run_dir / "result.json").unlink()
    assert build_result(run_dir).status == "waiting"
    with pytest.raises(ValueError, match="waits for an answer"):
        resume(run_dir, backend())
    give(run_dir, say(open_question(run_dir), "yes", who="ada"))
    shutil.copytree(run_dir, tmp_path / "copy")
    assert resume(tmp_path / "copy", backend()).status == "converged"


def test_an_answer_is_to_one_question_and_given_once(tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    start(settings("card"), backend(), run_dir)
    asked = open_question(run_dir)
    wrong = say(asked, "yes").model_copy(update={"asked": asked.index + 1})
    for answer, words in (
        (wrong, "waits for an answer to event"),
        (say(asked, "yes", "but"), "yes: takes no words"),
        (say(asked, "say", " "), "words are missing"),
    ):
        with pytest.raises(ValueError, match=words):
            give(run_dir, answer)
    give(run_dir, say(asked, "yes"))
    with pytest.raises(ValueError, match="is answered already"):
        give(run_dir, say(asked, "no"))
    (run_dir / answers.FILE).write_text("{}")
    with pytest.raises(ValueError, match=r"answer\.json: is not an answer"):
        resume(run_dir, backend())


def test_words_at_one_gate_are_bounded_and_rules_read_none(tmp_path: Path) -> None:
    begun = start(settings("card"), backend(), tmp_path / "run")
    assert begun.status == "waiting"
    events, asked = read_trace(tmp_path / "run"), open_question(tmp_path / "run")
    before = Answered(where=asked.where, gate="card", answer="say", words="w", who="a", when=0, via="browser")
    answer = say(asked, "say", "once more")
    answers.check(answer, asked, [*events, *[before] * (answers.CHANGES - 1)])
    with pytest.raises(ValueError, match="at most 5 times"):
        answers.check(answer, asked, [*events, *[before] * answers.CHANGES])
    of_analyst = events[0].model_copy(update={"backend": BuiltIn("analyst").name})
    with pytest.raises(ValueError, match="follows rules and reads no words"):
        answers.check(answer, asked, [of_analyst])


def test_of_many_answers_at_once_one_counts_and_the_others_are_told(tmp_path: Path) -> None:
    """Also when the answer was taken meanwhile, so that there is no file any more, and for the person at a terminal."""
    run_dir = tmp_path / "run"
    start(settings("plan"), backend(), run_dir)
    asked = open_question(run_dir)
    given = [say(asked, "yes", who=f"person {n}") for n in range(16)]
    together = threading.Barrier(len(given))

    def at_once(answer: Answer) -> str:
        together.wait()
        try:
            give(run_dir, answer)
        except ValueError as error:
            return str(error)
        return ""

    with ThreadPoolExecutor(len(given)) as pool:
        said = list(pool.map(at_once, given))
    (winner,) = [answer.who for answer, refused in zip(given, said, strict=True) if not refused]
    assert all(f"{winner} (command) said yes" in refused for refused in said if refused)
    late = say(asked, "no", "stop it", via="terminal", who="late")
    resumed = resume(run_dir, backend(), ask=lambda asked: late if asked.index == late.asked else None)
    assert resumed.status == "waiting"  # at the next plan
    assert [event.who for event in of(run_dir, Answered)] == [winner]
    assert answers.claim(run_dir, asked, late).who == winner
    assert not (run_dir / answers.FILE).exists()


def test_who_answers_at_the_terminal_while_another_does_by_the_file_is_told(tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    start(settings("plan"), backend(), run_dir)

    def slow(asked: Asked) -> Answer:
        give(run_dir, say(asked, "yes", who="ada"))
        return say(asked, "no", via="terminal", who="bob")

    found = answers.answered(run_dir, read_trace(run_dir), open_question(run_dir), slow)
    assert found
    assert (found.who, found.answer) == ("ada", "yes")


def test_a_gate_that_can_never_come_is_refused_at_once(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="approve=unblind: the task tiny holds nothing out"):
        start(settings("unblind", holds_out=False), backend(), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_the_commands_stop_answer_and_go_on(tmp_path: Path) -> None:
    def command(*argv: str) -> tuple[int, str]:
        program = [sys.executable, scripted.__file__, "plain", str(tmp_path / "calls"), *argv]
        done = subprocess.run(program, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
        return done.returncode, done.stderr

    runs = ("--task", "tiny", "--sandbox", "bubblewrap", "--runs", str(tmp_path / "runs"))
    code, said = command("run", *runs, "--approve", "", "?")
    assert (code, "approve='': allowed are card, plan, unblind, spend" in said) == (2, True)
    code, said = command("run", *runs, "--approve", "plan=first", "?")
    (run_dir,) = (tmp_path / "runs").iterdir()
    assert code == 8, said
    assert f"answer with: beamcrew approve {run_dir} --backend scripted --yes, --no, or --say WORDS" in said
    code, said = command("approve", str(run_dir), "--yes", "--no")
    assert (code, "--yes: goes with neither" in said) == (2, True)
    code, said = command("approve", str(run_dir), "--yes", "--who", "ada")
    assert code == 0, said
    assert [event.who for event in of(run_dir, Answered)] == ["ada"]


def test_a_yes_to_dollars_comes_on_top_of_what_was_spent(tmp_path: Path) -> None:
    """A call costs more than a step, and a fork has a past that was paid for."""
    run_dir, child = tmp_path / "run", tmp_path / "child"
    assert start(settings("spend=0.2"), backend(), run_dir).cost.dollars == COST.dollars
    assert answered(run_dir, "yes").cost.dollars > COST.dollars
    assert answered(run_dir, "say", "100").status == "converged"
    assert fork(run_dir, "planner/1", child, backend()).status == "waiting"
    begun = of(child, RunStarted)[0]
    past = sum(e.usage.dollars for e in of(child, ModelCalled) if e.index <= begun.parent.past)
    assert past > 2 * COST.dollars
    (asked,) = of(child, Asked)
    assert asked.shown["spent_dollars"] == past + COST.dollars


def test_the_time_of_a_run_is_not_announced_while_a_person_thinks(tmp_path: Path) -> None:
    asked = []

    def person(question: Asked) -> Answer:
        asked.append([thread for thread in threading.enumerate() if isinstance(thread, threading.Timer)])
        return say(question, "yes", who="ada", via="terminal")

    limited = settings("plan").model_copy(update={"budget": Budget(seconds=1000)})
    assert start(limited, backend(), tmp_path / "run", ask=person).status == "converged"
    assert asked == [[], []]


def test_an_answer_that_is_none_leaves_the_run_waiting(tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    start(settings("plan=first"), backend(), run_dir)
    asked = open_question(run_dir)
    yes_but = say(asked, "yes", "but", who="ada")
    (run_dir / answers.FILE).write_text(yes_but.model_dump_json())
    result = resume(run_dir, backend())
    assert result.status == "waiting"
    assert "yes: takes no words" in result.reason
    assert not result.troubles
    (run_dir / answers.FILE).unlink()
    assert answered(run_dir, "yes").status == "converged"


def test_time_until_an_answer_is_not_of_the_run() -> None:
    asked = Asked(where="operator/0/plan", gate="plan", text="?", shown={}, time=2.0)
    said = Answered(where="operator/0/plan", gate="plan", answer="yes", who="a", when=0, via="browser", time=1e6)
    after = Planned.model_validate({"iteration": 0, "plan": {"reasoning": "", "stop": True}, "time": 1e6 + 3})
    events: list[AnyEvent] = [asked, said, after]
    assert wall_seconds(events) == [0.0, 0.0, 3.0]


@pytest.mark.parametrize(
    ("text", "gates"),
    [
        ("card, plan", {"card": True, "plan": "every"}),
        ("plan=first,unblind", {"plan": "first", "unblind": True}),
        ("spend", {"spend": 1.0}),
        ("spend=0.25", {"spend": 0.25}),
    ],
)
def test_gates_are_a_list_or_a_file(tmp_path: Path, text: str, gates: dict[str, Any]) -> None:
    assert Approval.of(text) == Approval(**gates)
    path = tmp_path / "gates.yaml"
    path.write_text(json.dumps(gates | ({"plan": True} if gates.get("plan") == "every" else {})))
    assert Approval.of(str(path)) == Approval(**gates)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "approve='': allowed are card, plan"),
        ("plan=never", "stops nowhere"),
        ("plans", "approve='plans': allowed are card, plan"),
        ("plan=last", "plan='last'"),
        ("spend=0", "spend='0'"),
    ],
)
def test_gates_that_do_not_exist_are_named(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Approval.of(text)


def test_the_terminal_asks_and_hears_what_is_said_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run_dir = tmp_path / "run"
    start(settings("plan"), backend(), run_dir)
    asked = open_question(run_dir)
    person, terminal = os.openpty()

    def types(text: bytes) -> None:
        threading.Timer(0.3, os.write, [person, text]).start()

    with os.fdopen(terminal) as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        os.write(person, b"yes\n")  # typed before the question: no answer to it
        types(b"ye\nwider, please\n")
        found = Person(run_dir)(asked)
        assert found
        assert (found.answer, found.words, found.via) == ("say", "wider, please", "terminal")
        types(b"no\n")
        assert (found := Person(run_dir)(asked)) is not None
        assert found.answer == "no"
        give(run_dir, say(asked, "yes", who="ada", via="browser"))
        assert (found := Person(run_dir)(asked)) is not None
        assert (found.answer, found.who) == ("yes", "ada")
    os.close(person)
    monkeypatch.setattr(sys, "stdin", Path(os.devnull).open())  # noqa: SIM115
    assert Person(run_dir)(asked) is None, "nobody is there"
    card = asked.model_copy(update={"gate": "card"})
    assert (found := Person(run_dir, accepted=True)(card)) is not None
    assert found.answer == "yes"
