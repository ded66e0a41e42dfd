"""Whole runs of the tiny task in the real sandbox: how they end, what they leave, and what code inside cannot see."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from scripted import CLAIM, Script, Scripted, TinyTask, call, hand_in, plan, python, step, two_rounds

from agents.backends.base import BackendLost, Message, Usage
from agents.crew.budget import Budget
from agents.runs import sandboxes
from agents.runs.run import Settings, start
from agents.trace.events import CanaryChecked, Claimed, Executed, RunFinished, Sealed, Trouble
from agents.trace.result import RunResult, build_result
from agents.trace.store import blobs_of, read_trace
from sandbox.canaries import CanaryVerdict
from tasks import catalogue

SETTINGS = Settings(request="Is there anything?", task="tiny", sandbox="bubblewrap")
SHORT = SETTINGS.model_copy(update={"options": {"max_iterations": 1}})
SECRET = "sk-canary-0123456789abcdef"


def one_round(*first: Message) -> Script:
    """One step that does `first`, and hands in."""
    return {
        "planner/0": [plan(step("s", submits=True))],
        "worker/0/s": [*first, *hand_in()],
        "reporter": [json.dumps(CLAIM)],
    }


def ended(run_dir: Path, status: str) -> RunFinished:
    """The trace can be read, its last event is the end, and the three files say the same."""
    last = read_trace(run_dir)[-1]
    assert isinstance(last, RunFinished)
    assert last.status == status
    assert RunResult.model_validate_json((run_dir / "result.json").read_text()) == build_result(run_dir)
    assert build_result(run_dir).status == status
    for name in ("report.md", "report.html"):
        assert SETTINGS.request in (run_dir / name).read_text()
    return last


def one(settings: Settings, script: Script, run_dir: Path, **more: Any) -> RunResult:
    return start(settings, Scripted(script, **more), run_dir)


def troubles(run_dir: Path) -> list[Trouble]:
    return [event for event in read_trace(run_dir) if isinstance(event, Trouble)]


@pytest.fixture(scope="module")
def converged(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[RunResult, Path]]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(catalogue.catalogue(), "tiny", TinyTask)
        run_dir = tmp_path_factory.mktemp("runs") / "r"
        yield one(SETTINGS, two_rounds(), run_dir, usage=Usage(prompt_tokens=10, dollars=0.5)), run_dir


def test_a_run_converges_and_says_what_it_found_and_cost(converged: tuple[RunResult, Path]) -> None:
    result, run_dir = converged
    finished = ended(run_dir, "converged")
    first, second = (i.value for i in result.iterations)
    assert first
    assert second
    assert first > second > 0
    assert result.best_iteration == 0
    assert result.claim
    assert result.claim["text"] == CLAIM["text"]
    assert result.sealed[0].name == "signal fraction"
    assert (result.canaries_held, result.sandbox.driver) == (True, "bubblewrap")
    assert result.cost.model_calls == finished.model_calls == 14
    assert result.cost.dollars == finished.usage.dollars == 7.0


def test_truth_comes_after_everything_that_agents_do(converged: tuple[RunResult, Path]) -> None:
    kinds = [event.kind for event in read_trace(converged[1])]
    assert kinds[:2] == ["run_started", "canary_checked"]
    assert kinds[-3:] == ["claimed", "sealed", "run_finished"]
    assert kinds.count("sealed") == 1


def test_a_folder_that_holds_a_run_is_refused_and_left_as_it_is(converged: tuple[RunResult, Path]) -> None:
    run_dir = converged[1]
    before = {p: p.read_bytes() for p in run_dir.rglob("*") if p.is_file()}
    backend = Scripted({})
    with pytest.raises((OSError, ValueError, RuntimeError), match=r"r\b"):
        start(SETTINGS.model_copy(update={"options": {"seed": 2}}), backend, run_dir)
    assert {p: p.read_bytes() for p in run_dir.rglob("*") if p.is_file()} == before
    assert not backend.asked


def test_refused_submissions_end_as_failed_with_report_and_reason(tmp_path: Path) -> None:
    script = dict(one_round())
    wrong = [call("submit", scores="none.parquet", window=[3, 4]), call("finish", summary="x")]
    result = one(SHORT, script | {"worker/0/s": wrong}, tmp_path / "r")
    assert "none.parquet" in ended(tmp_path / "r", "failed").reason
    assert result.steering is None


@pytest.mark.parametrize(
    ("budget", "said"),
    [
        ({"tokens": 25}, "30 of 25 tokens"),
        ({"model_calls": 3}, "3 of 3 model calls"),
        ({"dollars": 1.2}, "1.5 of 1.2 dollars"),
    ],
)
def test_a_spent_budget_stops_the_run(tmp_path: Path, budget: dict[str, float], said: str) -> None:
    settings = SETTINGS.model_copy(update={"budget": Budget.model_validate(budget), "workers": 1})
    one(settings, two_rounds(), tmp_path / "r", usage=Usage(prompt_tokens=10, dollars=0.5))
    finished = ended(tmp_path / "r", "budget")
    assert said in finished.reason
    assert finished.model_calls == 3
    assert not [e for e in read_trace(tmp_path / "r") if isinstance(e, Sealed)]


def test_a_lost_service_is_for_the_operator(tmp_path: Path) -> None:
    script = dict(two_rounds()) | {"worker/0/b": [BackendLost("the service is gone")]}
    one(SETTINGS, script, tmp_path / "r")
    assert ended(tmp_path / "r", "lost").reason == "the service is gone"
    assert [(t.who, t.where) for t in troubles(tmp_path / "r")][-1:] == [("operator", "worker/0/b")]


def test_a_defect_is_no_result_of_physics(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(TinyTask, "defect", True)
    result = one(SETTINGS, one_round(), tmp_path / "r")
    assert "ZeroDivisionError" in ended(tmp_path / "r", "lost").reason
    (trouble,) = troubles(tmp_path / "r")
    assert trouble.who == "programmer"
    assert 'raise ZeroDivisionError("a defect of the grader")' in trouble.text
    assert (result.iterations, result.claim, result.sealed) == ([], None, [])


@pytest.mark.parametrize("name", ["events.parquet", "more.txt"])
def test_inputs_that_change_during_a_run_spoil_it(tmp_path: Path, name: str) -> None:
    def tamper(event: Any) -> None:
        if isinstance(event, Claimed):
            with (tmp_path / "r" / "inputs" / name).open("ab") as file:
                file.write(b"signal: 0")

    start(SHORT, Scripted(one_round()), tmp_path / "r", [tamper])
    assert "inputs changed" in ended(tmp_path / "r", "lost").reason
    assert not [e for e in read_trace(tmp_path / "r") if isinstance(e, Sealed)]


def test_a_sandbox_that_leaks_gets_no_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    leak = CanaryVerdict(held=False, lines=["LEAK key: tried to find a key"])
    monkeypatch.setattr(sandboxes, "plant_and_probe", lambda *_: leak)
    backend = Scripted(two_rounds())
    start(SETTINGS, backend, tmp_path / "r")
    assert "LEAK key" in ended(tmp_path / "r", "lost").reason
    assert not backend.asked
    assert [e.held for e in read_trace(tmp_path / "r") if isinstance(e, CanaryChecked)] == [False]


def test_nothing_that_judges_or_pays_can_be_seen_from_inside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", SECRET)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "trace.jsonl").write_text("{}")
    root, run_dir = Path(catalogue.__file__).parents[1], tmp_path / "r"
    forbidden = [
        *(str(run_dir / name) for name in ("sealed/labels.parquet", "trace.jsonl", "inputs", ".")),
        *(str(root / name) for name in ("tasks", "tasks/lhco/sample", "agents", "sandbox", "pyproject.toml")),
        *(str(tmp_path / name) for name in ("other/trace.jsonl", "other")),
        *("/workspace/../sealed", "/inputs/../sealed", "/opt/beamcrew/tasks", "/opt/beamcrew/agents"),
        *(str(p) for p in Path.home().iterdir() if not Path(sys.base_prefix).is_relative_to(p)),
    ]
    code = f"""
import glob, json, os, subprocess, sys
seen = [p for p in {forbidden!r} if os.path.exists(p)]
for module in ("tasks", "agents", "sandbox", "tasks.lhco.truth"):
    try:
        __import__(module)
        seen.append(module)
    except ImportError:
        pass
texts = [repr(dict(os.environ)), open("/proc/mounts").read()]
for name in glob.glob("/proc/[0-9]*/environ") + glob.glob("/proc/[0-9]*/cmdline"):
    try:
        texts.append(open(name, "rb").read().decode(errors="replace"))
    except OSError:
        pass
key = "sk-canary-" + "0123456789abcdef"
print(json.dumps({{"seen": seen, "key": any(key in text for text in texts), "inputs": sorted(os.listdir("/inputs"))}}))
"""
    one(SHORT, one_round(python(code, "look.py")), run_dir)
    ended(run_dir, "exhausted")
    looked = next(e for e in read_trace(run_dir) if isinstance(e, Executed) and "look.py" in e.argv)
    blobs = blobs_of(run_dir)
    assert looked.exit_code == 0, blobs.get(looked.stderr).decode()
    found = json.loads(blobs.get(looked.stdout))
    assert found == {"seen": [], "key": False, "inputs": ["events.parquet"]}


def test_no_secret_reaches_the_folder_of_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not even one that the operator writes into the request, a service repeats, and a model puts into code."""
    monkeypatch.setenv("OPENAI_API_KEY", SECRET)
    monkeypatch.setenv("OTHER_SERVICE_TOKEN", SECRET[::-1])
    said = f"key {SECRET} and {SECRET[::-1]}"
    script = one_round(python(f"print({said!r}); open('note.txt', 'w').write({said!r})"), call("nonesuch", key=said))
    script = dict(script) | {"reporter": [said, BackendLost(f"refused: {said}")]}
    settings = SHORT.model_copy(update={"request": f"Is there anything? {said}"})
    one(settings, script, tmp_path / "r")
    ended(tmp_path / "r", "lost")
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) > 20
    leaks = [p for p in files if any(s.encode() in p.read_bytes() for s in (SECRET, SECRET[::-1]))]
    assert not leaks
    assert any(b"[redacted]" in p.read_bytes() for p in files)
    assert os.environ["OPENAI_API_KEY"] == SECRET
