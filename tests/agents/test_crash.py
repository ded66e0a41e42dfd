"""A run that is killed again and again, at the boundary of events and at any instant, comes to the same end.

About 20 kills; `BEAMCREW_KILLS=120 pytest tests/agents/test_crash.py` kills that often, at every boundary.
"""

from __future__ import annotations

import multiprocessing
import os
import random
import shutil
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from scripted import Scripted, TinyTask, two_rounds
from test_resume import COST, SAME, SETTINGS, facts, lines

from agents.replay import replay
from agents.run import resume, start
from agents.trace.events import Executed, ModelCalled
from agents.trace.record import of_session
from agents.trace.result import RunResult
from agents.trace.store import TraceError, read_trace
from agents.trace.verify import verified
from tasks import catalogue

KILLS = int(os.environ.get("BEAMCREW_KILLS", "20"))
STRIDE = 4 if KILLS <= 20 else 1  # new events a session may write before it is killed at the boundary of one
LONGEST = 1.5  # seconds that a session lives at most when it is killed at any instant
Listener = Callable[[Any], None]


@pytest.fixture(autouse=True)
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(catalogue.TASKS, "tiny", TinyTask)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[RunResult, Path]]:
    """The same run, left in peace."""
    folder = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(catalogue.TASKS, "tiny", TinyTask)
        yield start(SETTINGS, Scripted(two_rounds(), folder / "calls", COST), folder / "run"), folder


def recorded(folder: Path) -> list[Any]:
    try:
        return list(read_trace(folder / "run"))
    except TraceError:
        return []  # killed before its first event: such a folder is no run yet


def session(folder: Path, listener: Listener | None, seconds: float) -> bool:
    """Start or go on, in a process of its own, killed by its listener or after a time; True when it came to its end."""
    events = recorded(folder)
    if not events:
        shutil.rmtree(folder / "run", ignore_errors=True)
    (folder / "calls").write_text("")
    listeners = [listener] if listener else []

    def child() -> None:
        backend = Scripted(two_rounds(), folder / "calls", COST)
        if events:
            resume(folder / "run", backend, listeners=listeners)
        else:
            start(SETTINGS, backend, folder / "run", listeners)

    paid = Counter(f"{event.where} {event.key}" for event in events if isinstance(event, ModelCalled))
    process = multiprocessing.get_context("fork").Process(target=child)
    process.start()
    process.join(seconds)
    if process.is_alive():
        process.kill()
        process.join()
    assert process.exitcode in (0, -signal.SIGKILL)
    assert not lines(folder / "calls") & paid, "a reply that was recorded has been asked for again"
    assert recorded(folder)[: len(events)] == events, "what was recorded stays"
    no_orphans(folder)
    return process.exitcode == 0


def no_orphans(folder: Path) -> None:
    """The kernel ends what is left in the sandbox; it may take a moment."""
    deadline = time.monotonic() + 10
    while left := [
        p.info for p in psutil.process_iter(["cmdline"]) if str(folder) in " ".join(p.info["cmdline"] or ())
    ]:
        assert time.monotonic() < deadline, left
        time.sleep(0.02)


def at_a_boundary(folder: Path) -> Listener:
    """Dies when the session has written so many events that are no formalities."""
    first, count = len(recorded(folder)), iter(range(1, 1000))

    def die(event: Any) -> None:
        if event.index >= first and not of_session(event) and next(count) == STRIDE:
            os.kill(os.getpid(), signal.SIGKILL)

    return die


def life(folder: Path, chance: random.Random | None) -> int:
    """A run from its start to its end, by as many sessions as it takes; how often it was killed."""
    folder.mkdir()
    for kills in range(1000):
        if (folder / "run" / "result.json").exists():  # killed when all was done
            return kills
        if chance and kills < KILLS:
            done = session(folder, None, chance.uniform(0.05, LONGEST))
        else:
            done = session(folder, None if chance else at_a_boundary(folder), 60)
        if done:
            return kills
    raise AssertionError("it never ends")


def test_however_often_it_is_killed_a_run_comes_to_the_same_end(tmp_path: Path, whole: tuple[RunResult, Path]) -> None:
    chance, kills, lives = random.Random(1), 0, 0
    while kills < KILLS:
        folder = tmp_path / str(lives)
        kills += life(folder, chance if lives else None)
        lives += 1
        result = RunResult.model_validate_json((folder / "run" / "result.json").read_text())
        assert result.model_dump(include=SAME) == whole[0].model_dump(include=SAME)
        assert facts(folder / "run") == facts(whole[1] / "run")
        assert (folder / "run" / "report.html").is_file()
        commands = Counter(e.key + e.where for e in recorded(folder) if isinstance(e, Executed))
        assert set(commands.values()) == {1}
        assert verified(folder / "run")
        assert replay(folder / "run", tmp_path / f"{lives}-replay").agrees
