"""The claim on unseen events: the chosen commands run again by themselves, elsewhere, and only after the choice."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from scripted import CLAIM, Script, Scripted, call, columns, plan, python, step

from agents.backends.base import Message, Request
from agents.backends.opening import read_context
from agents.crew.confirm import recipe
from agents.runs.run import Settings, start
from agents.trace.events import CanaryChecked, Confirmed, Executed
from agents.trace.result import RunResult
from agents.trace.store import blobs_of, read_trace
from tasks.lhco.claims import SearchSubmission

SETTINGS = Settings(request="Is there anything?", task="tiny", sandbox="bubblewrap", options={"holds_out": True})
READ = "import numpy\nfrom pathlib import Path\nfrom tools.events.parquet import read_columns, write_events\n"
SCORE = READ + "x = read_columns(Path('/inputs/events.parquet'), ['mj1'])['mj1']\n"
SUBMIT = {"window": [3.3, 3.7], "method": "scripted"}


def submit(scores: str = "scores.parquet") -> list[Message]:
    return [call("submit", scores=scores, **SUBMIT), call("finish", summary="handed in")]


def carried_out(script: Script, run_dir: Path, **options: Any) -> tuple[RunResult, Confirmed]:
    settings = SETTINGS.model_copy(update={"options": {"holds_out": True, **options}})
    result = start(settings, Scripted({"reporter": [json.dumps(CLAIM)], **script}), run_dir)
    (confirmed,) = [event for event in read_trace(run_dir) if isinstance(event, Confirmed)]
    return result, confirmed


def test_the_best_submission_is_made_again_from_the_events_held_out(tmp_path: Path) -> None:
    """Two steps, the second needs the first; another step and a worse iteration, which are not run again."""
    told: list[dict[str, Any]] = []

    def reporter(request: Request) -> str:
        told.append(read_context(request.messages[1])["confirmed"])
        return json.dumps(CLAIM)

    script: Script = {
        "planner/0": [plan(step("a"), step("other"), step("b", ["a"], submits=True))],
        "worker/0/a": [python(SCORE + "numpy.save('x.npy', x)"), call("finish", summary="saved")],
        "worker/0/other": [python("print('looked')"), call("finish", summary="looked")],
        "worker/0/b": [
            python("raise ValueError", "wrong.py"),
            python(READ + "write_events(Path('scores.parquet'), {'score': numpy.load('../a/x.npy')})"),
            *submit(),
        ],
        "planner/1": [plan(step("c", submits=True))],
        "worker/1/c": [python(SCORE + "write_events(Path('scores.parquet'), {'score': x % 0.1})"), *submit()],
        "reporter": [reporter],
    }
    result, confirmed = carried_out(script, tmp_path / "r")
    events = read_trace(tmp_path / "r")
    assert result.status == "converged"
    assert (confirmed.iteration, confirmed.score.metric) == (0, "unseen")
    assert confirmed.score.value == pytest.approx(1.0)  # follows the held-out events, which have other numbers
    assert confirmed.score.artefact != result.iterations[0].artefact
    again = [event for event in events if isinstance(event, Executed) and event.where.startswith("claim/")]
    assert [(event.where, event.argv) for event in again] == [
        ("claim/0/a", ["python", "a.py"]),
        ("claim/0/b", ["python", "a.py"]),
    ]
    assert told[0]["value"] == confirmed.score.value
    assert result.confirmed
    assert result.confirmed.value == confirmed.score.value
    assert sum(isinstance(event, CanaryChecked) for event in events) == 2  # the claim's sandbox was probed as well
    assert events.index(again[0]) > max(k for k, event in enumerate(events) if event.kind == "decided")
    for name in ("report.md", "report.html"):
        assert "Confirmation" in (tmp_path / "r" / name).read_text()


def test_the_events_held_out_are_nowhere_to_be_seen_before(tmp_path: Path) -> None:
    """Not by their path, and in the claim's own sandbox as nothing but the event file."""
    held_out = tmp_path / "r" / "held_out"
    look = f"import os\nprint(os.listdir('/inputs'), os.path.exists({str(held_out)!r}))\n"
    script: Script = {
        "planner/0": [plan(step("a", submits=True))],
        "worker/0/a": [python(look + SCORE + "write_events(Path('scores.parquet'), {'score': x})"), *submit()],
    }
    carried_out(script, tmp_path / "r", max_iterations=1)
    assert held_out.is_dir()
    ran = [event for event in read_trace(tmp_path / "r") if isinstance(event, Executed)]
    blobs = blobs_of(tmp_path / "r")
    assert [blobs.get(event.stdout) for event in ran] == [b"['events.parquet'] False\n"] * 2


def test_a_recipe_that_does_not_run_again_confirms_nothing(tmp_path: Path) -> None:
    """Code that leans on the very events it was made for is found out, and nothing can be claimed from it."""
    code = SCORE + f"assert abs(x[0] - {float(columns()['mj1'][0])}) < 1e-6, 'not my events'\n"
    script: Script = {
        "planner/0": [plan(step("a", submits=True))],
        "worker/0/a": [python(code + "write_events(Path('scores.parquet'), {'score': x})"), *submit()],
    }
    result, confirmed = carried_out(script, tmp_path / "r", max_iterations=1)
    assert confirmed.score.value is None
    assert "fail when rerun on all inputs" in confirmed.score.reason
    assert "AssertionError: not my events" in confirmed.score.reason
    assert "Nothing is confirmed" in (tmp_path / "r" / "report.md").read_text()
    assert result.status == "exhausted"


def test_without_events_held_out_nothing_is_confirmed(tmp_path: Path) -> None:
    script: Script = {
        "planner/0": [plan(step("a", submits=True))],
        "worker/0/a": [python(SCORE + "write_events(Path('scores.parquet'), {'score': x})"), *submit()],
        "reporter": [json.dumps(CLAIM)],
    }
    result = start(SETTINGS.model_copy(update={"options": {"max_iterations": 1}}), Scripted(script), tmp_path / "r")
    assert result.confirmed is None
    assert not (tmp_path / "r" / "claim").exists()


def test_scores_in_no_steps_folder_need_everything_up_to_then(tmp_path: Path) -> None:
    script: Script = {
        "planner/0": [plan(step("a"), step("b", submits=True))],
        "worker/0/a": [python("print('a')"), call("finish", summary="a")],
        "worker/0/b": [
            python(SCORE + "write_events(Path('scores.parquet'), {'score': x})"),
            *submit(),
        ],
    }
    carried_out(script, tmp_path / "r", max_iterations=1)
    events, read = read_trace(tmp_path / "r"), blobs_of(tmp_path / "r").get
    everything = recipe(events, 0, SearchSubmission(scores="scores.parquet", window=(3.3, 3.7)), read)
    assert "no command is known to have written scores.parquet" in everything.why_all
    assert {event.where for event in everything.commands} == {"worker/0/a", "worker/0/b"}
    followed = recipe(events, 0, SearchSubmission(scores="i0/b/scores.parquet", window=(3.3, 3.7)), read)
    assert followed.commands == [event for event in everything.commands if event.where == "worker/0/b"]
