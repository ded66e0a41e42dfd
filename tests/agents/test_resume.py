"""A run that stopped, however it stopped, goes on to the same end: no call paid twice, no command run twice."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import scripted
from killed import COST, SAME, SETTINGS, commands, facts, lines
from scripted import SCRIPTS, Scripted, TinyTask, two_rounds

from agents.backends.base import BackendLost
from agents.crew import graph
from agents.crew.budget import Budget
from agents.runs import sandboxes
from agents.runs.run import resume, start
from agents.trace.events import Executed, ModelCalled, RunFinished, Trouble
from agents.trace.result import RunResult
from agents.trace.store import TRACE, TraceError, read_trace
from sandbox import select
from sandbox.driver import Limits, SandboxLost


def go_on(folder: Path, whole: tuple[RunResult, Path]) -> RunResult:
    """Resume: the end and all events are those of the uninterrupted run, and only calls without a reply are made."""
    replies = Counter(f"{e.where} {e.key}" for e in read_trace(folder / "run") if isinstance(e, ModelCalled))
    (folder / "more").touch()
    result = resume(folder / "run", Scripted(two_rounds(), folder / "more", COST))
    assert result.model_dump(include=SAME) == whole[0].model_dump(include=SAME)
    assert facts(folder / "run") == facts(whole[1] / "run")
    assert set(commands(folder / "run").values()) == {1}
    assert lines(folder / "more") == lines(whole[1] / "calls") - replies
    return result


def killed_at(n: int, folder: Path) -> None:
    """Run in a process of its own, which dies without a word when the n-th event has been written."""

    def die(event: Any) -> None:
        if event.index == n:
            os.kill(os.getpid(), signal.SIGKILL)

    def child() -> None:
        start(SETTINGS, Scripted(two_rounds(), folder / "calls", COST), folder / "run", [die])

    process = multiprocessing.get_context("fork").Process(target=child)
    process.start()
    process.join(60)
    assert process.exitcode == -signal.SIGKILL


@pytest.mark.parametrize("n", [0, 6, 15, 29])
def test_a_killed_run_goes_on_to_the_same_end(tmp_path: Path, whole: tuple[RunResult, Path], n: int) -> None:
    killed_at(n, tmp_path)
    assert len(read_trace(tmp_path / "run")) == n + 1
    assert not (tmp_path / "run" / "result.json").exists()
    go_on(tmp_path, whole)


def test_a_run_killed_between_its_end_and_its_report_gets_the_report(
    tmp_path: Path, whole: tuple[RunResult, Path]
) -> None:
    end = len(read_trace(whole[1] / "run")) - 1
    killed_at(end, tmp_path)
    trace = (tmp_path / "run" / TRACE).read_bytes()
    result = resume(tmp_path / "run", Scripted({}))
    assert result.model_dump(include=SAME) == whole[0].model_dump(include=SAME)
    assert (tmp_path / "run" / "report.html").exists()
    assert (tmp_path / "run" / TRACE).read_bytes() == trace


def test_a_run_killed_before_its_last_word_is_sealed_once(tmp_path: Path, whole: tuple[RunResult, Path]) -> None:
    killed_at(len(read_trace(whole[1] / "run")) - 2, tmp_path)
    go_on(tmp_path, whole)
    assert sum(e.kind == "sealed" for e in read_trace(tmp_path / "run")) == 1


def test_a_run_killed_twice_in_half_a_line_goes_on_as_well(tmp_path: Path, whole: tuple[RunResult, Path]) -> None:
    killed_at(12, tmp_path)
    with (tmp_path / "run" / TRACE).open("ab") as trace:
        trace.write(b'{"kind":"executed","key')
    lost = Scripted(dict(two_rounds()) | {"worker/1/c": [BackendLost("gone")]}, tmp_path / "calls", COST)
    assert resume(tmp_path / "run", lost).status == "lost"
    assert any("cut short" in e.text for e in read_trace(tmp_path / "run") if isinstance(e, Trouble))
    go_on(tmp_path, whole)


def test_files_of_the_workspace_come_back_from_the_trace(tmp_path: Path, whole: tuple[RunResult, Path]) -> None:
    killed_at(29, tmp_path)
    files = [path for path in (tmp_path / "run" / "workspace").rglob("*") if path.is_file()]
    assert any(path.name == "scores.parquet" for path in files)
    for path in files:
        path.unlink()
    go_on(tmp_path, whole)


def test_a_spent_budget_is_still_spent_and_a_higher_one_goes_on(tmp_path: Path, whole: tuple[RunResult, Path]) -> None:
    def backend() -> Scripted:
        return Scripted(two_rounds(), tmp_path / "calls", COST)

    settings = SETTINGS.model_copy(update={"budget": Budget(dollars=4), "workers": 1})
    assert start(settings, backend(), tmp_path / "run").status == "budget"
    calls = (tmp_path / "calls").read_text()
    assert len(calls.splitlines()) == 8
    assert resume(tmp_path / "run", backend()).status == "budget"
    assert (tmp_path / "calls").read_text() == calls, "what was recorded is not paid again, and nothing more is bought"
    result = resume(tmp_path / "run", backend(), Budget(dollars=400))
    assert result.status == "converged"
    assert result.cost == whole[0].cost
    assert max(lines(tmp_path / "calls").values()) == 1


def test_the_time_of_all_sessions_counts(tmp_path: Path) -> None:
    def slow(request: Any) -> Any:
        time.sleep(1.1)
        return two_rounds()["planner/0"][0]

    script = dict(two_rounds()) | {"planner/0": [slow]}
    settings = SETTINGS.model_copy(update={"budget": Budget(seconds=1)})
    assert start(settings, Scripted(script), tmp_path / "run").status == "budget"
    again = Scripted(script)
    assert resume(tmp_path / "run", again).status == "budget"
    assert not again.asked
    assert resume(tmp_path / "run", again, Budget(seconds=1000)).status == "converged"


def test_a_lost_service_and_a_mended_defect_can_be_resumed(
    tmp_path: Path, whole: tuple[RunResult, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(TinyTask, "defect", True)
    assert start(SETTINGS, Scripted(two_rounds(), tmp_path / "calls", COST), tmp_path / "run").status == "lost"
    monkeypatch.setattr(TinyTask, "defect", False)
    go_on(tmp_path, whole)


def test_a_request_that_holds_a_secret_is_not_paid_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-canary-0123456789")
    settings = SETTINGS.model_copy(update={"request": "Use sk-canary-0123456789"})
    script = dict(two_rounds()) | {"reporter": [BackendLost("gone")]}
    start(settings, Scripted(script, tmp_path / "calls"), tmp_path / "run")
    first = (tmp_path / "calls").read_text()
    assert resume(tmp_path / "run", Scripted(two_rounds(), tmp_path / "calls")).status == "converged"
    assert {line.split()[0] for line in (tmp_path / "calls").read_text()[len(first) :].splitlines()} == {"reporter"}


def test_the_choice_of_a_gpu_and_the_limits_are_those_of_the_beginning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = SETTINGS.model_copy(update={"gpu": "none", "limits": Limits(memory_mib=1234)})
    lost = dict(two_rounds()) | {"reporter": [BackendLost("gone")]}
    assert start(settings, Scripted(lost), tmp_path / "run").status == "lost"
    asked: list[tuple[Any, ...]] = []

    def choose(kind: str, *folders: Any, image: str, gpu: Any) -> Any:
        asked.append((kind, folders[-1].memory_mib, gpu))
        return select.choose(kind, *folders, image=image, gpu=gpu)  # type: ignore[arg-type]

    monkeypatch.setattr(sandboxes, "choose", choose)
    assert resume(tmp_path / "run", Scripted(two_rounds())).status == "converged"
    assert asked == [("bubblewrap", 1234, "none")]


def test_an_ended_run_is_not_resumed(whole: tuple[RunResult, Path]) -> None:
    with pytest.raises(ValueError, match=r"run run has ended \(converged\): there is nothing to resume"):
        resume(whole[1] / "run", Scripted(two_rounds()))


def test_another_backend_does_not_go_on(tmp_path: Path) -> None:
    killed_at(2, tmp_path)
    other = Scripted({})
    other.name = "other"  # type: ignore[misc]
    with pytest.raises(ValueError, match="backend=other: run run was made with scripted; resume with the same"):
        resume(tmp_path / "run", other)
    assert len(read_trace(tmp_path / "run")) == 3


def test_inputs_that_changed_between_sessions_stop_a_resume_before_anything_is_spent(tmp_path: Path) -> None:
    killed_at(10, tmp_path)
    with (tmp_path / "run" / "inputs" / "events.parquet").open("ab") as file:
        file.write(b"x")
    backend = Scripted(two_rounds())
    result = resume(tmp_path / "run", backend)
    assert (result.status, result.sealed, backend.asked) == ("lost", [], [])
    assert "inputs changed" in result.reason


@pytest.mark.parametrize("folder", [".", "none"])
def test_a_folder_without_a_trace_is_refused_and_left_empty(tmp_path: Path, folder: str) -> None:
    with pytest.raises(TraceError, match=r"trace\.jsonl: cannot be read: No such file"):
        resume(tmp_path / folder, Scripted({}))
    assert not list(tmp_path.iterdir())


def wait_for(found: Callable[[], Any], process: subprocess.Popen[str]) -> None:
    while not found():
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)


@pytest.mark.parametrize("error", [SandboxLost("closed"), RuntimeError("closed")])
def test_what_comes_out_of_a_stop_is_the_stop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """The stop closes the sandbox, which a step may notice before the interrupt is seen: nothing was lost by itself."""

    class Graph:
        def invoke(self, *_: Any) -> None:
            with contextlib.suppress(KeyboardInterrupt):
                os.kill(os.getpid(), signal.SIGTERM)
                time.sleep(10)
            raise error

    monkeypatch.setattr(graph, "build", lambda crew: Graph())
    result = start(SETTINGS, Scripted(SCRIPTS["plain"], tmp_path / "calls"), tmp_path / "r")
    assert result.status == "interrupted"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_run_stopped_by_a_signal_says_so_and_goes_on(
    tmp_path: Path, whole: tuple[RunResult, Path], number: signal.Signals
) -> None:
    words = [sys.executable, scripted.__file__, "slow", str(tmp_path / "calls"), "run", "--task", "tiny"]
    words += ["--sandbox", "bubblewrap", "--runs", str(tmp_path / "runs"), SETTINGS.request]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            wait_for(lambda: list(tmp_path.glob("runs/*/workspace/i0/c/begun")), process)
            process.send_signal(number)
            out, err = process.communicate(timeout=60)
        finally:
            process.kill()
    (run_dir,) = (tmp_path / "runs").iterdir()
    assert process.returncode == 130, err
    assert "Traceback" not in err
    assert out == ""
    assert f"beamcrew resume {run_dir}" in err
    last = read_trace(run_dir)[-1]
    assert isinstance(last, RunFinished)
    assert last.status == "interrupted"
    assert "interrupted" in (run_dir / "report.md").read_text()
    if number == signal.SIGTERM:
        return  # it goes on as after SIGINT
    before = (tmp_path / "calls").read_text()
    result = resume(run_dir, Scripted(SCRIPTS["slow"], tmp_path / "calls"))
    assert result.model_dump(include=SAME - {"cost"}) == whole[0].model_dump(include=SAME - {"cost"})
    calls = (tmp_path / "calls").read_text()
    assert calls.startswith(before)
    assert max(Counter(calls.splitlines()).values()) == 1
    events = read_trace(run_dir)
    assert len([e for e in events if isinstance(e, ModelCalled)]) == len(calls.splitlines()) == 14
    assert len([e for e in events if isinstance(e, Executed)]) == 4
