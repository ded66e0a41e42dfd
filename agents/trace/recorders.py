"""Recording wrappers of backend, bench and grader: recorded results are played back, new ones are recorded.

Live results are returned as recorded, so that a resumed run sees exactly the same bytes as an uninterrupted one.
"""

from __future__ import annotations

import base64
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from agents.backends.base import Backend, BackendLost, Figure, Reply, Request
from agents.trace.bench import Bench, place
from agents.trace.events import (
    Executed,
    Graded,
    ModelCalled,
    SandboxRenewed,
    ServiceAdapted,
    ToolCalled,
    Trouble,
)
from agents.trace.files import Change, Files, sha256
from agents.trace.graded import keep, laid_out
from agents.trace.record import Record, canonical_key
from agents.trace.store import Store
from agents.trace.tool_calls import answer, command
from agents.trace.where import Where
from sandbox.driver import WORKSPACE, ExecResult, SandboxLost
from sandbox.reader import UnsafeFile
from sandbox.tidy import remove_unless
from tasks.score import Score
from tasks.submission import Submission

E = TypeVar("E", bound=Executed)
REFUSED = "refused"  # ending of a command whose files could not be handled safely: hostile code had put traps there
PAUSES = (2.0, 15.0)  # seconds before a lost command is retried; an engine needs about ten to restart


class Refused(UnsafeFile):
    """A recorded UnsafeFile, with the original message."""

    def __init__(self, text: str) -> None:
        ValueError.__init__(self, text)


class RecordedBackend:
    """A backend that never asks for the same reply twice."""

    def __init__(self, backend: Backend, store: Store, record: Record) -> None:
        self._backend, self._store, self._record = backend, store, record

    @property
    def name(self) -> str:
        return self._backend.name

    @property
    def is_llm(self) -> bool:
        return self._backend.is_llm

    def complete(self, request: Request, where: Where) -> Reply:
        """Return the recorded reply, or a live one. `where` says who asks: planner/0, worker/0/scan, reporter."""
        key = request.key()
        event = self._record.take(ModelCalled, key, where, request.model_dump(mode="json"))
        return self._reply(event or self._live(request, key, where))

    def _live(self, request: Request, key: str, where: Where) -> ModelCalled:
        start = time.monotonic()
        try:
            reply = self._backend.complete(self._drawn(request))
        except BackendLost as error:
            self._store.append(Trouble(who="operator", where=where, text=str(error), usage=error.usage))
            raise
        for text in reply.notes:
            self._store.append(ServiceAdapted(where=where, text=text))
        return self._store.append(
            ModelCalled(
                key=key,
                role=request.role,
                where=where,
                request=self._store.put(request.model_dump_json().encode()),
                reply=self._store.put(reply.model_dump_json().encode()),
                model=reply.model,
                usage=reply.usage,
                seconds=time.monotonic() - start,
            )
        )

    def _drawn(self, request: Request) -> Request:
        """Return the request with the data of its figures, which the record holds once and not in each request."""

        def filled(figure: Figure) -> Figure:
            return figure.model_copy(update={"png": base64.b64encode(self._store.get(figure.sha256)).decode()})

        messages = [
            message.model_copy(update={"figures": tuple(map(filled, message.figures))}) if message.figures else message
            for message in request.messages
        ]
        return request.model_copy(update={"messages": tuple(messages)})

    def _reply(self, event: ModelCalled) -> Reply:
        return Reply.model_validate_json(self._store.get(event.reply))


class RecordedWorkbench:
    """A bench that records the files a command leaves, and restores them instead of running the command again.

    A command whose sandbox was lost is rerun in a fresh one, on the files it started from: a fault of the operator's
    machine must not look like a result.
    """

    def __init__(self, bench: Bench, store: Store, record: Record) -> None:
        self._bench, self._store, self._record = bench, store, record
        self._files = Files(bench.workspace, store)

    @property
    def workspace(self) -> Path:
        return self._bench.workspace

    def read(self, relative: str, max_bytes: int) -> bytes:
        return self._bench.read(relative, max_bytes)

    def run(
        self,
        where: Where,
        argv: Sequence[str],
        *,
        cwd: str = WORKSPACE,
        files: Mapping[str, bytes] | None = None,
        seconds: float | None = None,
    ) -> ExecResult:
        """Run or replay a command, see `Bench.run`. Commands are the same if arguments, folder and input files are."""
        return self.result(self._event(Executed, where, argv, cwd, dict(files or {}), seconds, {}))

    def script(self, where: Where, argv: Sequence[str], files: Mapping[str, bytes], *, cwd: str) -> Executed:
        """Run or replay a command of a worker and return its event. Raises what `run` raises."""
        event = self._event(Executed, where, argv, cwd, files, None, {})
        self.result(event)
        return event

    def call(self, where: Where, tool: str, arguments: dict[str, Any], number: int, *, cwd: str) -> ToolCalled:
        """Call a tool, the `number`-th time in its folder. Raises what `run` raises."""
        argv, files = command(tool, arguments, number)
        event = self._event(ToolCalled, where, argv, cwd, files, None, {"tool": tool, "arguments": arguments})
        self.result(event)
        return event

    def again(self, event: Executed, where: Where) -> ExecResult:
        """Repeat a recorded command or tool call on behalf of `where`."""
        files = {name: self._store.get(sha) for name, sha in event.given.items()}
        what = {"tool": event.tool, "arguments": event.arguments} if isinstance(event, ToolCalled) else {}
        return self.result(self._event(type(event), where, event.argv, event.cwd, files, None, what))

    def _event(
        self,
        kind: type[E],
        where: Where,
        argv: Sequence[str],
        cwd: str,
        given: Mapping[str, bytes],
        seconds: float | None,
        what: dict[str, Any],
    ) -> E:
        """Return the recorded event, played, or that of a live command. `what`: the tool and its arguments, if any."""
        asked = {"argv": list(argv), "cwd": cwd, "given": {name: sha256(data) for name, data in given.items()}}
        key = canonical_key(list(asked.values()))
        event = self._record.take(kind, key, where, asked)
        if event is None:
            return self._live(kind, key, where, argv, cwd, given, seconds, what)
        self.play(event, given, seconds)
        return event

    def play(self, event: Executed, given: Mapping[str, bytes], seconds: float | None) -> None:
        """Apply to the workspace the file changes of a recorded command."""
        self._files.restore(event)

    def empty(self) -> None:
        """Remove everything from the workspace, so that commands start anew. Raises SandboxLost."""
        try:
            remove_unless(self.workspace, ".", lambda path, status: False)
        except OSError as error:
            raise SandboxLost(f"the workspace cannot be emptied: {error}") from error
        self._files = Files(self.workspace, self._store)

    def result(self, event: Executed) -> ExecResult:
        """Return a command's result. Raises UnsafeFile if it was refused because its files were not safe."""
        if event.ended == REFUSED:
            raise Refused(self._store.get(event.stderr).decode())
        return ExecResult(
            exit_code=event.exit_code,
            stdout=self._store.get(event.stdout).decode(),
            stderr=self._store.get(event.stderr).decode(),
            dropped_bytes=event.dropped_bytes,
            peak_mib=event.peak_mib,
            seconds=event.seconds,
            ended=event.ended,
        )

    def _live(
        self,
        kind: type[E],
        key: str,
        where: Where,
        argv: Sequence[str],
        cwd: str,
        given: Mapping[str, bytes],
        seconds: float | None,
        what: dict[str, Any],
    ) -> E:
        folder = place(cwd)
        try:
            self._files.prepare(folder)
            before = self._files.marks()
            result = self._result(
                where, folder, lambda: self._bench.run(where, argv, cwd=cwd, files=given, seconds=seconds)
            )
            change = self._files.save(folder, given)
            touched = [path for path, mark in self._files.marks().items() if before.get(path, mark) != mark]
        except UnsafeFile as error:  # recorded like other results: a replay need not meet the same obstacle
            result = ExecResult(exit_code=-1, stdout="", stderr=str(error), seconds=0.0, ended=REFUSED)
            change, given, touched = Change({}, [], []), {}, []
        if what:
            said, refused = answer(what["tool"], result)
            what = what | {"result": said, "error": refused}
        event = self._store.append(
            kind(
                key=key,
                where=where,
                argv=list(argv),
                cwd=cwd,
                given={name: self._store.put(data) for name, data in given.items()},
                exit_code=result.exit_code,
                ended=result.ended,
                seconds=result.seconds,
                stdout=self._store.put(result.stdout.encode()),
                stderr=self._store.put(result.stderr.encode()),
                dropped_bytes=result.dropped_bytes,
                peak_mib=result.peak_mib,
                files=change.saved,
                gone=change.gone,
                unsaved=change.unsaved,
                touched=[path for path in touched if path not in change.saved],
                **what,
            )
        )
        self._files.settle(event)
        return event

    def _result(self, where: Where, folder: str, execute: Callable[[], ExecResult]) -> ExecResult:
        """Run a command in the current sandbox, or in a fresh one if that is lost."""
        began, lost = time.monotonic(), False
        for pause in (*PAUSES, None):
            try:
                if fresh := self._bench.renew():
                    seconds = time.monotonic() - began
                    self._store.append(SandboxRenewed(where=where, sandbox=fresh, seconds=seconds))
                if lost:  # not earlier: processes may have continued in the lost sandbox
                    self._files.put_back(folder)
                return execute()
            except SandboxLost as error:
                lost = True
                self._store.append(Trouble(who="operator", where=where, text=str(error)))
                if pause is None or not self._bench.wait(pause):
                    raise
        raise AssertionError("the last attempt returns or raises")


Grade = Callable[[int, Submission | None, Path], Score]


class RecordedGrader:
    """A grader that takes its verdicts from the trace where they are recorded.

    It sees a folder with only the submitted files, as they were at that moment; these are kept.
    """

    def __init__(self, grade: Grade, store: Store, record: Record, workspace: Path) -> None:
        self._grade, self._store, self._record, self._workspace = grade, store, record, workspace

    def grade(self, iteration: int, submission: Submission | None, null_result: str = "") -> Score:
        """Return the score of an iteration's submission; `submission` is None when nothing was submitted.

        `null_result`: what was handed in instead.
        """
        asked: dict[str, Any] = {
            "iteration": iteration,
            "submission": submission and submission.model_dump(mode="json"),
        }
        key = canonical_key(list(asked.values()))
        event = self._record.take(Graded, key, Where("grader", iteration), asked)
        if event is None:
            files = keep(self._store, self._workspace, submission)
            try:
                with laid_out(self._store, files) as folder:
                    score = self._grade(iteration, submission, folder)
                if submission is None and null_result:
                    score = score.model_copy(update={"reason": f"a null result was handed in: {null_result}"})
            except SandboxLost as error:
                self._store.append(Trouble(who="operator", where=Where("grader", iteration), text=str(error)))
                raise
            event = self._store.append(
                Graded(key=key, iteration=iteration, submission=asked["submission"], score=score, files=files)
            )
        return event.score
