"""A study on a Dask cluster of real processes on loopback: a worker that is killed is made up for by the other."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from test_carry_out import HERE, ONE, TINY, at_work, begun, check_each_once, let_go, wait_for
from tiny_cell import StudyTask, study

from agents.studies.board import Board
from agents.studies.carry_out import on_cluster, open_folder
from tasks import catalogue

PRELOAD = f"import sys\nfrom agents.studies import carry_out\ncarry_out.PROGRAM = [sys.executable, {str(TINY)!r}]\n"
pytestmark = pytest.mark.timeout(900)
SLOW = "slow/only/none/0"


@pytest.fixture
def scheduler(tmp_path: Path) -> Iterator[Path]:
    """The scheduler file of a cluster with two workers that have a GPU each, as far as Dask knows."""
    file, preload = tmp_path / "scheduler.json", tmp_path / "preload.py"
    preload.write_text(PRELOAD)
    dask = [sys.executable, "-m", "dask"]
    worker = [*dask, "worker", "--scheduler-file", str(file), "--nthreads", "1", "--no-nanny", "--no-dashboard"]
    worker += ["--resources", "GPU=1", "--host", "127.0.0.1", "--preload", str(preload)]
    first = [*dask, "scheduler", "--scheduler-file", str(file), "--host", "127.0.0.1", "--port", "0", "--no-dashboard"]
    with (tmp_path / "dask.log").open("w") as log:
        processes = [subprocess.Popen(first, cwd=tmp_path, stdout=log, stderr=log)]
        wait_for(file.exists)
        processes += [subprocess.Popen(worker, cwd=tmp_path, stdout=log, stderr=log) for _ in range(2)]
        yield file
        for process in processes:
            process.kill()
            process.wait()


@pytest.mark.slow
def test_a_killed_worker_costs_no_cell_and_no_cell_is_run_twice(
    tmp_path: Path, scheduler: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(catalogue.catalogue(), "study-tiny", StudyTask)
    chosen = study(**ONE)
    folder, killed = open_folder(chosen, tmp_path), []

    def kill() -> None:
        wait_for(lambda: begun(folder, SLOW))
        cell = next(p for p in at_work(folder) if SLOW in p.cmdline())
        worker = cell.parent()
        assert worker is not None
        killed.append(worker.pid)
        worker.kill()
        wait_for(lambda: not cell.is_running() or cell.status() == psutil.STATUS_ZOMBIE)
        let_go(folder, SLOW)

    killer = threading.Thread(target=kill)
    killer.start()
    board = Board(chosen, folder)
    on_cluster(folder, board.left(), str(scheduler), HERE, board.tell, gpu=True)
    killer.join()
    outcomes = check_each_once(folder, chosen)
    assert not psutil.pid_exists(killed[0]) or psutil.Process(killed[0]).status() == psutil.STATUS_ZOMBIE
    assert outcomes[SLOW].attempts == 2
    assert outcomes["quick/only/none/0"].attempts == 1


def test_without_dask_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(ValueError, match=r"needs Dask; pip install 'beamcrew\[cluster\]'"):
        on_cluster(tmp_path, [], "tcp://127.0.0.1:1", HERE, lambda *_: None)
