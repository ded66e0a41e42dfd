"""Carry out the cells of a study, each in a process of its own: here, or on the workers of a Dask cluster.

A cell whose process was killed, or that lost its service or sandbox, is retried by the rules of `ledger.py`. All state
is in the study's folder: the process that carries out the study may be killed and restarted, and two may work on the
same study at a time.
"""

from __future__ import annotations

import importlib
import itertools
import os
import subprocess
import sys
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from agents.studies.cell import BUSY, INTERRUPTED, LOG, LOST, SPENT, WRONG
from agents.studies.cells import backend_in, cells_of
from agents.studies.ledger import Ledger
from agents.studies.outcome import OUTCOME, read_outcome
from agents.studies.rests import Rest, resting
from agents.studies.study import STUDY, Study, first_difference
from agents.trace.store import TRACE
from sandbox.driver import Kind
from tasks import salt
from tools.contract import Frozen
from tools.files import write_whole

PROGRAM = [sys.executable, "-m", "agents.studies.cell"]
TICK = 0.02  # seconds between two checks of the processes
PATIENCE = 30.0  # seconds that a process may take to stop
KILLS = 20  # how often a cell may be killed from outside before the study is stopped
AGAIN = {LOST: "lost", SPENT: "quota spent", BUSY: "busy", INTERRUPTED: "stopped"}
Told = Callable[[str, str], None]


class Machine(Frozen):
    """The operator's choices for this machine, which are not part of the study."""

    data: str | None = None
    sandbox: Kind = "auto"

    def arguments(self) -> list[str]:
        return ["--sandbox", self.sandbox, *(["--data", self.data] if self.data else [])]


def open_folder(study: Study, runs: Path) -> Path:
    """Return the study's folder, creating it if needed. Raises ValueError if it contains another study or a run."""
    folder = (runs / study.name).resolve()
    path = folder / STUDY
    if path.exists():
        before = Study.model_validate_json(path.read_bytes())
        if before.sha256() != study.sha256():
            changed = first_difference(before.canonical(), study.canonical())
            raise ValueError(
                f"{folder}: contains study {before.sha256()[:12]}, which differs from {study.sha256()[:12]}, this one: "
                f"{changed}. A study must not change once it has begun; give it another name"
            )
        return folder
    if (folder / TRACE).exists():
        raise ValueError(f"{folder}: contains a run, not a study; give the study another name")
    folder.mkdir(parents=True, exist_ok=True)
    if not salt.kept(folder):
        salt.keep(folder, salt.fresh())  # before study.json exists: all cells must use the same salt
    write_whole(path, (study.model_dump_json(indent=1) + "\n").encode())
    return folder


def forgive(study: Study, folder: Path) -> None:
    """Reset cells given up for lack of a service or sandbox, so that they are retried: they are not results."""
    for cell in cells_of(study):
        outcome = read_outcome(folder / cell.name)
        if outcome and outcome.missing:
            with Ledger(folder / cell.name) as ledger:
                ledger.forgive()
                (folder / cell.name / OUTCOME).unlink()


def rests(study: Study, folder: Path) -> dict[str, Rest]:
    """Return the backends whose service has no quota left: name -> rest."""
    found = {arm.name: resting(folder, arm) for arm in study.backends}
    return {name: rest for name, rest in found.items() if rest}


def execute(folder: str, name: str, arguments: Sequence[str]) -> int:
    """Run a cell's process, on a cluster's worker, and return its exit status. Output is appended to the cell's log."""
    process = _begin(Path(folder), name, arguments)
    try:
        return process.wait()
    finally:
        _stop([process])


def ready(waiting: Sequence[str], running: Sequence[str], most: Mapping[str, int]) -> str | None:
    """Return the first waiting cell whose backend has fewer cells running than `most` allows; None if there is none.

    >>> ready(["a/w/d/1", "b/w/d/0"], ["a/w/d/0"], {"a": 1})
    'b/w/d/0'
    """
    at_work = Counter(map(backend_in, running))
    free = (name for name in waiting if (arm := backend_in(name)) not in most or at_work[arm] < most[arm])
    return next(free, None)


def locally(
    folder: Path,
    names: Sequence[str],
    workers: int,
    machine: Machine,
    tell: Told,
    most: Mapping[str, int] | None = None,
) -> dict[str, Rest]:
    """Carry out the cells in processes on this machine, `workers` at a time and at most `most[backend]` per backend.

    Return when all are done but those whose service has no quota left: backend -> rest. Raises ValueError, like
    `_verdict`.
    """
    study = Study.model_validate_json((folder / STUDY).read_bytes())
    waiting, running = deque(names), dict[str, subprocess.Popen[bytes]]()
    kills: Counter[str] = Counter()
    try:
        while True:
            at_rest = rests(study, folder)
            allowed = dict(most or {}) | dict.fromkeys(at_rest, 0)
            while len(running) < workers and (name := ready(waiting, list(running), allowed)):
                waiting.remove(name)
                running[name] = _begin(folder, name, machine.arguments())
                tell(name, "running")
            if not running:
                return at_rest
            time.sleep(TICK)
            for name, process in list(running.items()):
                code = process.poll()
                if code is not None:
                    _stop([running.pop(name)])
                    said = _verdict(folder, name, code, kills)
                    tell(name, said)
                    if said != "done":
                        waiting.append(name)
    finally:
        _stop(running.values())


def on_cluster(
    folder: Path, names: Sequence[str], scheduler: str, machine: Machine, tell: Told, gpu: bool = False
) -> dict[str, Rest]:
    """Carry out all cells on the workers of a Dask cluster, which must see the same folders and have the same keys.

    `scheduler`: its address, or the file written by `dask scheduler --scheduler-file`. With `gpu`, a cell takes one
    unit of the resource GPU. Cells running when this process ends still finish. Returns and raises like `locally`.
    """
    try:
        distributed: Any = importlib.import_module("distributed")
    except ImportError:
        raise ValueError("scheduler: needs Dask; pip install 'beamcrew[cluster]'") from None
    place: dict[str, Any] = {"scheduler_file": scheduler} if Path(scheduler).is_file() else {"address": scheduler}
    study = Study.model_validate_json((folder / STUDY).read_bytes())
    kills: Counter[str] = Counter()
    number, parked, at_rest = itertools.count(), list[str](), dict[str, Rest]()
    with distributed.Client(**place, set_as_default=False) as client:

        def submit(name: str) -> Any:
            return client.submit(
                execute,
                str(folder),
                name,
                machine.arguments(),
                key=f"{folder.name}/{name}-{next(number)}-{time.time_ns()}",
                pure=False,
                resources={"GPU": 1} if gpu else None,
            )

        names_of = {submit(name): name for name in names}
        finished = distributed.as_completed(list(names_of), loop=client.loop)
        for future in finished:
            name = names_of.pop(future)
            try:
                code = future.result()
            except distributed.KilledWorker:
                code = -9
            said = _verdict(folder, name, code, kills)
            tell(name, said)
            if said != "done":
                parked.append(name)
            at_rest = rests(study, folder)
            for name in [name for name in parked if backend_in(name) not in at_rest]:
                parked.remove(name)
                again = submit(name)
                names_of[again] = name
                finished.add(again)
    return at_rest


def _verdict(folder: Path, name: str, code: int, kills: Counter[str]) -> str:
    """Interpret an exit status. Raises ValueError, with the cell's last log line, if a retry would not help."""
    if (folder / name / OUTCOME).exists():
        return "done"
    if code == WRONG:
        raise ValueError(_last_line(folder / name / LOG).removeprefix("error: "))
    if code in AGAIN:
        return AGAIN[code]
    kills[name] += 1
    if code < 0 and kills[name] <= KILLS:
        return "killed"
    log = folder / name / LOG
    raise ValueError(f"{name}: its process ended with status {code}: {_last_line(log)}; see {log}")


def _begin(folder: Path, name: str, arguments: Sequence[str]) -> subprocess.Popen[bytes]:
    run_dir = folder / name
    run_dir.mkdir(parents=True, exist_ok=True)
    with (run_dir / LOG).open("ab") as log:
        # A session of its own: Ctrl-C reaches only this process, which stops the others by closing their input.
        return subprocess.Popen(
            [*PROGRAM, str(folder), name, *arguments],
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            env=os.environ | {"OMP_NUM_THREADS": "1"},  # for the harness; the study sets the sandbox's cores
            start_new_session=True,
        )


def _stop(processes: Any) -> None:
    """Stop processes as on Ctrl-C, which leaves their runs resumable; kill those that take too long."""
    for process in (processes := list(processes)):
        process.stdin.close()
    deadline = time.monotonic() + PATIENCE
    for process in processes:
        try:
            process.wait(max(0.1, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _last_line(log: Path) -> str:
    lines = log.read_text(errors="replace").split("\n")
    return next((line for line in reversed(lines) if line.strip()), "no output")
