"""The bench of a client: a run without a crew; the client calls tools in its sandbox, and its trace has each call."""

from __future__ import annotations

import threading
import time
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

from agents.backends.base import Usage
from agents.backends.select import secrets
from agents.mcp.roots import Roots, as_parquet
from agents.runs import sandboxes
from agents.runs.provenance import peak_memory, versions
from agents.runs.run import new_run_dir
from agents.runs.workbench import Workbench
from agents.trace.bench import step_folder
from agents.trace.events import RunFinished, RunStarted, StepStarted, Told, ToolCalled, Trouble
from agents.trace.record import Record
from agents.trace.recorders import RecordedWorkbench
from agents.trace.store import Store
from agents.trace.where import Where
from sandbox.docker import IMAGE
from sandbox.driver import INPUTS, WORKSPACE, Gpu, Kind, Limits, SandboxInfo, SandboxLost
from tools import journal
from tools.arrays import sha256
from tools.contract import Frozen

NAME = "bench"  # of the step, and in place of a task
WHERE = Where("worker", 0, NAME)
FOLDER = f"{WORKSPACE}/{step_folder(0, NAME)}"
ASKED = "tools called by a client of the Model Context Protocol"
CLOSED = "the bench was closed"


def written_by(event: ToolCalled) -> list[str]:
    """Return the files that a call has left, relative to the workspace, without the journal that each one writes."""
    return [path for path in event.files if PurePosixPath(path).name != journal.NAME]


class Stopped(RuntimeError):  # noqa: N818 - asked for
    """The client has cancelled the call."""


class Places(Frozen):
    """How the operator lets sandboxes be made."""

    kind: Kind = "auto"
    image: str = IMAGE
    gpu: Gpu = "auto"
    limits: Limits = Limits()


class ToolBench:
    """A sandbox and a trace, both made at the first call. Calls wait for each other: the files of one are inputs of the
    next, and the trace says which call wrote what. Thread-safe.
    """

    def __init__(self, runs: Path, roots: Roots, places: Places) -> None:
        self._runs, self._roots, self._places = runs, roots, places
        self._busy = threading.Lock()
        self._store: Store | None = None
        self._work: Workbench | None = None
        self._recorded: RecordedWorkbench | None = None  # None: the next call makes a sandbox
        self._current: threading.Event | None = None  # of the call in progress
        self._calls, self._began = 0, time.monotonic()

    @property
    def run_dir(self) -> Path | None:
        """The folder of its trace, once it has one."""
        return self._store.run_dir if self._store else None

    def call(self, tool: str, arguments: dict[str, Any], stopped: threading.Event) -> ToolCalled:
        """Call a tool and return the recorded event. Raises Stopped once `stopped` is set, SandboxLost, UnsafeFile."""
        with self._busy:
            self._current = stopped
            try:
                recorded = self._ready()
                if stopped.is_set():
                    raise Stopped(tool)
                self._calls += 1
                return recorded.call(WHERE, tool, arguments, self._calls, cwd=FOLDER)
            except SandboxLost:
                if not stopped.is_set():
                    raise
                raise Stopped(tool) from None
            finally:
                self._current = None
                if stopped.is_set():
                    self._drop(f"{tool}: cancelled by the client")

    def stop(self, stopped: threading.Event) -> None:
        """End the call that `stopped` belongs to, and the processes of its command. To be repeated until it has ended:
        a command that is just being started may be missed."""
        stopped.set()
        if self._current is stopped and (work := self._work):
            work.close()

    def add(self, path: str) -> list[Path]:
        """Copy a file of the operator's for the sandbox, and a table also as parquet; return the copies, which the
        sandbox sees in /inputs. Raises ToolError, SandboxLost."""
        with self._busy:
            self._ready()
            assert self._store
            copy = self._roots.copied("path", path, sandboxes.searching(self._store.run_dir).inputs)
            made = [copy, *filter(None, [as_parquet(copy)])]
            for each in made:
                facts = {"file": f"{INPUTS}/{each.name}", "copy_of": path, "sha256": sha256(each)}
                self._store.append(Told(where=WHERE, facts=facts))
            return made

    def files(self) -> tuple[list[str], list[str]]:
        """Return the paths, as the sandbox sees them, of the copied files and of those that calls have left."""
        inputs, made = dict[str, None](), dict[str, None]()
        for event in self._store.events() if self._store else ():
            if isinstance(event, Told):
                inputs[event.facts["file"]] = None
            elif isinstance(event, ToolCalled):
                made |= {f"{WORKSPACE}/{path}": None for path in written_by(event)}
                for path in event.gone:
                    made.pop(f"{WORKSPACE}/{path}", None)
        return list(inputs), list(made)

    def close(self) -> None:
        """End what runs and record the end."""
        if work := self._work:
            work.close()
        with self._busy:
            self._drop()
            if self._store is None:
                return
            self._store.append(
                RunFinished(
                    status="interrupted",
                    reason=CLOSED,
                    seconds=time.monotonic() - self._began,
                    usage=Usage(),
                    model_calls=0,
                    peak_memory_mib=peak_memory(self._store),
                )
            )
            self._store.close()
            self._store = None

    def _ready(self) -> RecordedWorkbench:
        """Return a bench that works, with the files that finished calls have left. Raises SandboxLost."""
        if self._recorded is None:
            run_dir = self._store.run_dir if self._store else new_run_dir(self._runs, NAME).resolve()
            place, gpu = sandboxes.searching(run_dir), self._places.gpu
            for folder in (*place, run_dir / "sealed"):  # the last one for canaries: there are no labels
                folder.mkdir(parents=True, exist_ok=True)
            sandbox = sandboxes.first(place, self._places.kind, self._places.limits, self._places.image, gpu)
            store = self._store = self._store or self._begun(run_dir, sandbox.info)
            self._work = Workbench(sandbox, partial(sandboxes.fresh, store, place, sandbox.info, gpu))
            recorded = RecordedWorkbench(self._work, store, Record())
            try:
                sandboxes.probe(sandbox, store)
                for event in store.events():
                    if isinstance(event, ToolCalled):
                        recorded.play(event, {}, None)
            except BaseException:
                self._drop()
                raise
            self._recorded = recorded
        return self._recorded

    def _begun(self, run_dir: Path, sandbox: SandboxInfo) -> Store:
        store = Store.create(run_dir, secrets())
        store.append(
            RunStarted(
                run=run_dir.name,
                request=ASKED,
                task=NAME,
                options={},
                facts={"roots": [str(folder) for folder in self._roots.folders]},
                inputs={},
                backend="mcp",
                is_llm=True,  # as far as anyone knows
                sandbox=sandbox,
                gpu=self._places.gpu,
                budget={},
                seed=0,
                versions=versions(),
                prompts={},
            )
        )
        store.append(StepStarted(iteration=0, step=NAME))
        return store

    def _drop(self, why: str = "") -> None:
        """Give up the sandbox; the next call makes another."""
        if self._work:
            self._work.close()
        self._work = self._recorded = None
        if why and self._store:
            self._store.append(Trouble(who="operator", where=WHERE, text=why))
