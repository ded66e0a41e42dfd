"""Tracing of claimed numbers to what a tool returned, a script printed or the harness computed.

A number that an agent makes up, or combines from others by eye, is nowhere in the record. A claimed number is traced
when a printed one, rounded to the digits of the claim (without trailing zeros), equals it in any unit of its kind.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from agents.trace.events import AnyEvent, Confirmed, Executed, Graded, ToolCalled
from agents.trace.record import where_of
from agents.trace.store import Store
from tasks.quoted import NUMBER, among, leaves, sizes
from tasks.score import CheckedNumber


def traced(checks: Sequence[CheckedNumber], events: Sequence[AnyEvent], store: Store) -> list[CheckedNumber]:
    """Return the checks with `traced` set: whether each claimed number and its error occur in `events`."""
    printed = sizes(value for event in events for value in _numbers(event, store))
    return [_said(check, printed) for check in checks]


def printed_until(
    iteration: int, events: Sequence[AnyEvent], store: Store, more: Iterator[float]
) -> NDArray[np.float64]:
    """Return the sizes (n,) of all numbers that tools, scripts and the grader gave up to an iteration, and of `more`.

    Later events of a run that is resumed do not count: the answer is the same as when it was first asked for.
    """
    past = [event for event in events if (at := where_of(event).iteration) is not None and at <= iteration]
    return sizes(chain((value for event in past for value in _numbers(event, store)), more))


def _said(check: CheckedNumber, printed: NDArray[np.float64]) -> CheckedNumber:
    if check.claimed is None or isinstance(check.claimed, bool):
        return check
    wanted = [check.claimed, *([check.claimed_error] if check.claimed_error is not None else [])]
    found = all(any(among(value, printed * scale) for scale in check.scales) for value in wanted)
    return check.model_copy(update={"traced": found})


def _numbers(event: AnyEvent, store: Store) -> Iterator[float]:
    if isinstance(event, ToolCalled):
        yield from leaves(event.result) if event.where.role == "worker" else ()
    elif isinstance(event, Executed) and event.where.role == "worker":
        yield from map(float, NUMBER.findall(store.get(event.stdout).decode(errors="replace")))
    elif isinstance(event, Graded | Confirmed):
        yield from leaves(json.loads(event.score.model_dump_json()))
