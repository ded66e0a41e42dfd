"""A lost sandbox is renewed, the command begins again from where it began, and none of it looks like a result."""

from __future__ import annotations

import errno
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from test_trace_store import STARTED

from agents.runs import workbench
from agents.runs.workbench import Workbench
from agents.trace import recorders
from agents.trace.events import Executed, SandboxRenewed, Trouble
from agents.trace.record import Record
from agents.trace.recorders import RecordedWorkbench
from agents.trace.store import Store
from sandbox.driver import WORKSPACE, ExecResult, Limits, SandboxInfo, SandboxLost

HERE = {"cwd": f"{WORKSPACE}/i0/a"}
Command = Callable[[Path], str]


class Fake:
    """Runs a Python function where a driver would run a command; once closed, everything is lost."""

    def __init__(self, workspace: Path, command: Command, number: int) -> None:
        self.workspace, self.command, self.closed = workspace, command, threading.Event()
        self.info = SandboxInfo(driver="fake", version=str(number), reason="tests", limits=Limits())
        workspace.mkdir(exist_ok=True)

    def exec(self, argv: Sequence[str], *, cwd: str = WORKSPACE, seconds: float | None = None) -> ExecResult:
        folder = self.workspace / Path(cwd).relative_to(WORKSPACE)
        folder.mkdir(parents=True, exist_ok=True)
        out = "" if self.closed.is_set() else self.command(folder)
        if self.closed.is_set():
            raise SandboxLost("closed")
        return ExecResult(exit_code=0, stdout=out, stderr="", seconds=1.5)

    def close(self) -> None:
        self.closed.set()


class Lab:
    """A store, and benches over one workspace whose sandboxes are counted."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.made = folder, list[Fake]()
        self.store = Store.create(folder / "run")
        self.store.append(STARTED)
        self.room = folder / "ws" / "i0" / "a"

    def bench(self, command: Command, fresh: bool = True) -> tuple[RecordedWorkbench, Workbench]:
        def make() -> Fake:
            self.made.append(Fake(self.folder / "ws", command, len(self.made)))
            return self.made[-1]

        self.live = Workbench(make(), make if fresh else None)
        return RecordedWorkbench(self.live, self.store, Record(self.store.events())), self.live

    def reopened(self) -> Lab:
        """As the next session finds it."""
        self.store.close()
        self.store = Store.open(self.folder / "run")
        return self

    def events(self, kind: type) -> list:
        return [event for event in self.store.events() if isinstance(event, kind)]


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lab:
    monkeypatch.setattr(recorders, "PAUSES", (0.01, 0.02))
    return Lab(tmp_path)


def lose(*_: object) -> str:
    raise SandboxLost("the engine is gone")


def in_turn(*commands: Command) -> Command:
    left = iter(commands)
    return lambda folder: next(left)(folder)


def prepare(folder: Path) -> str:
    """Leaves a file that is recorded, one that is not (too many names), an empty folder and a file to be deleted."""
    (folder / "table").write_text("whole")
    (folder / "link").symlink_to("table")
    (folder / "empty").mkdir()
    (folder / "old").write_text("old")
    return "prepared"


def half(folder: Path) -> str:
    """What a command may have done before its sandbox was lost."""
    time.sleep(0.02)  # the kernel's clock of files has ticks
    (folder / "table").write_text("ha")
    (folder / "old").unlink(missing_ok=True)
    (folder / "partial").write_text("partial")
    (folder / "made" / "deep").mkdir(parents=True)
    (folder / "made" / "deep" / "x").touch()
    (folder / "planted").symlink_to("/etc/passwd")
    raise SandboxLost("the container is gone")


def look(folder: Path) -> str:
    """What a command finds; `made` has to be missing, or it would fail where it did not before."""
    (folder / "made").mkdir()
    return " ".join(sorted(f"{p.name}={p.read_text()}" for p in folder.iterdir() if p.is_file() and not p.is_symlink()))


AS_BEFORE = "b.py=b old=old table=whole"


def test_a_lost_command_is_run_again_from_where_it_began(lab: Lab) -> None:
    bench, _ = lab.bench(in_turn(prepare, half, look))
    bench.run("worker/0/a", ["one"], **HERE)
    result = bench.run("worker/0/a", ["two"], files={"b.py": b"b"}, **HERE)
    assert result.stdout == AS_BEFORE
    assert {p.name for p in lab.room.iterdir()} == {"table", "link", "empty", "old", "b.py", "made"}
    assert [f.closed.is_set() for f in lab.made] == [True, False]
    assert [e.kind for e in lab.store.events()][1:] == ["executed", "trouble", "sandbox_renewed", "executed"]
    (trouble,) = lab.events(Trouble)
    assert (trouble.who, trouble.where, trouble.text) == ("operator", "worker/0/a", "the container is gone")
    (renewed,) = lab.events(SandboxRenewed)
    assert renewed.sandbox.version == "1"
    assert renewed.seconds > 0.03, "the lost command and the pause"


def test_the_next_session_begins_from_there_as_well(lab: Lab) -> None:
    """The same clean-up after a crash: nobody had the time to see what the command had done."""
    bench, _ = lab.bench(in_turn(prepare, half), fresh=False)
    bench.run("worker/0/a", ["one"], **HERE)
    with pytest.raises(SandboxLost):
        bench.run("worker/0/a", ["two"], files={"b.py": b"b"}, **HERE)
    assert (lab.room / "partial").exists()
    neighbour = lab.room.parent / "b" / "x"
    neighbour.parent.mkdir()
    neighbour.touch()
    bench, _ = lab.reopened().bench(look)
    bench.run("worker/0/a", ["one"], **HERE)
    assert bench.run("worker/0/a", ["two"], files={"b.py": b"b"}, **HERE).stdout == AS_BEFORE
    assert {p.name for p in lab.room.iterdir()} == {"table", "link", "empty", "old", "b.py", "made"}
    assert neighbour.exists()


def test_a_step_cut_off_in_its_first_command_begins_in_an_empty_folder(lab: Lab) -> None:
    bench, _ = lab.bench(in_turn(prepare), fresh=False)
    bench.workspace.joinpath("i0/a").mkdir(parents=True)
    prepare(lab.room)
    assert (lab.room / "table").exists()
    lab.bench(look)[0].run("worker/0/a", ["one"], **HERE)
    assert [p.name for p in lab.room.iterdir()] == ["made"]


def test_files_that_a_command_removed_stay_removed(lab: Lab) -> None:
    def remove(folder: Path) -> str:
        (folder / "old").unlink()
        return ""

    def listed(folder: Path) -> str:
        return " ".join(sorted(p.name for p in folder.iterdir()))

    bench, _ = lab.bench(in_turn(prepare, remove, half_again, listed))
    for word in ("one", "two"):
        bench.run("worker/0/w", [word], **HERE)
    assert lab.events(Executed)[-1].gone == ["i0/a/old"]
    assert bench.run("worker/0/w", ["three"], **HERE).stdout == "empty link table"
    bench, _ = lab.reopened().bench(lose)
    for word in ("one", "two", "three"):
        bench.run("worker/0/w", [word], **HERE)
    assert not (lab.room / "old").exists()


def half_again(folder: Path) -> str:
    (folder / "old").write_text("again")
    raise SandboxLost("the container is gone")


def test_tries_are_bounded_and_end_as_lost(lab: Lab) -> None:
    bench, live = lab.bench(lose)
    with pytest.raises(SandboxLost, match="engine is gone"):
        bench.run("worker/0/w", ["x"], **HERE)
    assert len(lab.made) == 3
    assert len(lab.events(Trouble)) == 3
    assert lab.events(Executed) == []
    live.close()


def test_an_engine_that_stays_away_is_asked_for_as_often(lab: Lab) -> None:
    asked: list[float] = []

    def away() -> Fake:
        asked.append(time.monotonic())
        raise SandboxLost("is the engine there?")

    live = Workbench(Fake(lab.folder / "ws", lose, 0), away)
    bench = RecordedWorkbench(live, lab.store, Record())
    with pytest.raises(SandboxLost, match="is the engine there"):
        bench.run("worker/0/w", ["x"], **HERE)
    assert len(asked) == 2
    assert asked[1] - asked[0] >= 0.02
    assert [e.text for e in lab.events(Trouble)] == ["the engine is gone"] + ["is the engine there?"] * 2
    assert not lab.events(SandboxRenewed)


def test_a_run_does_not_renew_for_ever(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workbench, "RENEWALS", 2)
    ways = [step for _ in range(3) for step in (lose, lambda folder: "done")]
    bench, _ = lab.bench(in_turn(*ways))
    for word in ("one", "two"):
        assert bench.run("worker/0/w", [word], **HERE).stdout == "done"
    with pytest.raises(SandboxLost, match="2 renewals"):
        bench.run("worker/0/w", ["three"], **HERE)
    assert len(lab.events(SandboxRenewed)) == 2


def test_two_workers_that_lose_one_sandbox_get_one(lab: Lab) -> None:
    both, results = threading.Barrier(2), dict[str, str]()

    def command(folder: Path) -> str:
        if len(lab.made) == 1:
            both.wait(60)
            (folder / "half").touch()
            raise SandboxLost("the container is gone")
        return " ".join(p.name for p in folder.iterdir())

    bench, _ = lab.bench(command)

    def work(name: str) -> None:
        results[name] = bench.run(f"worker/0/{name}", ["x"], cwd=f"{WORKSPACE}/i0/{name}").stdout

    threads = [threading.Thread(target=work, args=(name,)) for name in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert results == {"a": "", "b": ""}
    assert len(lab.made) == 2
    assert len(lab.events(SandboxRenewed)) == 1
    assert sorted(e.where for e in lab.events(Trouble)) == ["worker/0/a", "worker/0/b"]


def test_the_lost_one_is_closed_before_anything_is_put_right(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its command may not have ended at all: only the way to it may be lost."""
    bench, _ = lab.bench(in_turn(half, look))
    sweep, seen = recorders.Files.put_back, list[bool]()

    def put_back(self: recorders.Files, folder: str) -> None:
        seen.append(lab.made[0].closed.is_set())
        sweep(self, folder)

    monkeypatch.setattr(recorders.Files, "put_back", put_back)
    bench.run("worker/0/w", ["x"], **HERE)
    assert seen == [False, True], "before the first command, and before the second try"


def test_a_sandbox_closed_on_purpose_is_not_renewed(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorders, "PAUSES", (3600.0, 3600.0))  # longer than a test may take

    def stop(folder: Path) -> str:
        live.close()
        return ""

    bench, live = lab.bench(stop)
    with pytest.raises(SandboxLost, match="closed"):
        bench.run("worker/0/w", ["x"], **HERE)
    assert len(lab.made) == 1
    bench, live = lab.bench(lose)
    threading.Timer(0.2, live.close).start()  # while it waits for the engine to come back
    with pytest.raises(SandboxLost):
        bench.run("worker/0/w", ["y"], **HERE)
    assert len(lab.made) == 2


def test_a_sandbox_that_was_made_while_all_was_closed_is_closed_too(lab: Lab) -> None:
    def make() -> Fake:
        live.close()
        lab.made.append(Fake(lab.folder / "ws", look, 1))
        return lab.made[-1]

    live = Workbench(Fake(lab.folder / "ws", lose, 0), make)
    with pytest.raises(SandboxLost):
        RecordedWorkbench(live, lab.store, Record()).run("worker/0/w", ["x"], **HERE)
    assert [fake.closed.is_set() for fake in lab.made] == [True]


def test_a_full_disk_is_the_operators_and_not_the_models(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(workbench, "write_bytes", full)
    bench, _ = lab.bench(look)
    with pytest.raises(SandboxLost, match="No space left"):
        bench.run("worker/0/w", ["x"], files={"a.py": b""}, **HERE)
    assert len(lab.made) == 1, "nothing is wrong with the sandbox"
    assert {e.who for e in lab.events(Trouble)} == {"operator"}
