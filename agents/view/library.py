"""Read access to a folder of runs: nothing is written, nothing outside is opened, damage is reported."""

from __future__ import annotations

import json
import threading
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from pydantic import ValidationError

from agents.trace.blobs import Blobs
from agents.trace.events import EVENT, AnyEvent
from agents.trace.store import TRACE, TraceError, blobs_of, read_trace

TRACE_MAX = 256 << 20  # bytes; a trace of 10,000 events has about 12 MB
DEPTH = 5  # levels of folders below `runs`: runs/<study>/<backend>/<wording>/<data set>/<repeat>
KEPT = 8  # traces in memory; `Cards` keeps what the list shows of the others
FIELDS = {model.model_fields["kind"].default: set(model.model_fields) for model in get_args(get_args(AnyEvent)[0])}

Stamp = tuple[int, int]


class UnknownRun(LookupError):  # noqa: N818 - an answer, not a failure
    """The folder has no such run."""


@dataclass(frozen=True)
class Trace:
    """The readable part of a run's trace. An event's index is the index of its line, even in a damaged trace."""

    name: str
    stamp: Stamp
    events: list[AnyEvent]
    damage: list[str]
    blobs: Blobs

    def event(self, index: int) -> AnyEvent:
        """Return the event on a line. Raises LookupError if the line does not exist or could not be read."""
        for event in self.events[: index + 1][::-1]:  # each event is at its index or before it
            if event.index == index:
                return event
        raise LookupError(f"there is no event {index} in {self.name}")


class Library:
    """The runs below a folder, including those of studies; their names are paths. Thread-safe."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.resolve()
        self._kept: OrderedDict[str, Trace] = OrderedDict()
        self._lock = threading.Lock()

    def names(self) -> list[str]:
        """Return the names of all runs, without links that lead out of the folder. Raises OSError."""
        return sorted(path.relative_to(self.folder).as_posix() for path in self._below(self.folder, DEPTH))

    def stamp(self, name: str) -> Stamp:
        """Return a stamp that changes whenever the trace does. Raises UnknownRun."""
        path = self.folder / name
        try:
            if not self._is_run(path):
                raise UnknownRun(f"there is no run {name!r}")
            status = (path / TRACE).stat()
        except OSError as error:
            raise UnknownRun(f"{name!r}: {error.strerror}") from error
        return status.st_mtime_ns, status.st_size

    def trace(self, name: str) -> Trace:
        """Return the trace of a run as it is now. Raises UnknownRun; a damaged trace is not an error."""
        stamp = self.stamp(name)
        with self._lock:
            kept = self._kept.get(name)
            if kept is None or kept.stamp != stamp:
                kept = self._kept[name] = _read(self.folder / name, name, stamp)
            self._kept.move_to_end(name)
            while len(self._kept) > KEPT:
                self._kept.popitem(last=False)
            return kept

    def _below(self, folder: Path, depth: int) -> Iterator[Path]:
        for path in folder.iterdir():
            if self._is_run(path):
                yield path
            elif depth > 1 and path.is_dir() and not path.is_symlink():
                with suppress(PermissionError):
                    yield from self._below(path, depth - 1)

    def _is_run(self, path: Path) -> bool:
        if not str(path).isprintable() or ".." in path.parts or self.folder not in path.parents:
            return False
        between = path.parents[: path.parents.index(self.folder)]
        if any((folder / TRACE).exists() for folder in between):  # a run inside a run is a model's work
            return False
        trace = path / TRACE
        return trace.resolve().is_relative_to(self.folder) and trace.is_file()


def _read(run_dir: Path, name: str, stamp: Stamp) -> Trace:
    damage: list[str] = []
    events: list[AnyEvent] = []
    if stamp[1] > TRACE_MAX:
        damage.append(f"{TRACE} has {stamp[1]} bytes, more than the view reads ({TRACE_MAX})")
    else:
        try:
            events = read_trace(run_dir)
        except (TraceError, RecursionError) as error:  # the latter: brackets nested thousands deep
            damage.append(str(error))
            events = _salvage(run_dir / TRACE, damage)
    return Trace(name, stamp, events, damage, blobs_of(run_dir))


def _salvage(path: Path, damage: list[str]) -> list[AnyEvent]:
    """Return the events of all lines that can be parsed by themselves; report the others in `damage`."""
    try:
        lines = path.read_bytes().split(b"\n")
    except OSError as error:
        damage.append(str(error))
        return []
    events: list[AnyEvent] = []
    bad: list[int] = []
    for index, line in enumerate(lines):
        event = _understood(line)
        if event is not None:
            events.append(event.model_copy(update={"index": index}))
        elif line:
            bad.append(index + 1)
    if bad:
        shown = ", ".join(map(str, bad[:20])) + (", ..." if len(bad) > 20 else "")
        damage.append(f"left out: {len(bad)} of {len(lines)} lines without a valid event ({shown})")
    return events


def _understood(line: bytes) -> AnyEvent | None:
    """Parse a line without fields unknown to this version, since another may have written it; None on failure."""
    try:
        document: Any = json.loads(line)
        known = FIELDS[document["kind"]]
        return EVENT.validate_python({name: value for name, value in document.items() if name in known})
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError, ValidationError):
        return None
