"""Claim and audit repeat only what the submitted files were made from, and everything when that is not enough."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from scripted import CLAIM, Script, Scripted, TinyTask, call, plan, python, step
from test_confirm import SCORE
from test_replay import nothing_live

from agents.cli.live import Progress, describe
from agents.crew import confirm as confirming
from agents.crew.budget import BudgetSpent
from agents.runs.replay import replay
from agents.runs.rerun import rerun
from agents.runs.run import Settings, resume, start
from agents.trace.events import Confirmed, Executed, Repeated
from agents.trace.result import RunResult
from agents.trace.store import read_trace

OPTIONS = {"holds_out": True, "audits": True, "max_iterations": 1}
SETTINGS = Settings(request="Is there anything?", task="tiny", sandbox="bubblewrap", options=OPTIONS)
FEATURE = SCORE + "numpy.save('x.npy', x)\n"
MADE = "write_events(Path('scores.parquet'), {'score': numpy.load(%s)})\n"
HIDDEN = "bytes([120, 46, 110, 112, 121])"  # x.npy, in no string


@pytest.fixture(autouse=True)
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    from tasks import catalogue

    monkeypatch.setitem(catalogue.catalogue(), "tiny", TinyTask)


def script(name: str) -> Script:
    """A feature, scores made of it, which are handed in, and three things that nothing comes from."""
    made = SCORE + MADE % (f"open({name}, 'rb')" if name == HIDDEN else name)
    return {
        "planner/0": [plan(step("a"), step("b", ["a"], submits=True))],
        "worker/0/a": [
            python(FEATURE, "feature.py"),
            python(SCORE + "numpy.save('other.npy', x ** 2)", "other.py"),
            python("print('/inputs')", "glance.py"),
            call("finish", summary="made"),
        ],
        "worker/0/b": [
            python(made.replace("bytes([", "b'../a/' + bytes([") if name == HIDDEN else made, "made.py"),
            python(SCORE + "print(numpy.load('/workspace/i0/a/x.npy').mean())", "look.py"),
            call("submit", scores="scores.parquet", window=[3.3, 3.7], method="scripted"),
            call("finish", summary="handed in"),
        ],
        "reporter": [json.dumps(CLAIM)],
    }


SEEN = script("'/workspace/i0/a/x.npy'")
UNSEEN = script(HIDDEN)


def repeated(run_dir: Path, role: str) -> list[str]:
    """The scripts that a role ran, in order."""
    ran = [event for event in read_trace(run_dir) if isinstance(event, Executed) and event.where.role == role]
    return [event.argv[-1] for event in ran]


def notes(run_dir: Path) -> list[Repeated]:
    return [event for event in read_trace(run_dir) if isinstance(event, Repeated)]


def carried_out(run_dir: Path, of: Script, **more: Any) -> RunResult:
    return start(SETTINGS.model_copy(update=more), Scripted(of), run_dir)


def test_claim_and_audit_leave_out_what_the_scores_do_not_come_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = carried_out(tmp_path / "r", SEEN)
    assert result.confirmed
    assert result.confirmed.value == pytest.approx(1.0)
    for role in ("claim", "audit"):
        assert repeated(tmp_path / "r", role) == ["feature.py", "made.py"]
    claim, audit = notes(tmp_path / "r")
    assert (claim.where, audit.where) == ("claim/0", "audit/0")
    assert (claim.parts, claim.left_out, claim.why_all) == (audit.parts, audit.left_out, "")
    assert [part.what for part in claim.left_out] == ["python other.py", "python glance.py", "python look.py"]
    ran = {e.key: e.seconds for e in read_trace(tmp_path / "r") if isinstance(e, Executed) and e.where.role == "worker"}
    assert claim.seconds == pytest.approx(sum(ran[part.key] for part in claim.parts))
    nothing_live(monkeypatch)
    assert replay(tmp_path / "r", tmp_path / "out").agrees


def test_a_command_that_lacks_an_input_brings_back_all_of_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    result = carried_out(tmp_path / "r", UNSEEN)
    assert result.confirmed
    assert result.confirmed.value == pytest.approx(1.0)
    everything = ["feature.py", "other.py", "glance.py", "made.py", "look.py"]
    assert repeated(tmp_path / "r", "claim") == ["made.py", *everything]
    assert repeated(tmp_path / "r", "audit") == everything
    first, second, audit = notes(tmp_path / "r")
    assert first.left_out
    assert "No such file" in second.why_all
    assert second.left_out == audit.left_out == []
    assert rerun(tmp_path / "r", tmp_path / "live").agrees
    nothing_live(monkeypatch)
    assert replay(tmp_path / "r", tmp_path / "out").agrees


@pytest.mark.slow
def test_a_claim_that_was_interrupted_goes_on_where_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    carry_out, times = confirming.carry_out, 0

    def stopped(*arguments: Any) -> str:
        nonlocal times
        times += 1
        if times == 2:
            raise BudgetSpent("no more")
        return carry_out(*arguments)

    monkeypatch.setattr(confirming, "carry_out", stopped)
    assert carried_out(tmp_path / "r", UNSEEN).status == "budget"
    monkeypatch.setattr(confirming, "carry_out", carry_out)
    result = resume(tmp_path / "r", Scripted(UNSEEN))
    assert result.confirmed
    assert result.confirmed.value == pytest.approx(1.0)
    assert repeated(tmp_path / "r", "claim").count("made.py") == 2
    assert len(notes(tmp_path / "r")) == 3
    nothing_live(monkeypatch)
    assert replay(tmp_path / "r", tmp_path / "out").agrees


def test_what_is_repeated_and_how_long_it_took_is_said_before_and_meanwhile(tmp_path: Path) -> None:
    carried_out(tmp_path / "r", SEEN, options=OPTIONS | {"audits": False})
    events, progress, said = read_trace(tmp_path / "r"), Progress(), []
    for event in events:
        progress.take(event)
        said.append((progress.doing, describe(event)))
    lines = [line for _, line in said if line and line.startswith("claim")]
    assert "claim: repeats 2 commands" in lines[0]
    assert "leaves out python other.py, python glance.py, python look.py" in lines[0]
    assert lines[1].startswith("claim/0/a: python feature.py took")
    doing = list(dict.fromkeys(what for what, _ in said if "of 2 commands" in what))
    assert [what.split(",")[0] for what in doing] == [
        f"confirming the result: {done} of 2 commands" for done in range(3)
    ]
    assert any(isinstance(event, Confirmed) for event in events)
