"""One step: what a worker may call, what comes back to the model, and how the step ends."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from scripted import (
    ROWS,
    SUBMISSION,
    Answer,
    FakeSandbox,
    Scripted,
    call,
    columns,
    hand_in,
    make_crew,
    pretend,
    python,
    raw_call,
)

import tools
from agents.backends.base import Message, Reply, Usage
from agents.crew.budget import Budget, BudgetSpent
from agents.crew.shared import Crew
from agents.crew.standing import LONG
from agents.crew.worker import MAX_TURNS, SHOWN, STUCK, Worker, duration
from agents.trace.events import Executed, StepFinished, ToolCalled, Trouble
from agents.trace.observation import Observation
from sandbox.bubblewrap import Bubblewrap
from sandbox.driver import ExecResult, Limits
from tasks.plan import Step
from tools.events.parquet import write_events

HALF = '{"name": "a.py", "code": "\\ud800"}'  # half of a character, which JSON can say and no file can hold
DEEP = '{"a": ' + "[" * 150 + "]" * 150 + "}"
END = call("finish", summary="the end")


def work(
    folder: Path, *answers: Answer, submits: bool = False, sandbox: Any = None, **more: Any
) -> tuple[Observation, list[dict[str, Any]], Crew]:
    """The step's observation, and what came back for each call."""
    backend = Scripted({"worker/0/s": answers}, usage=Usage(prompt_tokens=1))
    crew = make_crew(folder, backend, sandbox, **more)
    observation = Worker(crew, 0, Step(id="s", goal="g", submits=submits)).work({})
    returned = [json.loads(m.content) for m in backend.asked[-1][1].messages if m.role == "tool"]
    return observation, returned, crew


def of(crew: Crew, kind: type) -> list[Any]:
    return [event for event in crew.store.events() if isinstance(event, kind)]


@pytest.fixture
def box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bubblewrap]:
    folder = tmp_path_factory.mktemp("box")
    for name in ("inputs", "workspace"):
        (folder / name).mkdir()
    write_events(folder / "inputs" / "events.parquet", columns())
    limits = Limits(seconds=60, memory_mib=2048)
    with Bubblewrap(folder / "inputs", folder / "workspace", Path(tools.__file__).parent, limits) as sandbox:
        yield sandbox


@pytest.mark.parametrize(
    ("message", "field", "value", "allowed"),
    [
        (call("nonesuch"), "tool", "nonesuch", "events.describe, run_python, finish"),
        (call("anomaly.classify"), "tool", "anomaly.classify", "events.describe"),  # exists, and is not offered
        (call("submit", **SUBMISSION), "tool", "submit", "not a tool of this step"),  # the step does not submit
        (raw_call("events.describe", '{"events": '), "arguments", '{"events": ', "JSON object"),
        (raw_call("events.describe", "[1]"), "arguments", "[1]", "must be a JSON object"),
        (raw_call("finish", "null"), "arguments", "null", "must be a JSON object"),
        (call("finish", summery="typo"), "arguments", "finish", "summery"),
        (python("1", "../a.py"), "arguments", "run_python", "name"),
        (python("1", "/workspace/a.py"), "arguments", "run_python", "name"),
        (python("1", "a.py\n"), "arguments", "run_python", "name"),
        (python("1", "b/a.py"), "arguments", "run_python", "name"),
        (python("1", "a.sh"), "arguments", "run_python", "name"),
        (raw_call("run_python", HALF), "arguments", HALF, "surrogates not allowed"),
        (raw_call("finish", "[" * 100_000), "arguments", "[" * 200, "JSON object (maximum recursion"),
        (raw_call("finish", DEEP), "arguments", DEEP[:200], "nested at most"),
    ],
)
def test_a_wrong_call_comes_back_with_field_value_and_what_is_allowed(
    tmp_path: Path, message: Message, field: str, value: str, allowed: str
) -> None:
    observation, (error, *_), crew = work(tmp_path, message, END, END)
    assert error["error"]["field"] == field
    assert error["error"]["value"] == value
    assert allowed in error["error"]["allowed"]
    assert [(e.who, e.where) for e in of(crew, Trouble)] == [("model", "worker/0/s")]
    assert not of(crew, Executed)
    assert observation.summary == "the end"


def test_seconds_are_told_of_what_took_long_and_to_one_digit() -> None:
    assert (duration(0.3), duration(LONG - 0.1)) == ({}, {})  # equal requests, however quick a machine is
    assert (duration(LONG), duration(34.2), duration(187.0)) == (
        {"seconds": LONG},
        {"seconds": 30.0},
        {"seconds": 200.0},
    )


def test_python_runs_in_the_sandbox_and_says_how_it_ended(tmp_path: Path, box: Bubblewrap) -> None:
    code = "import os, sys\nprint(os.getcwd(), os.getuid())\nprint('bad', file=sys.stderr)\nsys.exit(3)"
    _, (ran,), crew = work(tmp_path, python(code), END, sandbox=box)
    assert ran == {"exit_code": 3, "ended": "exit", "stdout": "/workspace/i0/s 65534\n", "stderr": "bad\n"}
    event = of(crew, Executed)[0]
    assert crew.store.get(event.given["a.py"]).decode() == code
    assert event.argv == ["python", "a.py"]


def test_a_tool_runs_in_the_sandbox_and_its_refusal_can_be_mended(tmp_path: Path, box: Bubblewrap) -> None:
    wrong, good = (call("events.describe", events=f"/inputs/{name}.parquet") for name in ("none", "events"))
    observation, (error, answer), crew = work(tmp_path, wrong, good, END, sandbox=box)
    assert error["error"]["field"] == "events"
    assert "/inputs/none.parquet" in error["error"]["value"]
    assert "readable parquet file" in error["error"]["allowed"]
    assert answer["result"]["rows"] == ROWS
    assert [(e.result is None, e.error is None) for e in of(crew, ToolCalled)] == [(True, False), (False, True)]
    assert [entry["tool"] for entry in observation.results] == ["events.describe"], "only what succeeded is a result"


def test_a_file_that_a_model_names_like_a_module_does_not_stand_in_for_a_tool(tmp_path: Path, box: Bubblewrap) -> None:
    forged = 'print(\'{"result": {"rows": -1}}\')'
    good = call("events.describe", events="/inputs/events.parquet")
    _, (_, _, answer), _ = work(tmp_path, python(forged, "tools.py"), python(forged, "json.py"), good, END, sandbox=box)
    assert answer["result"]["rows"] == ROWS


def test_a_folder_that_code_has_spoilt_is_the_models_trouble_and_no_defect(tmp_path: Path, box: Bubblewrap) -> None:
    spoil = "import os\nos.mkdir('call_1.json')\nos.mkdir('b.py')\nprint('spoilt')"
    good = call("events.describe", events="/inputs/events.parquet")
    observation, (ran, tool, again), crew = work(tmp_path, python(spoil), good, python("1", "b.py"), END, sandbox=box)
    assert ran["stdout"] == "spoilt\n"
    assert "call_1.json" in tool["error"]["allowed"]
    assert "b.py" in again["error"]["allowed"]
    assert {e.who for e in of(crew, Trouble)} == {"model"}
    assert observation.summary == "the end"


@pytest.mark.parametrize(
    ("out", "said"),
    [
        (ExecResult(exit_code=137, stdout="", stderr="", seconds=1, ended="memory"), "ended by memory, exit code 137"),
        (ExecResult(exit_code=1, stdout="", stderr="Traceback: ouch", seconds=1), "exit code 1"),
        ("[1, 2]", "exit code 0"),
        ('{"other": 1}', "exit code 0"),
        ("no JSON", "exit code 0"),
    ],
)
def test_a_tool_that_breaks_off_is_an_error_with_its_last_words(tmp_path: Path, out: Any, said: str) -> None:
    sandbox = FakeSandbox(tmp_path / "workspace", lambda argv, folder: out)
    observation, (answer,), crew = work(tmp_path, call("events.describe"), END, sandbox=sandbox)
    assert said in answer["error"]["allowed"]
    assert answer["error"]["stderr"] == (out.stderr if isinstance(out, ExecResult) else "")
    assert of(crew, ToolCalled)[0].error
    assert observation.results == []


def test_output_is_cut_to_its_end(tmp_path: Path) -> None:
    sandbox = FakeSandbox(tmp_path / "workspace", lambda argv, folder: "x" * 3 * SHOWN + "last")
    _, (ran,), _ = work(tmp_path, python("1"), END, sandbox=sandbox)
    assert SHOWN < len(ran["stdout"]) < SHOWN + 60
    assert ran["stdout"].endswith("xlast")
    assert "characters left out" in ran["stdout"]


@pytest.mark.parametrize("path", ["../s/scores.parquet", "/inputs/events.parquet", "/workspace/../x", "/workspace2/x"])
@pytest.mark.parametrize("field", ["scores", "reference_scores"])
def test_a_submission_outside_the_workspace_is_refused(tmp_path: Path, path: str, field: str) -> None:
    observation, (error,), _ = work(tmp_path, call("submit", **SUBMISSION | {field: path}), END, submits=True)
    assert "must lie in /workspace" in error["error"]["allowed"]
    assert observation.submission is None
    assert not observation.ok


@pytest.mark.parametrize("path", ["scores.parquet", "./scores.parquet", "/workspace/i0/s/scores.parquet"])
def test_a_submission_is_found_however_its_path_is_written(tmp_path: Path, path: str) -> None:
    written, _, _ = hand_in()
    submit = call("submit", **SUBMISSION | {"scores": path})
    observation, _, _ = work(tmp_path, written, submit, END, submits=True)
    assert observation.ok
    assert observation.submission
    assert observation.submission["scores"] == "i0/s/scores.parquet"


@pytest.mark.parametrize("last", [END, Message(role="assistant", content="I think I am done.")])
def test_a_step_that_should_submit_and_does_not_has_failed(tmp_path: Path, last: Message) -> None:
    observation, _, crew = work(tmp_path, last, submits=True)
    assert not observation.ok
    assert "should have submitted" in observation.summary
    assert "should have submitted" in of(crew, Trouble)[0].text
    assert of(crew, StepFinished)[0].observation == observation


def test_words_without_a_call_end_the_step(tmp_path: Path) -> None:
    observation, _, _ = work(tmp_path, Message(role="assistant", content="Nothing to do."))
    assert (observation.ok, observation.summary) == (True, "Nothing to do.")


def test_an_empty_reply_is_asked_for_once_more(tmp_path: Path) -> None:
    empty = Message(role="assistant")
    assert work(tmp_path / "a", empty, END)[0].summary == "the end"
    assert work(tmp_path / "b", empty, empty)[0].summary == "no answer"


def test_a_model_that_never_finishes_is_stopped(tmp_path: Path) -> None:
    observation, returned, _ = work(tmp_path, *[call(f"nonesuch_{k}") for k in range(MAX_TURNS + 5)])
    assert not observation.ok
    assert f"{MAX_TURNS} turns" in observation.summary
    assert len(returned) == MAX_TURNS - 1, "the answer to the last call has no turn to be read in"


def test_a_model_that_repeats_itself_is_stopped_and_one_that_changes_its_mind_is_not(tmp_path: Path) -> None:
    observation, returned, _ = work(tmp_path / "a", *[call("nonesuch")] * 9)
    assert not observation.ok
    assert f"same call {STUCK} times" in observation.summary
    assert len(returned) == STUCK - 1
    other = [call("nonesuch"), call("nonesuch"), call("other"), call("nonesuch"), call("finish", summary="done")]
    assert work(tmp_path / "b", *other)[0].summary == "done"


def test_several_calls_in_one_message_are_all_answered(tmp_path: Path) -> None:
    both = Message(role="assistant", tool_calls=(*python("1").tool_calls, *call("nonesuch").tool_calls))
    _, (first, second), _ = work(tmp_path, both, END)
    assert first["exit_code"] == 0
    assert second["error"]["field"] == "tool"


def test_a_command_begins_only_within_the_time_of_the_budget(tmp_path: Path) -> None:
    ran: list[Sequence[str]] = []

    def command(argv: Sequence[str], folder: Path) -> str:
        ran.append(argv)
        return pretend(argv, folder)

    clock = iter([0.0, *[1.0] * 4, *[11.0] * 100])
    more = {"budget": Budget(seconds=10), "clock": lambda: next(clock)}
    with pytest.raises(BudgetSpent, match="seconds"):
        work(tmp_path, python("1"), python("2"), END, sandbox=FakeSandbox(tmp_path / "workspace", command), **more)
    assert len(ran) == 1


def test_the_last_call_of_a_reply_that_was_cut_is_not_made(tmp_path: Path) -> None:
    both = Message(role="assistant", tool_calls=(*python("1", "a.py").tool_calls, *python("2", "b.py").tool_calls))
    cut = Reply(message=both, model="m", finish="length")
    _, (first, second), crew = work(tmp_path, cut, END)
    assert first["exit_code"] == 0
    assert "cut off" in second["error"]["allowed"]
    assert [list(event.given) for event in of(crew, Executed)] == [["a.py"]]
    assert "cut off at 4096 tokens" in of(crew, Trouble)[0].text
