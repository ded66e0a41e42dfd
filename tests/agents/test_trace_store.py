"""The trace on disk: everything comes back, damage is named, secrets stay out."""

from __future__ import annotations

import errno
import hashlib
import json
import math
import os
import threading
from pathlib import Path
from typing import Any

import pytest
from tool_events import asked_outside, called

from agents.backends.base import Figure, Usage
from agents.trace.events import (
    EVENT,
    Answered,
    AnyEvent,
    Asked,
    Audited,
    BudgetNear,
    CanaryChecked,
    Claimed,
    Confirmed,
    Decided,
    Event,
    Executed,
    GatesChecked,
    Graded,
    ModelCalled,
    Part,
    Planned,
    Repeated,
    Reviewed,
    RunFinished,
    RunResumed,
    RunStarted,
    SandboxRenewed,
    Sealed,
    Seen,
    ServiceAdapted,
    StepFinished,
    StepStarted,
    Told,
    ToolCalled,
    Trouble,
)
from agents.trace.observation import Observation
from agents.trace.store import TRACE, Store, TraceError, blobs_of, read_trace
from sandbox.driver import Limits, SandboxInfo
from tasks.convergence import Decision
from tasks.lhco.claims import SearchClaim, SearchSubmission
from tasks.plan import Plan, Step
from tasks.review import Finding
from tasks.score import CheckedNumber, Metric, Score

INFO = SandboxInfo(driver="fake", version="1", reason="tests", limits=Limits())
SHA = hashlib.sha256(b"").hexdigest()
STARTED = RunStarted(
    run="r1",
    request="Is there a resonance?",
    **{"task": "lhco-demo", "options": {"seed": 1}, "facts": {"events": 10}, "inputs": {"a": SHA}},
    backend="scripted",
    is_llm=False,
    sandbox=INFO,
    budget={"seconds": 60},
    seed=1,
    versions={"beamcrew": "0"},
    prompts={"planner.md": SHA},
)
SUBMISSION = SearchSubmission(scores="i0/s.parquet", window=(3.3, 3.7))
EVERY = [
    STARTED,
    RunResumed(sandbox=INFO, budget={"dollars": 2.0}),
    SandboxRenewed(where="worker/0/a", sandbox=INFO, seconds=3.5),
    CanaryChecked(held=True, lines=["no network"]),
    ModelCalled(
        key="k",
        role="planner",
        where="planner/0",
        request=SHA,
        reply=SHA,
        model="m",
        usage=Usage(dollars=0.1),
        seconds=1,
    ),
    Executed(
        key="k",
        where="worker/0/a",
        argv=["true"],
        cwd="/workspace",
        given={},
        exit_code=0,
        ended="exit",
        seconds=0.1,
        stdout=SHA,
        stderr=SHA,
        dropped_bytes=0,
        files={"a": SHA},
    ),
    called(where="worker/0/a", tool="scan", arguments={"n": [1, 2.5, None]}, error={"field": "n"}, seconds=0.2),
    asked_outside("s.t", arguments={"x": 1}, cut=3),
    Planned(iteration=0, plan=Plan(reasoning="π", steps=[Step(id="a", goal="g", submits=True)])),
    StepStarted(iteration=0, step="a"),
    StepFinished(
        observation=Observation(iteration=0, step="a", ok=True, summary="s", submission=SUBMISSION), seconds=1
    ),
    Graded(key="k", iteration=0, submission=SUBMISSION, score=Score(metric="m", value=1.5, error=0.5, reason="r")),
    Decided(iteration=0, decision=Decision(action="converged", reason="r", best=0)),
    Confirmed(iteration=0, submission=SUBMISSION, score=Score(metric="m", value=None, reason="r")),
    Audited(iteration=0, submission=SUBMISSION, score=Score(metric="m", value=None, reason="the audit failed")),
    Claimed(
        claim=SearchClaim(discovery=True), checks=[CheckedNumber(name="mass", claimed=3.5, harness=3.4, agrees=True)]
    ),
    Sealed(metrics=[Metric(name="AUC", value=0.9)], checks=[], curves={"sic": [1.0, math.inf]}),
    Repeated(where="claim/0", parts=[Part(where="worker/0/a", what="scan", key="k")], left_out=[], seconds=2.0),
    Told(where="planner/0", facts={"iterations_left": 2, "seconds_per_call": {"scan": [60.0]}}),
    Seen(
        key="k",
        where="worker/0/a",
        figures=[Figure(name="a.png", width=3, height=2, sha256="0" * 64)],
        refused={"b.png": "not a PNG picture"},
    ),
    GatesChecked(where="reviewer/0/plan", findings=[Finding(gate="quoted", text="0.5 is in no result")]),
    Reviewed(where="reviewer/0/plan", send_back=True, reasons=["0.5 is in no result"]),
    Asked(where="operator/0/plan", gate="plan", text="1 step", shown={"plan": {}}),
    Answered(where="operator/0/plan", gate="plan", answer="say", words="wider", who="ada", when=9.0, via="terminal"),
    BudgetNear(name="dollars", used=0.9, limit=1.0),
    Trouble(who="model", where="planner/0", text="malformed"),
    ServiceAdapted(where="planner/0", text="gave up seed (unknown)"),
    RunFinished(status="converged", reason="r", seconds=9, usage=Usage(), model_calls=1),
]
CALLED, ENDED = EVERY[4], EVERY[-1]


def bare(event: Event) -> dict[str, Any]:
    return event.model_dump(exclude={"time", "index"})


def written(run_dir: Path, events: list[Any] = EVERY) -> Path:
    with Store.create(run_dir) as store:
        for event in events:
            store.append(event)
    return run_dir / TRACE


def test_every_kind_comes_back(tmp_path: Path) -> None:
    kinds = {json.dumps(branch) for branch in EVENT.json_schema()["discriminator"]["mapping"]}
    assert {json.dumps(event.kind) for event in EVERY} == kinds
    written(tmp_path)
    back = read_trace(tmp_path)
    assert [bare(e) for e in back] == [bare(e) for e in EVERY]
    assert [e.index for e in back] == list(range(len(EVERY)))
    assert all(e.time > 1e9 for e in back)
    with Store.open(tmp_path) as store:
        assert store.events() == back
        assert store.append(Trouble(who="model", where="worker/0/a", text="t")).index == len(EVERY)


def test_a_truncated_last_line_is_cut_off_and_reported(tmp_path: Path) -> None:
    path = written(tmp_path)
    whole = path.read_bytes()
    path.write_bytes(whole[:-20])
    assert len(read_trace(tmp_path)) == len(EVERY) - 1
    with Store.open(tmp_path) as store:
        last = store.events()[-1]
    assert isinstance(last, Trouble)
    assert last.who == "operator"
    assert f"line {len(EVERY)} " in last.text
    assert read_trace(tmp_path)[-1] == last
    assert path.read_bytes().startswith(whole[: whole.rstrip().rfind(b"\n") + 1])


@pytest.mark.parametrize("damage", [b"\0" * 40, b'{"kind": "planned"}', b'{"kind": "nonsense"}', b""])
def test_a_damaged_line_is_named(tmp_path: Path, damage: bytes) -> None:
    path = written(tmp_path)
    lines = path.read_bytes().split(b"\n")
    lines[4] = damage
    path.write_bytes(b"\n".join(lines))
    with pytest.raises(TraceError, match=rf"{TRACE}, line 5: not an event"):
        read_trace(tmp_path)


def test_a_missing_line_is_named(tmp_path: Path) -> None:
    path = written(tmp_path)
    lines = path.read_bytes().split(b"\n")
    path.write_bytes(b"\n".join(lines[:3] + lines[4:]))
    with pytest.raises(TraceError, match="line 4: contains event 4"):
        read_trace(tmp_path)


def test_another_format_is_refused_before_its_fields_are_looked_at(tmp_path: Path) -> None:
    (tmp_path / TRACE).write_text('{"kind": "run_started", "format": 99, "novelty": true}\n')
    with pytest.raises(TraceError, match="format 99, but this version of beamcrew reads and replays format 4"):
        read_trace(tmp_path)


@pytest.mark.parametrize("text", ["", "[]\n", "garbage\n", '{"kind": "planned"}\n'])
def test_what_is_no_trace_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / TRACE).write_text(text)
    with pytest.raises(TraceError, match=TRACE):
        Store.open(tmp_path)


def test_eight_threads_append_whole_lines_in_order(tmp_path: Path) -> None:
    heard: list[int] = []
    with Store.create(tmp_path) as store:
        store.append(STARTED)
        store.listen(lambda event: heard.append(event.index))

        def work(name: int) -> None:
            for k in range(25):
                store.append(Trouble(who="model", where=f"worker/{k}/s{name}", text="x" * 5000))

        threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    back = read_trace(tmp_path)
    assert [e.index for e in back] == list(range(201))
    assert heard == list(range(201))
    assert len({e.where for e in back if isinstance(e, Trouble)}) == 200


def test_a_failing_listener_does_not_break_the_run(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    heard: list[AnyEvent] = []

    def fail(event: AnyEvent) -> None:
        raise RuntimeError("display gone")

    with Store.create(tmp_path) as store:
        store.listen(fail)
        store.listen(heard.append)
        event = store.append(STARTED)
    assert heard == [event]
    assert "display gone" in caplog.text


def test_no_secret_reaches_the_disk(tmp_path: Path) -> None:
    secret, quoted = "sk-verysecret-0123456789", 'pass"wörd\\ with quotes'
    with Store.create(tmp_path, secrets=[secret, quoted, "", "none"]) as store:
        store.append(STARTED.model_copy(update={"request": f"use {secret}", "options": {secret: [f"a {quoted}"]}}))
        sha = store.put(f"stdout {secret} and {json.dumps(quoted)}".encode())
        binary = store.put(b"\x89PNG\xff\xfe" + secret.encode())
        assert store.get(sha) == b'stdout [redacted] and "[redacted]"'
        assert store.get(binary) == b"\x89PNG\xff\xfe[redacted]"
        assert store.put(b"the word none stays") == hashlib.sha256(b"the word none stays").hexdigest()
    content = b"".join(p.read_bytes() for p in tmp_path.rglob("*") if p.is_file())
    assert secret.encode() not in content
    for form in (quoted, json.dumps(quoted)[1:-1], json.dumps(quoted, ensure_ascii=False)[1:-1]):
        assert form.encode() not in content
    started = read_trace(tmp_path)[0]
    assert isinstance(started, RunStarted)
    assert started.options == {"[redacted]": ["a [redacted]"]}


def test_half_characters_of_a_model_do_no_harm(tmp_path: Path) -> None:
    event = called(where="worker/0/a", tool="t", arguments={"a": ["b\udfff"]}, seconds=0)
    written(tmp_path, [STARTED, event])
    back = read_trace(tmp_path)[1]
    assert isinstance(back, ToolCalled)
    assert back.arguments == {"a": ["b?"]}


def test_blobs_are_named_by_content_and_checked(tmp_path: Path) -> None:
    with Store.create(tmp_path) as store:
        sha = store.put(b"data")
        assert store.put(b"data") == sha == hashlib.sha256(b"data").hexdigest()
    path = tmp_path / "blobs" / sha[:2] / sha[2:]
    assert [p for p in (tmp_path / "blobs").rglob("*") if p.is_file()] == [path]
    path.write_bytes(b"date")
    with pytest.raises(TraceError, match="SHA-256"):
        blobs_of(tmp_path).get(sha)
    with pytest.raises(TraceError, match="name of a blob"):
        blobs_of(tmp_path).get("../../etc/passwd")


def test_a_full_disk_is_the_operators_and_leaves_the_trace_readable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Store.create(tmp_path) as store:
        store.append(STARTED)
        write, calls = os.write, iter([True, False])

        def fill(fd: int, data: bytes) -> int:
            if next(calls):
                return write(fd, data[:10])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        with monkeypatch.context() as patch:
            patch.setattr(os, "write", fill)
            with pytest.raises(TraceError, match="No space left"):
                store.append(Trouble(who="model", where="worker/0/a", text="lost"))
        store.append(Trouble(who="model", where="worker/0/a", text="after"))
    assert [e.index for e in read_trace(tmp_path)] == [0, 1]


def test_an_interrupt_in_half_a_line_undoes_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = os.write

    def interrupt(fd: int, data: bytes) -> int:
        write(fd, data[:10])
        raise KeyboardInterrupt

    with Store.create(tmp_path) as store:
        store.append(STARTED)
        with monkeypatch.context() as patch:
            patch.setattr(os, "write", interrupt)
            with pytest.raises(KeyboardInterrupt):
                store.append(Trouble(who="model", where="worker/0/a", text="t"))
        store.append(ENDED)
    assert [e.kind for e in read_trace(tmp_path)] == ["run_started", "run_finished"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError])
def test_a_reply_outlives_an_interrupt_while_it_waits_for_the_disk_but_not_a_broken_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: type[BaseException]
) -> None:
    def interrupt(fd: int) -> None:
        raise error(errno.EIO, os.strerror(errno.EIO))

    with Store.create(tmp_path) as store:
        store.append(STARTED)
        with monkeypatch.context() as patch:
            patch.setattr(os, "fdatasync", interrupt)
            with pytest.raises(KeyboardInterrupt if error is KeyboardInterrupt else TraceError):
                store.append(CALLED)
        store.append(ENDED)
        there = store.events()
    assert read_trace(tmp_path) == there
    kept = ["model_called"] if error is KeyboardInterrupt else []
    assert [e.kind for e in there] == ["run_started", *kept, "run_finished"]


def test_blobs_are_on_the_disk_before_the_line_that_names_them_and_notes_wait_for_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[str] = []

    def watch(name: str) -> None:
        really = getattr(os, name)

        def sync(fd: int) -> None:
            path = Path(f"/proc/self/fd/{fd}").readlink()
            synced.append("".join(path.parts[-2:]) if "blobs" in path.parts else f"line {len(read_lines(path))}")
            really(fd)

        monkeypatch.setattr(os, name, sync)

    def read_lines(path: Path) -> list[bytes]:
        return path.read_bytes().splitlines()

    for name in ("fsync", "fdatasync"):
        watch(name)
    with Store.create(tmp_path) as store:
        store.append(STARTED)
        shas = {store.put(text) for text in (b"request", b"reply", b"request")}
        store.append(Trouble(who="model", where="worker/0/a", text="t"))
        assert synced == ["line 1"]
        store.append(CALLED)
        assert (set(synced[1:3]), synced[3:]) == (shas, ["line 3"])
        store.put(b"reply")
        store.append(CALLED)
    assert synced[4:] == ["line 4"]


def test_half_a_blob_of_a_process_that_was_killed_is_made_whole(tmp_path: Path) -> None:
    with Store.create(tmp_path) as store:
        store.append(STARTED)
        sha = store.put(b"all of it")
    (tmp_path / "blobs" / sha[:2] / sha[2:]).write_bytes(b"all")
    with Store.open(tmp_path) as store:
        assert store.put(b"all of it") == sha
        assert store.get(sha) == b"all of it"


def test_a_blob_that_cannot_be_written_is_the_operators_and_can_be_put_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Store.create(tmp_path) as store:
        (tmp_path / "blobs").write_text("in the way")
        with pytest.raises(TraceError, match="cannot be written"):
            store.put(b"data")
        (tmp_path / "blobs").unlink()
        assert store.get(store.put(b"data")) == b"data"


def test_one_process_a_run_and_one_run_a_folder(tmp_path: Path) -> None:
    with Store.create(tmp_path) as store:
        store.append(STARTED)
        with pytest.raises(TraceError, match="another process"):
            Store.open(tmp_path)
    with pytest.raises(TraceError, match="a trace already"):
        Store.create(tmp_path)
