"""Events as lines: each line carries a hash over itself and all lines before it, and what is wrong with one is named.

A line is the event's JSON with `"chain"` as its last field: the SHA-256 of the chain of the line before
and of this line without its own. What was changed, left out, moved, put in or repeated after it was written shows at
the first line that does not fit. Lines missing at the end do not show here: the report names the hash of the whole.
The chain convicts damage and honest mistakes, not somebody who writes all of it anew: there is no key in it.
"""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path

from pydantic import ValidationError

from agents.trace.blobs import TraceError
from agents.trace.events import EVENT, FORMAT, AnyEvent

CHAIN = re.compile(rb',"chain":"([0-9a-f]{64})"\}')
CHAIN_BYTES = len(',"chain":""}') + 64


def chained(body: str, before: str) -> tuple[bytes, str]:
    """The line of an event's JSON object, and its chain; `before`: the chain of the line before, '' for the first."""
    chain = _hash(before, body.encode())
    return f'{body[:-1]},"chain":"{chain}"}}\n'.encode(), chain


def _hash(before: str, body: bytes) -> str:
    return hashlib.sha256(before.encode() + body).hexdigest()


def parse(path: Path, data: bytes) -> tuple[list[AnyEvent], str]:
    """The events of all complete lines, and the chain of the last one.

    A last line without its end was cut short by a crash and is left out. Whatever else is wrong raises TraceError,
    which names the file, the line and what is wrong with it.
    """
    lines = data.split(b"\n")[:-1]
    if not lines:
        raise TraceError(f"{path}: holds no event")
    _check_format(path, lines[0])
    events: list[AnyEvent] = []
    chain = ""
    for index, line in enumerate(lines):
        body, found = _split(line)
        event = _event(f"{path}, line {index + 1}", body, index)
        chain = _hash(chain, body)
        if found is None:
            raise TraceError(f"{path}, line {index + 1}: has no chain at its end, it was not written by beamcrew")
        if found.decode() != chain:
            raise TraceError(
                f"{path}, line {index + 1}: was changed after it was written, or does not belong behind line "
                f"{index}: its hash does not fit"
            )
        events.append(event)
    return events, chain


def _split(line: bytes) -> tuple[bytes, bytes | None]:
    """The event's JSON and its chain."""
    match = CHAIN.fullmatch(line, max(0, len(line) - CHAIN_BYTES))
    return (line[: match.start()] + b"}", match[1]) if match else (line, None)


def _event(where: str, body: bytes, index: int) -> AnyEvent:
    try:
        event = EVENT.validate_json(body)
    except ValidationError as error:
        first = error.errors()[0]
        what = ".".join(map(str, first["loc"][1:]))
        raise TraceError(f"{where}: not an event: {what} {first['msg']}") from None
    if event.index > index:
        raise TraceError(f"{where}: holds event {event.index}, lines are missing or out of order")
    if event.index < index:
        raise TraceError(f"{where}: holds event {event.index}, which is here twice or out of order")
    return event


def _check_format(path: Path, line: bytes) -> None:
    """Before anything else is read: another format need not have the same fields. Raises TraceError."""
    try:
        first = json.loads(line)
        found = first["format"] if first["kind"] == "run_started" else None
    except (ValueError, TypeError, KeyError, RecursionError):
        found = None
    if found is None:
        raise TraceError(f"{path}, line 1: does not begin as a trace does, with run_started and its format")
    if type(found) is not int or found != FORMAT:
        raise TraceError(
            f"{path}, line 1: format {found!r}, this version of beamcrew reads and plays format {FORMAT}; what an "
            "earlier version wrote is for that version, and its report stays as it is"
        )
