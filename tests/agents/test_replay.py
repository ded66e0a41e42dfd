"""A run is played from its record alone and comes out the same; whatever does not is named, and nothing is written."""

from __future__ import annotations

import json
import os
import platform
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from scripted import SUBMISSION, Scripted, TinyTask, call, python, two_rounds
from test_resume import killed_at
from typer.testing import CliRunner

from agents.backends.base import BackendLost
from agents.cli import main as cli
from agents.crew import graph, memory
from agents.runs import provenance, run, sandboxes
from agents.runs.replay import replay
from agents.runs.run import Settings, beginning, resume, start
from agents.trace import store as stores
from agents.trace import tool_calls
from agents.trace.differences import differences
from agents.trace.events import Executed
from agents.trace.lines import chained
from agents.trace.recorders import REFUSED
from agents.trace.store import TRACE, Store, TraceError, read_trace
from agents.trace.strict import Differs
from tasks import catalogue
from tasks.score import Score

SETTINGS = Settings(request="Is there anything?", task="tiny", sandbox="bubblewrap")
IN_THE_WAY = [python("import os; os.mkdir('x.py')"), python("1", "x.py"), call("finish", summary="x")]
HELD_OUT = SETTINGS.model_copy(update={"options": {"holds_out": True}})


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A run with two iterations, retries, errors of a model, and a claim on unseen events."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(catalogue.catalogue(), "tiny", TinyTask)
        run_dir = tmp_path_factory.mktemp("runs") / "r"
        start(HELD_OUT, Scripted(two_rounds()), run_dir)
        yield run_dir


def content(folder: Path) -> dict[Path, tuple[bytes, int]]:
    return {p: (p.read_bytes(), p.stat().st_mtime_ns) for p in folder.rglob("*") if p.is_file()}


def nothing_live(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> Any:
        raise AssertionError("a replay does nothing live")

    monkeypatch.setattr(sandboxes, "choose", refuse)
    monkeypatch.setattr(stores.Store, "append", refuse)
    for name in ("prepare", "grade", "confirm", "seal"):
        monkeypatch.setattr(TinyTask, name, refuse)


def test_a_run_comes_out_the_same_and_is_left_alone(
    run_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nothing_live(monkeypatch)
    before = content(run_dir)
    outcome = replay(run_dir, tmp_path / "out")
    assert outcome.report == dict.fromkeys(("report.md", "report.html", "result.json"), "identical")
    assert (outcome.agrees, outcome.whole) == (True, True)
    assert content(run_dir) == before
    workspace = {p.relative_to(run_dir) for p in before if p.is_relative_to(run_dir / "workspace")}
    assert {p for p in workspace if (tmp_path / "out" / p).read_bytes() == before[run_dir / p][0]} == workspace
    assert len(workspace) > 3


def test_a_file_in_the_way_is_a_recorded_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    start(SETTINGS, Scripted(dict(two_rounds()) | {"worker/0/b": IN_THE_WAY}), tmp_path / "r")
    assert [e.exit_code for e in read_trace(tmp_path / "r") if isinstance(e, Executed) and e.ended == REFUSED] == [-1]
    nothing_live(monkeypatch)
    assert replay(tmp_path / "r", tmp_path / "out").agrees


def test_a_run_that_was_gone_on_with_is_played_in_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lost = dict(two_rounds()) | {"worker/1/c": [BackendLost("gone")]}
    start(SETTINGS, Scripted(lost), tmp_path / "r")
    resume(tmp_path / "r", Scripted(two_rounds()))
    nothing_live(monkeypatch)
    assert replay(tmp_path / "r", tmp_path / "out").agrees


@pytest.mark.parametrize(
    "script",
    [
        {"worker/0/b": [BackendLost("gone")]},
        {"planner/1": [BackendLost("gone")]},
        {"reporter": [BackendLost("gone")]},
        {"planner/0": ["no plan"] * 3},
        {"reporter": ["no claim"] * 3},
        {"worker/1/c": [call("submit", **SUBMISSION), call("finish", summary="nothing there")]},
        {
            "worker/0/b": [
                python("import os; os.mkdir('x.py')"),
                python("1", "x.py"),
                call("finish", summary="x"),
            ]
        },
    ],
)
def test_however_a_run_ended_it_is_played_that_far(
    tmp_path: Path, script: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    start(SETTINGS, Scripted(dict(two_rounds()) | script), tmp_path / "r")
    nothing_live(monkeypatch)
    outcome = replay(tmp_path / "r", tmp_path / "out", patience=3600)  # one that ran out would outlast this test
    assert outcome.agrees
    assert set(outcome.report.values()) == {"identical"}


@pytest.mark.parametrize("n", [0, 7, 16, 30])
def test_a_killed_run_is_played_that_far(tmp_path: Path, n: int, monkeypatch: pytest.MonkeyPatch) -> None:
    killed_at(n, tmp_path)
    nothing_live(monkeypatch)
    outcome = replay(tmp_path / "run", tmp_path / "out")
    assert (outcome.status, outcome.whole) == ("unfinished", False)
    assert set(outcome.report.values()) == {"not there to compare with"}


def edited_trace(run_dir: Path, copy: Path, edit: Callable[[list[dict[str, Any]], Store], Any]) -> Path:
    """A copy of a run whose trace was written anew, chain and all, by somebody who knows how."""
    copy.mkdir()
    for path in run_dir.glob("*"):
        if path.name not in ("result.json", TRACE):
            (copy / path.name).symlink_to(path)
    documents = [json.loads(line) for line in (run_dir / TRACE).read_text().splitlines()]
    with Store.reading(run_dir) as store:
        edit(documents, store)
    lines, chain = [], ""
    for index, document in enumerate(documents):
        del document["chain"]
        line, chain = chained(json.dumps(document | {"index": index}, separators=(",", ":")), chain)
        lines.append(line)
    (copy / TRACE).write_bytes(b"".join(lines))
    return copy


def first(documents: list[dict[str, Any]], kind: str, where: str = "") -> dict[str, Any]:
    return next(d for d in documents if d["kind"] == kind and d.get("where", "").startswith(where))


def other_code(documents: list[dict[str, Any]], store: Store) -> None:
    """A command that the recorded reply does not ask for."""
    event = first(documents, "executed", "worker/0/b")
    event["argv"] = ["python", "b.py"]
    event["key"] = "0" * 64


FORGED: dict[str, tuple[Callable[[list[dict[str, Any]], Store], Any], str]] = {
    "the request": (
        lambda d, s: d[0].update(request="Was there anything?"),
        r'model_called planner/0, line 4: messages\[1\]\.content, line \d+ was ".*Is there.*", .* has ".*Was there',
    ),
    "a plan": (
        lambda d, s: first(d, "planned")["plan"].update(reasoning="as I like it"),
        r'planned planner/0, line 5: plan\.reasoning was "as I like it", the replay has "because"',
    ),
    "a score": (
        lambda d, s: first(d, "graded")["score"].update(value=0.123),
        r"model_called planner/1, line \d+: messages\[1\]\.content, line \d+ was .*0\.99.*, the replay has .*0\.123",
    ),
    "a decision": (
        lambda d, s: first(d, "decided")["decision"].update(action="converged"),
        r'decided grader/0, line \d+: decision\.action was "converged", the replay has "continue"',
    ),
    "a claim": (
        lambda d, s: first(d, "claimed")["claim"].update(discovery=True),
        r"claimed reporter, line \d+: claim\.discovery was true, the replay has false",
    ),
    "a check of the claim": (
        lambda d, s: first(d, "claimed")["checks"][0].update(harness=True),
        r"claimed reporter, line \d+: checks\[0\]\.harness was true, the replay has false",
    ),
    "a command": (other_code, r'executed worker/0/b, line \d+: argv\[1\] was "b.py", the replay has "a.py"'),
    "the end": (lambda d, s: d[-1].update(status="exhausted"), r"run_finished: was .*exhausted.* has .*converged"),
    "an event too many": (
        lambda d, s: d.insert(9, d[3] | {"where": "planner/7"}),
        r"model_called planner/7, line 10: was recorded, but the replay never reached it$",
    ),
    "an event too few": (
        lambda d, s: d.remove(first(d, "planned")),
        r"planned planner/0: the replay has more of these",
    ),
    "a missing last event": (
        lambda d, s: d.remove(first(d, "claimed")),
        "claimed reporter: the replay has more of these",
    ),
    "a seal": (lambda d, s: d.remove(first(d, "sealed")), "sealed: the replay has more of these"),
}


@pytest.mark.parametrize("what", FORGED)
def test_what_does_not_follow_from_the_record_is_named(run_dir: Path, tmp_path: Path, what: str) -> None:
    edit, said = FORGED[what]
    forged = edited_trace(run_dir, tmp_path / "forged", edit)
    with pytest.raises(Differs, match=said):
        replay(forged, tmp_path / "out")


def test_an_untouched_copy_agrees(run_dir: Path, tmp_path: Path) -> None:
    copy = edited_trace(run_dir, tmp_path / "copy", lambda documents, store: None)
    assert replay(copy, tmp_path / "out").agrees


def test_a_changed_crew_is_found(run_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a replay is for: the record tells whether the code still does what it did."""
    monkeypatch.setattr(tool_calls, "SHOWN", 3)
    with pytest.raises(Differs, match=r"model_called worker/0/b, line \d+: messages\[3\]\.content was .*looked"):
        replay(run_dir, tmp_path / "a")
    monkeypatch.undo()
    monkeypatch.setitem(catalogue.catalogue(), "tiny", TinyTask)
    monkeypatch.setattr(memory, "_drawn", lambda value: False)
    assert replay(run_dir, tmp_path / "b").agrees  # there are no such arrays in this run
    monkeypatch.setattr(graph, "decide", lambda scores, rule: pytest.fail("asked"))
    with pytest.raises(pytest.fail.Exception):
        replay(run_dir, tmp_path / "c")


def test_other_prompts_than_the_recorded_change_nothing(
    run_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "read_prompts", lambda: {"planner.md": "Do as you like."})
    monkeypatch.setattr(TinyTask, "advice", lambda self, role: "Or as others like.")
    assert replay(run_dir, tmp_path / "out").agrees


def test_a_report_that_was_changed_afterwards_is_found(run_dir: Path, tmp_path: Path) -> None:
    copy = edited_trace(run_dir, tmp_path / "copy", lambda documents, store: None)
    text = (copy / "report.md").read_text()
    (copy / "report.md").unlink()
    (copy / "report.md").write_text(text.replace("nothing found", "something found"))
    outcome = replay(copy, tmp_path / "out")
    assert (outcome.report["report.md"], outcome.report["report.html"]) == ("differs", "identical")
    assert not outcome.agrees


def test_a_damaged_trace_is_not_played(run_dir: Path, tmp_path: Path) -> None:
    copy = edited_trace(run_dir, tmp_path / "copy", lambda documents, store: None)
    (copy / TRACE).write_bytes((copy / TRACE).read_bytes().replace(b"because", b"becausa", 1))
    with pytest.raises(TraceError, match="line 5: was changed"):
        replay(copy, tmp_path / "out")


def beamcrew(*words: str) -> tuple[int, str, str]:
    done = CliRunner().invoke(cli.app, list(words))
    return done.exit_code, done.stdout, done.stderr


def test_the_command_says_what_it_found(run_dir: Path, tmp_path: Path) -> None:
    status, out, err = beamcrew("replay", str(run_dir), "--json", "--out", str(tmp_path / "out"))
    assert (status, json.loads(out)["report"]["report.md"]) == (0, "identical")
    assert "all of it as recorded" in err
    assert (tmp_path / "out" / "report.html").read_bytes() == (run_dir / "report.html").read_bytes()
    status, _, err = beamcrew("replay", str(run_dir), "--out", str(tmp_path / "out"))
    assert (status, "is there already" in err) == (2, True)
    forged = edited_trace(run_dir, tmp_path / "forged", FORGED["a plan"][0])
    status, _, err = beamcrew("replay", str(forged))
    assert (status, "differs: planned planner/0, line 5: plan.reasoning was" in err) == (6, True)
    status, _, err = beamcrew("replay", str(tmp_path / "none"))
    assert (status, "trace.jsonl: cannot be" in err) == (2, True)


def test_other_tools_than_the_run_had_are_named(run_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Their source is part of where a number comes from, and changes more often than a version."""
    assert "made with something else" not in beamcrew("replay", str(run_dir))[2]
    there = provenance.tools_hash()
    monkeypatch.setattr(provenance, "tools_hash", lambda: "0123456789ab")
    status, _, err = beamcrew("replay", str(run_dir))
    assert (status, f"made with something else: tools {there} then, 0123456789ab here" in err) == (0, True)


def test_the_kernels_in_use_are_part_of_where_a_number_comes_from(run_dir: Path) -> None:
    core, chosen = ("Nehalem", "Nehalem") if platform.machine() == "x86_64" else ("ARMV8", "armv8")
    code = "import json\nfrom agents.runs.provenance import versions\nprint(json.dumps(versions()))"
    env = os.environ | {"OPENBLAS_CORETYPE": core, "NPY_DISABLE_CPU_FEATURES": "X86_V3"}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    older, recorded = json.loads(done.stdout), beginning(run_dir)[0].versions
    builds = re.findall(r"openblas [\d.]+ (\w+)", older["blas"])
    assert builds == [chosen] * len(builds) != []
    assert recorded["simd"].startswith(older["simd"])
    assert "X86_V3" not in older["simd"]
    assert {name: recorded[name] for name in ("blas", "simd")} == provenance.kernels()


def test_differences_are_named_by_path() -> None:
    assert list(differences({"a": {"b": [1, float("nan")]}}, {"a": {"b": [1, float("nan")]}})) == []
    assert list(differences([1], [1.0])) == [("[0]", "1", "1.0")]
    assert list(differences([True], [1])) == [("[0]", "true", "1")]
    assert list(differences("a\nb\nc", "a\nB\nc", "x")) == [("x, line 2", '"b"', '"B"')]
    assert list(differences("a\n", "a", "x")) == [("x", '"a\\n"', '"a"')]
    ((path, old, new),) = differences("-" * 999 + "old", "-" * 999 + "new", "x")
    assert (path, old[-4:], new[-4:]) == ("x", 'old"', 'new"')
    assert max(len(old), len(new)) < 200


def test_a_score_is_played_and_not_computed(run_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(TinyTask, "grade", lambda *_: Score(metric="m", value=0.0, reason="other"))
    assert replay(run_dir, tmp_path / "out").agrees


def test_the_script_covers_what_is_played(run_dir: Path) -> None:
    kinds = {json.loads(line)["kind"] for line in (run_dir / TRACE).read_text().splitlines()}
    assert {"trouble", "tool_called", "graded", "confirmed", "claimed", "sealed"} <= kinds
