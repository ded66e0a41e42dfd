"""Verify a trace: its lines by their hash chain, its blobs by their names, its end by the hash in result.json."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

from agents.trace.blobs import Blobs, TraceError
from agents.trace.events import AnyEvent, Executed, Graded, ModelCalled, OutsideCalled
from agents.trace.store import TRACE, blobs_of, read_trace


def verified(run_dir: Path) -> list[AnyEvent]:
    """Return the events of a trace after checking that nothing is missing or changed.

    Raises TraceError, which names the line, for the first event that is damaged or names a damaged blob, and for
    lines removed from the end after result.json was written.
    """
    events = read_trace(run_dir)
    blobs, good = blobs_of(run_dir), set[str]()
    for event in events:
        for what, sha in blob_names(event):
            if sha not in good:
                _check(blobs, sha, f"{run_dir / TRACE}, line {event.index + 1}, {event.kind}, {what}")
                good.add(sha)
    _check_end(run_dir)
    return events


def blob_names(event: AnyEvent) -> Iterator[tuple[str, str]]:
    """Yield an event's blobs: the name of the field or file, and the SHA-256."""
    if isinstance(event, ModelCalled):
        yield from (("request", event.request), ("reply", event.reply))
    elif isinstance(event, Executed):
        yield from (("stdout", event.stdout), ("stderr", event.stderr))
        yield from (event.given | event.files).items()
    elif isinstance(event, OutsideCalled):
        yield "text", event.text
    elif isinstance(event, Graded):
        yield from event.files.items()


def _check(blobs: Blobs, sha: str, where: str) -> None:
    try:
        blobs.get(sha)
    except TraceError as error:
        raise TraceError(f"{where}: {error}") from None


def _check_end(run_dir: Path) -> None:
    """Check that the trace contains the lines result.json was made from; a run resumed since then has more."""
    path = run_dir / "result.json"
    if not path.exists():
        return
    try:
        named = json.loads(path.read_text())["trace_sha256"]
    except (ValueError, TypeError, KeyError) as error:
        raise TraceError(f"{path}: is not the result of a run: {error!r}") from None
    whole = hashlib.sha256()
    for line in (run_dir / TRACE).read_bytes().splitlines(keepends=True):
        whole.update(line)
        if whole.hexdigest() == named:
            return
    raise TraceError(
        f"{run_dir / TRACE}: ends before the last line that result.json was made from, or result.json is of another run"
    )
