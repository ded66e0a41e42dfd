"""A study of real processes on this machine: killed cells, a killed supervisor, stopped by hand; each cell run once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from tiny_cell import StudyTask, calls_log, study

from agents.studies import carry_out as carrying
from agents.studies.board import Board
from agents.studies.carry_out import Machine, locally, open_folder
from agents.studies.cells import cells_of
from agents.studies.outcome import Outcome
from agents.studies.study import Study
from agents.trace.events import ModelCalled
from agents.trace.store import read_trace
from tasks import catalogue

pytestmark = pytest.mark.timeout(900)  # a busy machine takes its time to start so many processes
TINY = Path(__file__).parent / "tiny_cell.py"
HERE = Machine(sandbox="bubblewrap")
ONE = {"datasets": [{"name": "none", "fresh": True}], "repeats": 1}
SUPERVISOR = f"""
import signal
import sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell has what it puts into the background ignore it
sys.path.insert(0, {str(TINY.parent)!r})
from pathlib import Path
from tiny_cell import install, study
from agents.studies import carry_out
carry_out.PROGRAM = [sys.executable, {str(TINY)!r}]
install(None)
chosen = study(**{ONE!r})
folder = carry_out.open_folder(chosen, Path(sys.argv[1]))
names = [cell.name for cell in carry_out.cells_of(chosen)]
names = [name for name in names if not (folder / name / "outcome.json").exists()]
carry_out.locally(folder, names, 2, carry_out.Machine(sandbox="bubblewrap"), lambda *_: None)
"""


@pytest.fixture(autouse=True)
def _tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(catalogue.catalogue(), "study-tiny", StudyTask)
    monkeypatch.setattr(carrying, "PROGRAM", [sys.executable, str(TINY)])


def at_work(folder: Path) -> list[psutil.Process]:
    """The processes of cells of this study, without those of their sandboxes."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        line = process.info["cmdline"] or []
        if str(TINY) in line and str(folder) in line:
            found.append(process)
    return found


def wait_for(what: Callable[[], object], seconds: float = 200) -> None:
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def begun(folder: Path, name: str) -> bool:
    """The slow step of the cell is under way in its sandbox."""
    return (slow_step(folder, name) / "begun").exists()


def slow_step(folder: Path, name: str) -> Path:
    return folder / name / "workspace" / "i0" / "c"


def let_go(folder: Path, name: str) -> None:
    """The slow step may come to its end, in this attempt or in the next, which clears its folder first."""

    def done() -> bool:
        if begun(folder, name):
            (slow_step(folder, name) / "go").touch()
        return (folder / name / "outcome.json").exists()

    wait_for(done)


def check_each_once(folder: Path, chosen: Study) -> dict[str, Outcome]:
    """Every cell has its outcome, and no reply that was recorded was ever asked for again."""
    outcomes = {}
    for cell in cells_of(chosen):
        run_dir = folder / cell.name
        outcomes[cell.name] = Outcome.model_validate_json((run_dir / "outcome.json").read_bytes())
        assert not outcomes[cell.name].missing
        recorded = Counter(f"{e.where} {e.key}" for e in read_trace(run_dir) if isinstance(e, ModelCalled))
        asked = Counter(calls_log(folder, cell.name).read_text().splitlines())
        assert max(recorded.values()) == 1
        assert asked.keys() == recorded.keys()
        # A kill may come between a reply and its record: that one reply is asked for twice then.
        assert asked.total() - recorded.total() < outcomes[cell.name].attempts
    return outcomes


def test_a_cell_whose_process_is_killed_is_gone_on_with(tmp_path: Path) -> None:
    chosen = study(**ONE)
    folder, told = open_folder(chosen, tmp_path), []
    board = Board(chosen, folder)

    def tell(name: str, what: str) -> None:
        told.append((name, what))
        board.tell(name, what)
        if (name, what) == ("slow/only/none/0", "running") and len(told) < 3:
            killer.start()

    def kill() -> None:
        wait_for(lambda: begun(folder, "slow/only/none/0"))
        for process in at_work(folder):
            if "slow/only/none/0" in process.cmdline():
                process.kill()
        let_go(folder, "slow/only/none/0")

    killer = threading.Thread(target=kill)
    locally(folder, board.left(), 2, HERE, tell)
    killer.join()
    outcomes = check_each_once(folder, chosen)
    assert ("slow/only/none/0", "killed") in told
    assert {name: o.attempts for name, o in outcomes.items()} == {"quick/only/none/0": 1, "slow/only/none/0": 2}
    assert board.left() == Board(chosen, folder).left() == []
    # Cells that are done are not even started.
    locally(folder, Board(chosen, folder).left(), 2, HERE, tell)


def test_a_study_that_is_killed_takes_its_cells_along_and_goes_on_where_it_was(tmp_path: Path) -> None:
    chosen, folder = study(**ONE), tmp_path / "tiny"
    for number in (signal.SIGKILL, signal.SIGINT):
        process = subprocess.Popen([sys.executable, "-c", SUPERVISOR, str(tmp_path)], start_new_session=True)
        wait_for(lambda: begun(folder, "slow/only/none/0"))
        assert at_work(folder)
        os.kill(process.pid, number)
        process.wait(200)
        wait_for(lambda: not at_work(folder))
        assert not (folder / "slow/only/none/0" / "outcome.json").exists()
        (slow_step(folder, "slow/only/none/0") / "begun").unlink()
    threading.Thread(target=let_go, args=(folder, "slow/only/none/0")).start()
    locally(folder, Board(chosen, folder).left(), 1, HERE, lambda *_: None)
    outcomes = check_each_once(folder, chosen)
    assert outcomes["slow/only/none/0"].attempts == 3


def test_what_trying_again_would_not_mend_ends_the_study_with_the_words_of_the_cell(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = open_folder(study(**ONE), tmp_path)
    monkeypatch.setattr(carrying, "PROGRAM", [sys.executable, "-c", "import sys; sys.exit('error: MY_KEY: not set')"])
    with pytest.raises(ValueError, match=r"quick/only/none/0: its process ended with status 1: error: MY_KEY"):
        locally(folder, ["quick/only/none/0"], 1, HERE, lambda *_: None)
    monkeypatch.setattr(carrying, "PROGRAM", [sys.executable, str(TINY)])
    with pytest.raises(ValueError, match=r"^cell=quick: study tiny has no such cell"):
        locally(folder, ["quick"], 1, HERE, lambda *_: None)
    kill = "import os; os.kill(os.getpid(), 9)"
    monkeypatch.setattr(carrying, "PROGRAM", [sys.executable, "-S", "-c", kill])
    monkeypatch.setattr(carrying, "KILLS", 2)
    with pytest.raises(ValueError, match=r"its process ended with status -9: .*cell\.log"):
        locally(folder, ["slow/only/none/0"], 1, HERE, lambda *_: None)
