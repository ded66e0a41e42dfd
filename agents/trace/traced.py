"""Tracing of claimed numbers to what a tool returned, a script printed or the harness computed.

A number that an agent makes up, or combines from others by eye, is nowhere in the record. A claimed number is traced
when a printed one, rounded to the digits of the claim (without trailing zeros), equals it in any unit of its kind.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agents.trace.events import AnyEvent, Confirmed, Executed, Graded, ToolCalled
from agents.trace.store import Store
from tasks.score import CheckedNumber
from tasks.writing import number

NUMBER = re.compile(r"(?<![\w.])[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?")
LONGEST = 100  # entries of an array; a longer one contains almost any number
FEWEST = 2  # minimum number of digits compared


def traced(checks: Sequence[CheckedNumber], events: Sequence[AnyEvent], store: Store) -> list[CheckedNumber]:
    """Return the checks with `traced` set: whether each claimed number and its error occur in `events`."""
    printed = np.unique([abs(value) for event in events for value in _numbers(event, store) if np.isfinite(value)])
    return [_said(check, printed) for check in checks]


def _said(check: CheckedNumber, printed: NDArray[np.float64]) -> CheckedNumber:
    if check.claimed is None or isinstance(check.claimed, bool):
        return check
    wanted = [check.claimed, *([check.claimed_error] if check.claimed_error is not None else [])]
    found = all(any(among(value, printed * scale) for scale in check.scales) for value in wanted)
    return check.model_copy(update={"traced": found})


def among(claimed: float, printed: NDArray[np.float64]) -> bool:
    """Return True if a printed number (n,), all >= 0, rounds to |claimed| at the claim's number of digits.

    >>> bool(among(3.51, np.array([3.5099]))), bool(among(760.0, np.array([768.0]))), bool(among(0.0, np.array([0.0])))
    (True, False, True)
    """
    if claimed == 0:
        return bool((printed == 0).any())
    mantissa, exponent = f"{abs(claimed):.14e}".split("e")
    digits = max(len(mantissa.replace(".", "").rstrip("0")), FEWEST)
    half = 0.5 * 10.0 ** (int(exponent) - digits + 1)
    return bool((np.abs(printed - abs(claimed)) <= half * (1 + 1e-9)).any())


def _numbers(event: AnyEvent, store: Store) -> Iterator[float]:
    if isinstance(event, ToolCalled):
        yield from _leaves(event.result) if event.where.role == "worker" else ()
    elif isinstance(event, Executed) and event.where.role == "worker":
        yield from map(float, NUMBER.findall(store.get(event.stdout).decode(errors="replace")))
    elif isinstance(event, Graded | Confirmed):
        yield from _leaves(json.loads(event.score.model_dump_json()))


def _leaves(value: Any) -> Iterator[float]:
    if isinstance(value, dict):
        for each in value.values():
            yield from _leaves(each)
    elif isinstance(value, list):
        if len(value) <= LONGEST:
            for each in value:
                yield from _leaves(each)
    elif isinstance(value, str):
        yield from map(float, NUMBER.findall(value))
    elif (found := number(value)) is not None:
        yield found
