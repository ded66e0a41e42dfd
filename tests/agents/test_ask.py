"""Questions to a run are answered from its record, cite events that exist, and change nothing of the run."""

from __future__ import annotations

import json
import shlex
import shutil
from pathlib import Path
from typing import Any

import pytest
from chat_service import Service, completion, running
from scripted import Scripted, plan, step

from agents.ask.answers import FILE, cited, kept
from agents.ask.asking import ask
from agents.ask.desk import Desk
from agents.ask.material import Material, open_run
from agents.backends.base import ToolCall
from agents.backends.built_in import BuiltIn
from agents.backends.openai_service import OpenAIService
from agents.backends.price import Price
from agents.crew.budget import Budget
from agents.runs.replay import replay
from agents.runs.run import start
from agents.trace.events import Claimed, Graded, ModelCalled, Planned, ToolCalled, Trouble
from agents.trace.result import RunResult
from agents.trace.store import TRACE

ANALYST = BuiltIn("analyst")


@pytest.fixture
def run_dir(whole: tuple[RunResult, Path], tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole[1] / "run", tmp_path / "run"))


def only(run_dir: Path, kind: type[Any]) -> list[int]:
    return [event.index for event in open_run(run_dir).events if isinstance(event, kind)]


def events_of(run_dir: Path, question: str) -> tuple[str, set[int]]:
    """The analyst's text, and the events that it cites: all exist."""
    answer = ask(run_dir, question, ANALYST)
    assert answer.answered
    assert not answer.is_llm
    assert all(cite.title for cite in answer.cites)
    return answer.text, {cite.event for cite in answer.cites}


def test_a_setting_is_explained_by_where_it_was_chosen_and_what_else_was_tried(run_dir: Path) -> None:
    answer = ask(run_dir, "why 3.3-3.7 and not wider?", ANALYST)
    first, second = only(run_dir, Graded)
    plans = only(run_dir, Planned)
    assert {first, second, *plans} <= {cite.event for cite in answer.cites}
    assert "window = [3.3,3.7]" in answer.text
    assert "No other value of window was tried" in answer.text
    assert "The plan of iteration 0 says: because" in answer.text
    assert answer.fork.startswith(f"beamcrew fork {run_dir} planner/1 --backend scripted --request ")
    text, _ = events_of(run_dir, "Why 7.25?")
    assert "has the value 7.25" in text


@pytest.mark.parametrize(
    ("question", "words", "kinds"),
    [
        ("What did it cost?", "$7.0000", [ModelCalled]),
        ("What went wrong?", "no JSON", [Trouble]),
        ("What changed between the iterations?", "From iteration 0 to 1", [Graded]),
        ("Why did it stop?", "no significant gain", []),
        ("Is the claim right?", "claimed no", [Claimed]),
        ("Which options and versions?", "Task tiny", []),
        ("Who approved it?", "Nobody was asked", []),
        ("What does events.describe say?", "events.describe", [ToolCalled]),
        ("How long did it take?", "All of it took", []),
        ("What is event 0?", "Run started", []),
        ("What is #9999?", "There is no event 9999", []),
    ],
)
def test_the_analyst_answers_from_the_record(run_dir: Path, question: str, words: str, kinds: list[Any]) -> None:
    text, cites = events_of(run_dir, question)
    assert words in text
    assert all(cites & set(only(run_dir, kind)) for kind in kinds)


def test_the_analyst_says_what_it_cannot(run_dir: Path) -> None:
    answer = ask(run_dir, "Is it raining?", ANALYST)
    assert not answer.answered
    assert "no rule for this question" in answer.text
    assert not answer.fork
    with pytest.raises(ValueError, match="question: is empty"):
        ask(run_dir, "  ", ANALYST)


def test_a_question_is_kept_beside_the_run_and_changes_nothing_of_it(run_dir: Path, tmp_path: Path) -> None:
    before = (run_dir / TRACE).read_bytes()
    for question in ("What did it cost?", "Is it raining?"):
        ask(run_dir, question, ANALYST, who="ada")
    with (run_dir / FILE).open("a") as file:
        file.write('{"cut sho')
    assert [(each.question, each.who) for each in kept(run_dir)] == [
        ("What did it cost?", "ada"),
        ("Is it raining?", "ada"),
    ]
    assert (run_dir / TRACE).read_bytes() == before
    assert replay(run_dir, tmp_path / "again").agrees


def calls(name: str, **arguments: Any) -> Any:
    function = {"name": name, "arguments": json.dumps(arguments)}
    return completion(None, "tool_calls", tool_calls=[{"id": name, "type": "function", "function": function}])


def model(service: Service) -> OpenAIService:
    return OpenAIService("m", service.url, price=Price(prompt=1, completion=1))


def test_a_model_looks_things_up_and_its_citations_are_checked(run_dir: Path) -> None:
    (claimed,) = only(run_dir, Claimed)
    reply = {"text": f"It claims nothing [#{claimed}, #9999].", "new_work": "wider", "step": "planner/0"}
    with running() as service:
        service.answers = [calls("read_event", event=claimed), calls("list_files"), calls("answer", **reply)]
        answer = ask(run_dir, "What does it claim?", model(service))
        first, second, third = service.bodies
    shown = json.dumps(first["messages"])
    assert f"#{claimed} reporter" in shown
    assert "nothing found" in second["messages"][-1]["content"]
    assert "i0/c/scores.parquet" in third["messages"][-1]["content"]
    assert answer.text == f"It claims nothing [#{claimed}, #9999: no such event]."
    assert [(cite.event, bool(cite.title)) for cite in answer.cites] == [(claimed, True), (9999, False)]
    assert answer.fork == f"beamcrew fork {run_dir} planner/0 --backend scripted --request wider"
    assert (answer.model_calls, answer.usage.dollars) == (3, pytest.approx(3 * 0.0012))
    assert [each["tool"] for each in answer.looked_at] == ["read_event", "list_files"]
    assert kept(run_dir) == [answer]


def test_the_command_of_a_fork_moves_no_cursor(run_dir: Path) -> None:
    reply = {"text": "No.", "new_work": "wider\x1b[2J\n; 'and' more", "step": "planner/0"}
    with running() as service:
        service.answers = [calls("answer", **reply)]
        command = ask(run_dir, "And wider?", model(service)).fork
    assert command.isprintable()
    assert shlex.split(command)[-1] == "wider\\x1b[2J ; 'and' more"


def test_a_question_stops_at_its_budget(run_dir: Path) -> None:
    with running() as service:
        service.answers = [calls("list_files")]
        answer = ask(run_dir, "Why?", model(service), Budget(dollars=0.002))
        assert len(service.bodies) == 2
    assert not answer.answered
    assert "budget spent" in answer.text
    assert answer.usage.dollars == pytest.approx(0.0024)
    assert kept(run_dir) == [answer]


def at(material: Material, name: str, **arguments: Any) -> Any:
    with Desk(material) as desk:
        return desk.call(ToolCall(id="c", name=name, arguments=json.dumps(arguments)))


def test_nothing_sealed_can_be_read(run_dir: Path) -> None:
    material = open_run(run_dir)
    for path in ("sealed/labels.parquet", "../run/sealed/labels.parquet", TRACE, "inputs/events.parquet"):
        assert "not a file of this run" in at(material, "read_file", path=path)["error"]
    assert at(material, "read_file", path="i0/b/a.py")["text"] == "print('looked')"
    assert "the trace has the events" in at(material, "read_event", event=9999)["error"]
    assert "event" in at(material, "read_event", event=-1)["error"]
    assert "select from" in at(material, "delete")["error"]


def test_python_runs_on_copies(run_dir: Path) -> None:
    code = (
        "import os\nprint(sorted(os.listdir('/inputs')), os.path.exists('i0/c/scores.parquet'))\n"
        "os.remove('i0/c/scores.parquet')\nprint(os.path.exists('/sealed'), os.path.exists('../sealed'))\n"
    )
    ran = at(open_run(run_dir), "run_python", code=code)
    assert (ran["exit_code"], ran["stdout"].split("\n")[:2]) == (0, ["['events.parquet'] True", "False False"])
    assert (run_dir / "workspace/i0/c/scores.parquet").exists()


def test_only_citations_of_our_form_are_taken_for_some(run_dir: Path) -> None:
    text, cites = cited("The window [3, 4] and #2 are no citations, [#2; #3] are.", open_run(run_dir))
    assert text == "The window [3, 4] and #2 are no citations, [#2, #3] are."
    assert [cite.event for cite in cites] == [2, 3]


def test_a_run_that_has_not_ended_can_be_asked(tmp_path: Path) -> None:
    from killed import SETTINGS

    lost = {"planner/0": [plan(step("a", submits=True))], "worker/0/a": [ValueError("the model is gone")]}
    start(SETTINGS, Scripted(lost), tmp_path / "run")
    text, _ = events_of(tmp_path / "run", "Why did it stop?")
    assert "It ended as lost" in text
