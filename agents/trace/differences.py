"""Differences between two JSON documents, short enough for a terminal."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import zip_longest
from typing import Any, NamedTuple

SHOWN = 160  # characters of a value
ABSENT = "(nothing)"


class Difference(NamedTuple):
    """One field that differs."""

    path: str
    recorded: str
    now: str


def differences(recorded: Any, now: Any, path: str = "") -> Iterator[Difference]:
    """Yield the differences field by field; texts are cut to the first line that differs.

    >>> for path, recorded, now in differences({"a": [1, 2], "b": "x"}, {"a": [1, 3], "c": 0}):
    ...     print(path, recorded, now)
    a[1] 2 3
    b "x" (nothing)
    c (nothing) 0
    """
    if isinstance(recorded, dict) and isinstance(now, dict):
        for name in [*recorded, *(name for name in now if name not in recorded)]:
            yield from _item(recorded, now, name, f"{path}.{name}" if path else str(name))
    elif isinstance(recorded, list) and isinstance(now, list):
        old, new = dict(enumerate(recorded)), dict(enumerate(now))
        for k in range(max(len(old), len(new))):
            yield from _item(old, new, k, f"{path}[{k}]")
    elif isinstance(recorded, str) and isinstance(now, str) and recorded != now:
        yield _lines(recorded, now, path)
    elif not _same(recorded, now):
        yield Difference(path, shown(recorded), shown(now))


def shown(value: Any) -> str:
    """Return a value as JSON, cut if it is long."""
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]} ..."


def _item(recorded: dict[Any, Any], now: dict[Any, Any], name: Any, path: str) -> Iterator[Difference]:
    if name in recorded and name in now:
        yield from differences(recorded[name], now[name], path)
    else:
        yield Difference(path, *(shown(side[name]) if name in side else ABSENT for side in (recorded, now)))


def _same(a: Any, b: Any) -> bool:
    """Compare types and values; NaN equals NaN here."""
    return type(a) is type(b) and bool(a == b or (a != a and b != b))


def _lines(recorded: str, now: str, path: str) -> Difference:
    """Return the first line that differs, starting a little before the first differing character."""
    for k, (a, b) in enumerate(zip_longest(recorded.splitlines(), now.splitlines())):
        if a != b:
            where = f"{path}, line {k + 1}" if "\n" in recorded + now else path
            first = next((n for n, pair in enumerate(zip(a or "", b or "", strict=False)) if len({*pair}) > 1), 0)
            cut = max(0, first - SHOWN // 2)
            return Difference(where, *(ABSENT if line is None else shown(line[cut:]) for line in (a, b)))
    return Difference(path, shown(recorded), shown(now))  # only line endings differ
