"""What was recorded is played, what was not is done live and recorded."""

from __future__ import annotations

import itertools
import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest
from test_trace_store import INFO, STARTED

from agents.backends.base import BackendLost, Message, Reply, Request, Usage
from agents.runs.workbench import Workbench
from agents.trace import files
from agents.trace.events import Decided, Event, Executed, Graded, ModelCalled, RunResumed, Trouble
from agents.trace.record import Record, note
from agents.trace.recorders import RecordedBackend, RecordedGrader, RecordedWorkbench
from agents.trace.store import Store
from agents.trace.where import Where
from sandbox.driver import WORKSPACE, ExecResult, Limits, SandboxInfo, SandboxLost
from sandbox.reader import UnsafeFile
from tasks.convergence import Decision
from tasks.lhco.claims import SearchSubmission
from tasks.score import Score

WHERE = Where("worker", 0, "a")


class Counting:
    """A backend whose replies are numbered."""

    name, is_llm = "counting", False

    def __init__(self) -> None:
        self._numbers = itertools.count()

    def complete(self, request: Request) -> Reply:
        text = f"{request.messages[0].content} #{next(self._numbers)}"
        return Reply(message=Message(role="assistant", content=text), model="m", usage=Usage(dollars=0.5))


class Lost:
    name, is_llm = "lost", False

    def complete(self, request: Request) -> Reply:
        raise BackendLost("no key")


class FakeSandbox:
    """Runs a Python function where a driver would run a command."""

    info = SandboxInfo(driver="fake", version="1", reason="tests", limits=Limits())

    def __init__(self, workspace: Path, command: Callable[[Path], str]) -> None:
        self.workspace, self.command, self.calls = workspace, command, 0
        workspace.mkdir(exist_ok=True)

    def exec(self, argv: Sequence[str], *, cwd: str = WORKSPACE, seconds: float | None = None) -> ExecResult:
        self.calls += 1
        folder = self.workspace / Path(cwd).relative_to(WORKSPACE)
        folder.mkdir(parents=True, exist_ok=True)
        return ExecResult(exit_code=0, stdout=self.command(folder), stderr="", seconds=1.5)


def must_not_run(*args: object) -> str:
    raise AssertionError("done live, though the trace has it")


def ask(text: str) -> Request:
    return Request(role="planner", messages=(Message(role="user", content=text),))


def bench(run: Path, store: Store, record: Record, command: Callable[[Path], str], place: str = "ws") -> tuple:
    sandbox = FakeSandbox(run / place, command)
    return RecordedWorkbench(Workbench(sandbox), store, record), sandbox


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store.create(tmp_path / "run")
    store.append(STARTED)
    return store


def reopened(store: Store) -> tuple[Store, Record]:
    store.close()
    store = Store.open(store.run_dir)
    return store, Record(store.events())


def test_recorded_replies_are_not_asked_for_again(store: Store) -> None:
    live = RecordedBackend(Counting(), store, Record())
    first = [live.complete(ask("a"), "planner/0"), live.complete(ask("b"), "planner/0")]
    store, record = reopened(store)
    played = RecordedBackend(Lost(), store, record)
    assert [played.complete(ask("a"), "planner/0"), played.complete(ask("b"), "planner/0")] == first
    assert record.played_usage.dollars == 1.0
    assert record.played_calls == 2
    assert record.unplayed() == []
    before = len(store.events())
    with pytest.raises(BackendLost):
        played.complete(ask("c"), "planner/1")
    trouble = store.events()[before:]
    assert [(t.kind, t.who, t.where) for t in trouble if isinstance(t, Trouble)] == [
        ("trouble", "operator", "planner/1")
    ]
    other = RecordedBackend(Counting(), store, record)
    assert other.complete(ask("c"), "planner/1").message.content == "c #0"
    assert isinstance(store.events()[-1], ModelCalled)
    assert (other.name, other.is_llm) == ("counting", False)


def test_the_same_request_twice_is_two_occurrences_in_order(store: Store) -> None:
    live = RecordedBackend(Counting(), store, Record())
    first = [live.complete(ask("a"), "planner/0") for _ in range(2)]
    assert first[0] != first[1]
    store, record = reopened(store)
    played = RecordedBackend(Counting(), store, record)
    assert [played.complete(ask("a"), "planner/0") for _ in range(2)] == first
    assert played.complete(ask("a"), "planner/0").message.content == "a #0"  # the third one goes live


def test_workers_get_their_own_replies_in_any_order(store: Store) -> None:
    live = RecordedBackend(Counting(), store, Record())
    first = {name: live.complete(ask("same words"), f"worker/0/{name}") for name in "abcdefgh"}
    store, record = reopened(store)
    played = RecordedBackend(Lost(), store, record)
    got: dict[str, Reply] = {}

    def work(name: str) -> None:
        got[name] = played.complete(ask("same words"), f"worker/0/{name}")

    threads = [threading.Thread(target=work, args=(name,)) for name in "hgfedcba"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert got == first


def test_unplayed_events_are_named(store: Store) -> None:
    live = RecordedBackend(Counting(), store, Record())
    live.complete(ask("a"), "planner/0")
    live.complete(ask("b"), "planner/1")
    store, record = reopened(store)
    RecordedBackend(Lost(), store, record).complete(ask("b"), "planner/1")
    assert [e.where for e in record.unplayed() if isinstance(e, ModelCalled)] == ["planner/0"]


def test_notes_are_written_once_across_sessions(store: Store) -> None:
    decided = [Decided(iteration=k, decision=Decision(action="continue", reason="r", best=None)) for k in range(2)]
    note(store, Record(), decided[0])
    store, record = reopened(store)
    for event in decided:
        note(store, record, event)
    assert [e.iteration for e in store.events() if isinstance(e, Decided)] == [0, 1]


def test_played_seconds_leave_out_the_time_between_sessions() -> None:
    def at(index: int, seconds: float, event: Event) -> Event:
        return event.model_copy(update={"index": index, "time": 1e9 + seconds})

    def decided(k: int) -> Decided:
        return Decided(iteration=k, decision=Decision(action="continue", reason="r", best=None))

    events = [
        at(0, 0, STARTED),
        at(1, 10, decided(0)),
        at(2, 5000, Trouble(who="operator", where="trace", text="cut")),
        at(3, 5001, RunResumed(sandbox=INFO)),
        at(4, 5003, decided(1)),
    ]
    record = Record(events)  # type: ignore[arg-type]
    assert record.played_seconds == 0
    assert record.seen(decided(0))
    assert record.played_seconds == 10
    assert record.seen(decided(1))
    assert record.played_seconds == 12
    assert record.unplayed() == []


def leave_files(folder: Path) -> str:
    (folder / "out").mkdir(exist_ok=True)
    (folder / "out" / "scores.parquet").write_bytes(b"scores")
    (folder / "link").symlink_to("/etc/passwd")
    return "done\n"


def test_a_command_is_played_and_its_files_come_back(store: Store, tmp_path: Path) -> None:
    live, sandbox = bench(tmp_path, store, Record(), leave_files)
    arguments = {"cwd": f"{WORKSPACE}/i0/a", "files": {"run.py": b"print()"}}
    first = live.run("worker/0/a", ["python", "run.py"], **arguments)
    event = store.events()[-1]
    assert isinstance(event, Executed)
    assert list(event.files) == ["i0/a/out/scores.parquet"]
    assert list(event.given) == ["run.py"]
    assert len(event.unsaved) == 1
    assert "i0/a/link" in event.unsaved[0]
    store, record = reopened(store)
    played, sandbox = bench(tmp_path, store, record, must_not_run, place="fresh")
    assert played.run("worker/0/a", ["python", "run.py"], **arguments) == first
    assert played.read("i0/a/out/scores.parquet", 100) == b"scores"
    assert played.read("i0/a/run.py", 100) == b"print()"
    assert sandbox.calls == 0


@pytest.mark.parametrize("change", ["argv", "cwd", "files"])
def test_another_command_goes_live(store: Store, tmp_path: Path, change: str) -> None:
    call = {"argv": ["a"], "cwd": f"{WORKSPACE}/x", "files": {"f": b"1"}}
    bench(tmp_path, store, Record(), lambda folder: "old")[0].run(WHERE, **call)
    store, record = reopened(store)
    call[change] = {"argv": ["b"], "cwd": f"{WORKSPACE}/y", "files": {"f": b"2"}}[change]
    assert bench(tmp_path, store, record, lambda folder: "new")[0].run(WHERE, **call).stdout == "new"
    assert len(record.unplayed()) == 1


def test_only_new_and_changed_files_are_recorded(store: Store, tmp_path: Path) -> None:
    steps = iter([b"one", b"two", b"two"])

    def command(folder: Path) -> str:
        (folder / "fixed").write_bytes(b"always")
        (folder / "moving").write_bytes(next(steps))
        return ""

    live, _ = bench(tmp_path, store, Record(), command)
    for _ in range(3):
        live.run(WHERE, ["x"], cwd=WORKSPACE, files={"given": b"g"})
    executed = [set(e.files) for e in store.events() if isinstance(e, Executed)]
    assert executed == [{"fixed", "moving"}, {"moving"}, set()]


def test_a_changed_workspace_is_put_right_and_an_intact_one_left_alone(store: Store, tmp_path: Path) -> None:
    live, _ = bench(tmp_path, store, Record(), leave_files)
    live.run(WHERE, ["x"], cwd=f"{WORKSPACE}/a", files={"g": b"g"})
    store, record = reopened(store)
    scores, given = tmp_path / "ws/a/out/scores.parquet", tmp_path / "ws/a/g"
    scores.unlink()
    os.mkfifo(scores)
    untouched = given.stat().st_ino
    bench(tmp_path, store, record, must_not_run)[0].run(WHERE, ["x"], cwd=f"{WORKSPACE}/a", files={"g": b"g"})
    assert scores.read_bytes() == b"scores"
    assert given.stat().st_ino == untouched


def test_what_is_too_big_is_left_out_with_the_reason(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "FILE_MAX", 100)
    monkeypatch.setattr(files, "COMMAND_MAX", 150)

    def command(folder: Path) -> str:
        for name, size in {"a": 90, "b": 90, "c": 101, "d": 50}.items():
            (folder / name).write_bytes(name.encode() * size)
        return ""

    bench(tmp_path, store, Record(), command)[0].run(WHERE, ["x"], cwd=WORKSPACE)
    event = store.events()[-1]
    assert isinstance(event, Executed)
    assert set(event.files) == {"a", "d"}
    assert sorted(reason.partition(":")[0].strip("'") for reason in event.unsaved) == ["b", "c"]


def test_a_run_that_writes_again_and_again_does_not_fill_the_disk(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "RUN_MAX", 250)
    count = itertools.count()

    def command(folder: Path) -> str:
        (folder / "again").write_bytes(f"{next(count):100}".encode())
        return ""

    live = bench(tmp_path, store, Record(), command)[0]
    for _ in range(4):
        live.run("worker/0/w", ["x"], cwd=WORKSPACE)
    done = [e for e in store.events() if isinstance(e, Executed)]
    assert [bool(e.files) for e in done] == [True, True, False, False]
    assert "the run has left more than 250 bytes" in done[-1].unsaved[0]


def test_a_lost_sandbox_is_trouble_and_no_result(store: Store, tmp_path: Path) -> None:
    def lose(*args: object) -> str:
        raise SandboxLost("engine gone")

    with pytest.raises(SandboxLost):
        bench(tmp_path, store, Record(), lose)[0].run(WHERE, ["x"])
    with pytest.raises(SandboxLost):
        RecordedGrader(lose, store, Record(), tmp_path).grade(0, None)  # type: ignore[arg-type]
    assert [e.kind for e in store.events()] == ["run_started", "trouble", "trouble"]


def test_given_files_cannot_leave_the_workspace(store: Store, tmp_path: Path) -> None:
    live, sandbox = bench(tmp_path, store, Record(), must_not_run)
    with pytest.raises(UnsafeFile):
        live.run(WHERE, ["x"], cwd=WORKSPACE, files={"../x": b""})
    with pytest.raises(ValueError, match="must lie in"):
        live.run(WHERE, ["x"], cwd="/etc")
    assert sandbox.calls == 0


def test_a_secret_in_request_output_and_files_stays_out_and_play_back_agrees(tmp_path: Path) -> None:
    secret = "sk-planted-secret-123"

    def leak(folder: Path) -> str:
        (folder / "leak").write_text(secret)
        return f"key is {secret}"

    def session(store: Store, record: Record, place: str) -> tuple[Reply, ExecResult]:
        reply = RecordedBackend(Counting(), store, record).complete(ask(secret), "planner/0")
        files: Mapping[str, bytes] = {"run.py": secret.encode()}
        return reply, bench(tmp_path, store, record, leak, place)[0].run(WHERE, ["echo", secret], files=files)

    with Store.create(tmp_path / "run", [secret]) as store:
        store.append(STARTED)
        live = session(store, Record(), "ws")
    with Store.open(tmp_path / "run", [secret]) as store:
        assert session(store, Record(store.events()), "fresh") == live
    assert live[1].stdout == "key is [redacted]"
    for path in (tmp_path / "run").rglob("*"):
        assert path.is_dir() or secret.encode() not in path.read_bytes()


def test_the_grader_is_asked_once_for_each_iteration(store: Store, tmp_path: Path) -> None:
    asked: list[int] = []

    def grade(iteration: int, submission: SearchSubmission | None, folder: Path) -> Score:
        asked.append(iteration)
        return Score(metric="m", value=None if submission is None else time.monotonic(), reason="r")

    submission = SearchSubmission(scores="s", window=(3.3, 3.7))
    live = RecordedGrader(grade, store, Record(), tmp_path)
    first = [live.grade(0, submission), live.grade(1, submission), live.grade(2, None)]
    store, record = reopened(store)
    played = RecordedGrader(grade, store, record, tmp_path)
    assert [played.grade(0, submission), played.grade(1, submission), played.grade(2, None)] == first
    assert asked == [0, 1, 2]
    other = submission.model_copy(update={"window": (3.2, 3.7)})
    played.grade(0, other)
    assert asked == [0, 1, 2, 0]
    assert isinstance(store.events()[-1], Graded)
