"""Events as lines with a hash chain: each line carries a hash over itself and all lines before it.

A line is the event's JSON with `"chain"` as its last field: the SHA-256 of the previous line's chain and of this line
without its own. Any later change, omission, move, insertion or repetition shows at the first line that does not fit.
Lines missing at the end do not show here: result.json has the hash of the whole file. The chain detects damage and
honest mistakes, but not someone who rewrites the whole file: it uses no key.
"""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path

from pydantic import ValidationError

from agents.trace.blobs import TraceError
from agents.trace.events import EVENT, FORMAT, AnyEvent
from tools.contract import problems

CHAIN = re.compile(rb',"chain":"([0-9a-f]{64})"\}')
CHAIN_BYTES = len(',"chain":""}') + 64


def chained(body: str, before: str) -> tuple[bytes, str]:
    """Return the line of an event's JSON object, and its chain; `before`: the previous line's chain or ''."""
    chain = _hash(before, body.encode())
    return f'{body[:-1]},"chain":"{chain}"}}\n'.encode(), chain


def _hash(before: str, body: bytes) -> str:
    return hashlib.sha256(before.encode() + body).hexdigest()


def parse(path: Path, data: bytes) -> tuple[list[AnyEvent], str]:
    """Return the events of all complete lines and the chain of the last one.

    An incomplete last line was cut short by a crash and is left out. Any other defect raises TraceError, which names
    the file, the line and the defect.
    """
    lines = data.split(b"\n")[:-1]
    if not lines:
        raise TraceError(f"{path}: contains no events")
    _check_format(path, lines[0])
    events: list[AnyEvent] = []
    chain = ""
    for index, line in enumerate(lines):
        body, found = _split(line)
        event = _event(f"{path}, line {index + 1}", body, index)
        chain = _hash(chain, body)
        if found is None:
            raise TraceError(f"{path}, line {index + 1}: has no chain at its end; it was not written by beamcrew")
        if found.decode() != chain:
            raise TraceError(
                f"{path}, line {index + 1}: was changed after it was written, or does not belong after line "
                f"{index}: its hash does not match"
            )
        events.append(event)
    return events, chain


def _split(line: bytes) -> tuple[bytes, bytes | None]:
    """Split a line into the event's JSON and its chain; None if it has no chain."""
    match = CHAIN.fullmatch(line, max(0, len(line) - CHAIN_BYTES))
    return (line[: match.start()] + b"}", match[1]) if match else (line, None)


def _event(where: str, body: bytes, index: int) -> AnyEvent:
    try:
        event = EVENT.validate_json(body)
    except ValidationError as error:
        wrong = problems(error)[0]
        _, _, field = wrong.field.partition(".")  # after the kind of event
        raise TraceError(f"{where}: not an event: {field} {wrong.said}") from None
    if event.index > index:
        raise TraceError(f"{where}: contains event {event.index}; lines are missing or out of order")
    if event.index < index:
        raise TraceError(f"{where}: contains event {event.index}, which is repeated or out of order")
    return event


def _check_format(path: Path, line: bytes) -> None:
    """Check the format before anything else: another format may have other fields. Raises TraceError."""
    try:
        first = json.loads(line)
        found = first["format"] if first["kind"] == "run_started" else None
    except (ValueError, TypeError, KeyError, RecursionError):
        found = None
    if found is None:
        raise TraceError(f"{path}, line 1: is not the start of a trace, which is run_started with its format")
    if type(found) is not int or found != FORMAT:
        raise TraceError(
            f"{path}, line 1: format {found!r}, but this version of beamcrew reads and replays format {FORMAT}; use "
            "the version that wrote the trace; its report stays valid"
        )
