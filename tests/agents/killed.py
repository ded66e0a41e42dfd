"""Runs that are killed again and again: each session is a process of its own, and what must hold after every kill."""

from __future__ import annotations

import contextlib
import ctypes
import multiprocessing
import os
import random
import shutil
import signal
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil

from agents.backends.base import Backend, Usage
from agents.runs.run import Settings, resume, start
from agents.trace.events import (
    CanaryChecked,
    Executed,
    ModelCalled,
    RunFinished,
    RunResumed,
    RunStarted,
    Trouble,
)
from agents.trace.record import identity, of_session
from agents.trace.store import TraceError, read_trace

# No salt: the same run, made again, is to be the same in all it seals.
SETTINGS = Settings(request="Is there anything?", task="tiny", sandbox="bubblewrap", salt="")
COST = Usage(prompt_tokens=10, dollars=0.5)
SAME = {"iterations", "best_iteration", "steering", "sealed", "claims", "claim", "status", "reason", "cost", "options"}
SUBREAPER = 36  # PR_SET_CHILD_SUBREAPER
PATIENCE = 30.0  # seconds; the kernel ends what is left in a sandbox, an engine its container, and both take a moment
Listener = Callable[[Any], None]


def facts(run_dir: Path) -> Counter[tuple[str, str]]:
    """Everything a trace says but for sessions: when they began, ended, in which sandbox, and what went wrong."""
    sessions = RunStarted | RunResumed | CanaryChecked | RunFinished
    events = [e for e in read_trace(run_dir) if not isinstance(e, sessions)]
    return Counter(identity(e) for e in events if not (isinstance(e, Trouble) and e.who != "model"))


def commands(run_dir: Path) -> Counter[str]:
    """How often each command was recorded."""
    return Counter(e.key + e.where for e in read_trace(run_dir) if isinstance(e, Executed))


def lines(log: Path) -> Counter[str]:
    return Counter(log.read_text().splitlines())


class Life:
    """A run in `folder/run`, from its start to its end, by as many sessions as it takes.

    `backend` is made anew for each session and logs every call, as `Scripted` does, to the path that it is given.
    """

    def __init__(self, folder: Path, settings: Settings, backend: Callable[[Path], Backend]) -> None:
        self.folder, self.run_dir = folder, folder / "run"
        self._settings, self._backend = settings, backend
        self.kills = 0
        self.asked = Counter[str]()  # calls to the model, in all sessions
        (folder / "temporary").mkdir(parents=True)

    @property
    def over(self) -> bool:
        return (self.run_dir / "result.json").exists()

    def recorded(self) -> list[Any]:
        try:
            return list(read_trace(self.run_dir))
        except TraceError:
            return []  # killed before its first event: such a folder is no run yet

    def at_boundaries(self, stride: int = 1) -> None:
        """To its end, killed whenever a session has written so many new events."""
        while not self.over:
            self._session(self._death(stride), 600)

    def at_any_instant(self, chance: random.Random, kills: int, longest: float) -> None:
        """To its end, so often killed at random; sessions of `longest` seconds, longer where nothing gets done."""
        patience = longest
        while not self.over:
            before = self._progress()
            self._session(None, chance.uniform(0.05, patience) if self.kills < kills else 3600)
            patience = longest if self._progress() > before else 1.5 * patience

    def _progress(self) -> int:
        return sum(not of_session(event) for event in self.recorded())

    def _death(self, stride: int) -> Listener:
        first, count = len(self.recorded()), iter(range(1, 1000))

        def die(event: Any) -> None:
            counts = not of_session(event) or isinstance(event, RunStarted | RunFinished)
            if event.index >= first and counts and next(count) == stride:
                os.kill(os.getpid(), signal.SIGKILL)

        return die

    def _session(self, listener: Listener | None, seconds: float) -> None:
        events = self.recorded()
        if not events:
            shutil.rmtree(self.run_dir, ignore_errors=True)
        log = self.folder / "calls"
        log.write_text("")
        listeners = [listener] if listener else []

        def child() -> None:
            tempfile.tempdir = str(self.folder / "temporary")
            if events:
                resume(self.run_dir, self._backend(log), listeners=listeners)
            else:
                start(self._settings, self._backend(log), self.run_dir, listeners)

        with no_orphans():
            process = multiprocessing.get_context("fork").Process(target=child)
            process.start()
            process.join(seconds)
            process.kill()
            process.join()
        assert process.exitcode in (0, -signal.SIGKILL)
        self.kills += process.exitcode != 0
        paid = Counter(f"{event.where} {event.key}" for event in events if isinstance(event, ModelCalled))
        assert not lines(log) & paid, "a reply that was recorded has been asked for again"
        self.asked += lines(log)
        assert self.recorded()[: len(events)] == events, "what was recorded stays"
        assert not list((self.folder / "temporary").iterdir())


@contextlib.contextmanager
def no_orphans() -> Iterator[None]:
    """Whatever outlives a process that was begun and killed meanwhile becomes a child of this one: it must end soon."""
    control, me = ctypes.CDLL(None).prctl, psutil.Process()
    before = {child.pid for child in me.children()}
    control(SUBREAPER, 1)
    try:
        yield
        deadline = time.monotonic() + PATIENCE
        while left := [child for child in me.children(recursive=True) if child.pid not in before]:
            assert time.monotonic() < deadline, left
            for child in left:
                with contextlib.suppress(ChildProcessError):
                    os.waitpid(child.pid, os.WNOHANG)
            time.sleep(0.01)
    finally:
        control(SUBREAPER, 0)
