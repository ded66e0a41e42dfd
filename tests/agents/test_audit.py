"""The audit of a claim: the recipe once more on a decoy, in the trace, in replays, within the budget, and no defect of
the operator's machine counts against a recipe.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from scripted import CLAIM, Script, Scripted, TinyTask, call, plan, python, step
from test_confirm import READ, SCORE
from test_replay import content, nothing_live

from agents.crew import confirm as confirming
from agents.crew.budget import Budget, Meter
from agents.runs import sandboxes
from agents.runs.fork import moment
from agents.runs.replay import replay
from agents.runs.rerun import rerun
from agents.runs.run import Settings, resume, start
from agents.trace.events import Audited, Confirmed, Executed
from agents.trace.result import RunResult
from agents.trace.store import read_trace
from sandbox.driver import SandboxLost

OPTIONS = {"holds_out": True, "audits": True, "max_iterations": 1}
SETTINGS = Settings(request="Is there anything?", task="tiny", sandbox="bubblewrap", options=OPTIONS)
HONEST = SCORE + "write_events(Path('scores.parquet'), {'score': x})\n"
# Knows the numbers of the claim's events, and no others.
CHEAT = SCORE + "write_events(Path('scores.parquet'), {'score': x if abs(x[0] - %r) > 1e-6 else x[::-1]})\n"
BREAKS = SCORE + "assert abs(x[0] - %r) > 1e-6, 'not these'\nwrite_events(Path('scores.parquet'), {'score': x})\n"


@pytest.fixture(autouse=True)
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    from tasks import catalogue

    monkeypatch.setitem(catalogue.catalogue(), "tiny", TinyTask)


def first_of_the_decoy() -> float:
    from scripted import columns

    return float(columns(seed=77)["mj1"].astype("float32")[0])


def script(code: str) -> Script:
    submit = call("submit", scores="scores.parquet", window=[3.3, 3.7], method="scripted")
    return {
        "planner/0": [plan(step("a", submits=True))],
        "worker/0/a": [python(code), submit, call("finish", summary="handed in")],
        "reporter": [json.dumps(CLAIM)],
    }


def audited(run_dir: Path) -> list[Audited]:
    return [event for event in read_trace(run_dir) if isinstance(event, Audited)]


def carried_out(code: str, run_dir: Path, **more: Any) -> RunResult:
    return start(SETTINGS.model_copy(update=more), Scripted(script(code)), run_dir)


def test_an_honest_recipe_passes_and_all_of_it_is_played_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run_dir = tmp_path / "r"
    result = carried_out(HONEST, run_dir)
    (verdict,), events = audited(run_dir), read_trace(run_dir)
    assert verdict.score.value == pytest.approx(1.0)
    assert result.confirmed
    assert result.confirmed.value == verdict.score.value
    again = [event for event in events if isinstance(event, Executed) and event.where == "audit/0/a"]
    (claimed,) = [event for event in events if isinstance(event, Executed) and event.where == "claim/0/a"]
    assert [event.argv for event in again] == [claimed.argv]
    assert again[0].files != claimed.files  # the decoy has other events
    assert "The audit found nothing against it." in (run_dir / "report.md").read_text()
    assert "The audit found nothing against it." in (run_dir / "report.html").read_text()
    assert {moment(verdict), moment(again[0])} == {moment(claimed)}
    live = rerun(run_dir, tmp_path / "live")
    assert live.agrees
    assert live.compared
    assert {row.verdict for row in live.compared if row.where.startswith("audit")} == {"identical"}
    assert {row.where for row in live.compared} >= {"audit", "audit/0/a"}
    before = content(run_dir)
    nothing_live(monkeypatch)
    assert replay(run_dir, tmp_path / "out").agrees
    assert content(run_dir) == before


@pytest.mark.parametrize(("code", "why"), [(CHEAT, "the scores follow nothing"), (BREAKS, "not these")])
def test_what_fails_on_the_decoy_confirms_nothing(
    code: str, why: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_dir = tmp_path / "r"
    result = carried_out(code % first_of_the_decoy(), run_dir)
    assert (result.status, result.troubles) == ("exhausted", [])
    (before,) = [e for e in read_trace(run_dir) if isinstance(e, Confirmed) and not isinstance(e, Audited)]
    assert before.score.value == pytest.approx(1.0)
    assert result.confirmed
    assert result.confirmed.value is None
    assert why in result.confirmed.reason
    for file in ("report.md", "report.html", "result.json"):
        assert "The audit failed" in (run_dir / file).read_text()
    nothing_live(monkeypatch)
    assert replay(run_dir, tmp_path / "out").agrees


def test_without_a_claim_or_an_audit_nothing_is_run_again(tmp_path: Path) -> None:
    carried_out(READ + "write_events(Path('scores.parquet'), {'score': numpy.arange(300.0)})\n", tmp_path / "a")
    assert len(audited(tmp_path / "a")) == 1  # a number, whatever it is worth, is audited
    carried_out(HONEST, tmp_path / "b", options={"holds_out": True, "max_iterations": 1})
    assert audited(tmp_path / "b") == []
    assert not (tmp_path / "b" / "decoy").exists()


def test_a_sandbox_lost_in_the_audit_is_no_failed_audit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run_dir, fresh = tmp_path / "r", sandboxes.fresh

    def lost(store: Any, place: sandboxes.Place, *rest: Any) -> Any:
        if place.inputs.name == "decoy":
            raise SandboxLost("the engine is gone")
        return fresh(store, place, *rest)

    monkeypatch.setattr(sandboxes, "fresh", lost)
    result = carried_out(HONEST, run_dir)
    assert (result.status, audited(run_dir)) == ("lost", [])
    monkeypatch.setattr(sandboxes, "fresh", fresh)
    result = resume(run_dir, Scripted(script(HONEST)))
    assert (result.status, len(audited(run_dir))) == ("exhausted", 1)
    assert sum(isinstance(e, Executed) and e.where == "claim/0/a" for e in read_trace(run_dir)) == 1


def test_a_budget_that_is_spent_ends_the_run_before_the_audit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run_dir, carry_out = tmp_path / "r", confirming.carry_out

    def slow(*arguments: Any) -> str:
        trouble = carry_out(*arguments)
        monkeypatch.setattr(Meter, "seconds", property(lambda meter: 1e9))
        return trouble

    monkeypatch.setattr(confirming, "carry_out", slow)
    result = carried_out(HONEST, run_dir, budget=Budget(seconds=3600))
    assert (result.status, audited(run_dir)) == ("budget", [])
    assert "before audit" in result.reason
