"""The trace of a run: `trace.jsonl`, one event per line, next to its blobs. The only source of truth about a run."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import logging
import os
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar, cast

from agents.trace.blobs import Blobs, Redactor, TraceError
from agents.trace.events import (
    EVENT,
    Answered,
    AnyEvent,
    Confirmed,
    Event,
    Executed,
    Graded,
    ModelCalled,
    OutsideCalled,
    RunFinished,
    RunStarted,
    Sealed,
    Trouble,
)
from agents.trace.lines import chained, parse
from agents.trace.where import Where

__all__ = ["TRACE", "Blobs", "Store", "TraceError", "blobs_of", "read_trace", "trace_sha256"]

TRACE = "trace.jsonl"
E = TypeVar("E", bound=Event)
Listener = Callable[[Any], None]
# Events that cost money or time, or happen only once. A resumed run can derive all notes from these.
PRECIOUS = RunStarted | ModelCalled | Executed | OutsideCalled | Graded | Answered | Confirmed | Sealed | RunFinished


class Store:
    """Appends events, each in the file before `append` returns: a killed process loses none.

    Precious events are also synced to disk with their blobs and everything before them, so that they survive a crash
    of the machine: blobs first, so that no line names a missing blob. Thread-safe.
    """

    def __init__(self, path: Path, fd: int, events: list[AnyEvent], chain: str, redactor: Redactor) -> None:
        self._path, self._fd, self._events, self._chain, self._redactor = path, fd, events, chain, redactor
        self._blobs = Blobs(path.parent / "blobs", redactor)
        self._lock = threading.RLock()
        self._listeners: list[Listener] = []

    @classmethod
    def create(cls, run_dir: Path, secrets: Sequence[str] = ()) -> Store:
        """Create a trace in a folder that has none. `secrets` never reach the disk. Raises TraceError."""
        path = run_dir / TRACE
        try:
            run_dir.mkdir(parents=True, exist_ok=True)
            fd = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
        except FileExistsError:
            raise TraceError(f"{path}: there is a trace already; resume it, or choose another folder") from None
        except OSError as error:
            raise TraceError(f"{path}: cannot be created: {error.strerror}") from error
        _claim(fd, path)
        return cls(path, fd, [], "", Redactor(secrets))

    @classmethod
    def open(cls, run_dir: Path, secrets: Sequence[str] = ()) -> Store:
        """Open an existing trace to continue it. A last line cut short by a crash is removed, which is recorded.

        Raises TraceError, which names the line, for a damaged trace and for one of another format.
        """
        path = run_dir / TRACE
        try:
            fd = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CLOEXEC)
        except OSError as error:
            raise TraceError(f"{path}: cannot be opened: {error.strerror}") from error
        try:
            _claim(fd, path)
            data = path.read_bytes()
            (events, chain), cut = parse(path, data), len(data) - (data.rfind(b"\n") + 1)
            os.ftruncate(fd, len(data) - cut)
        except BaseException:
            os.close(fd)
            raise
        store = cls(path, fd, events, chain, Redactor(secrets))
        if cut:
            text = f"line {len(events) + 1} was cut short by a crash; its {cut} bytes were removed"
            store.append(Trouble(who="operator", where=Where("trace"), text=text))
        return store

    @classmethod
    def reading(cls, run_dir: Path) -> Store:
        """Open an existing trace read-only, without a lock, so that a run in progress is not disturbed."""
        path = run_dir / TRACE
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise TraceError(f"{path}: cannot be opened: {error.strerror}") from error
        try:
            events, chain = parse(path, path.read_bytes())
        except BaseException:
            os.close(fd)
            raise
        return cls(path, fd, events, chain, Redactor())

    @property
    def run_dir(self) -> Path:
        return self._path.parent

    def append(self, event: E) -> E:
        """Write one event and return it as written: with index and time, and without secrets."""
        if precious := isinstance(event, PRECIOUS):
            self._blobs.sync()
        with self._lock:
            event = event.model_copy(update={"index": len(self._events), "time": time.time()})
            # Not model_dump_json: it turns NaN and infinity into null, which a list of floats does not accept.
            document = self._redactor.tree(event.model_dump(mode="json"))
            body = json.dumps(document, separators=(",", ":"))
            written = EVENT.validate_json(body)  # refuse to write what cannot be read back
            line, chain = chained(body, self._chain)
            self._write(line, written, chain, precious)
            for listener in self._listeners:
                _tell(listener, written)
        return cast(E, written)

    def _write(self, line: bytes, event: AnyEvent, chain: str, precious: bool) -> None:
        """Write all or nothing, in the file and in memory: undo after an OSError or an interrupt within the line."""
        end, before, rest = os.fstat(self._fd).st_size, self._chain, memoryview(line)
        try:
            while rest:
                rest = rest[os.write(self._fd, rest) :]
            self._events[event.index :], self._chain = [event], chain
            if precious:
                os.fdatasync(self._fd)
        except OSError as error:
            self._undo(event, before, end)
            raise TraceError(f"{self._path}: cannot be written: {error.strerror}") from error
        except BaseException:
            if rest:
                self._undo(event, before, end)
            else:  # the line is complete: keep what was paid for
                self._events[event.index :], self._chain = [event], chain
            raise

    def _undo(self, event: AnyEvent, chain: str, end: int) -> None:
        del self._events[event.index :]
        self._chain = chain
        with contextlib.suppress(OSError):
            os.ftruncate(self._fd, end)

    def put(self, data: bytes) -> str:
        """Store a blob, with secrets redacted, and return its SHA-256. See `Blobs.put`."""
        return self._blobs.put(data)

    def get(self, sha: str) -> bytes:
        """Return the blob with this SHA-256, checked."""
        return self._blobs.get(sha)

    def events(self) -> list[AnyEvent]:
        with self._lock:
            return list(self._events)

    def listen(self, listener: Listener) -> None:
        """Call `listener` with every event so far and each later one, in order. What it raises is only logged."""
        with self._lock:
            for event in self._events:
                _tell(listener, event)
            self._listeners.append(listener)

    def close(self) -> None:
        os.close(self._fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()


def read_trace(run_dir: Path) -> list[AnyEvent]:
    """Return the events of a run, which may still be in progress: an incomplete last line is left out."""
    path = run_dir / TRACE
    try:
        return parse(path, path.read_bytes())[0]
    except OSError as error:
        raise TraceError(f"{path}: cannot be read: {error.strerror}") from error


def trace_sha256(run_dir: Path) -> str:
    """Return the SHA-256 of a run's trace as it is now. Raises TraceError."""
    path = run_dir / TRACE
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise TraceError(f"{path}: cannot be read: {error.strerror}") from error


def blobs_of(run_dir: Path) -> Blobs:
    """Return the blobs of a run, for reading."""
    return Blobs(run_dir / "blobs")


def _tell(listener: Listener, event: AnyEvent) -> None:
    try:
        listener(event)
    except Exception:
        logging.getLogger(__name__).exception("a listener of the trace failed")


def at_work(run_dir: Path) -> bool:
    """Return True if a process works on the run now."""
    try:
        with (run_dir / TRACE).open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError as error:
        raise TraceError(f"{run_dir / TRACE}: cannot be opened: {error.strerror}") from error
    return False


def _claim(fd: int, path: Path) -> None:
    """Lock the trace: two processes would mix their lines. The kernel releases the lock when the process ends."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        raise TraceError(f"{path}: another process is working on this run") from None
