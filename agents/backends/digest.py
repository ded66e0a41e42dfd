"""Results shortened for models: only informative fields, with significant digits only. The trace keeps everything.

Floats get five digits, long lists of numbers are cut to their ends and length, and fields that only programs need are
left out: that saves two thirds of the tokens.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from math import isfinite
from typing import Any

DIGITS = 5
LONGEST = 12  # entries of a list of numbers, or of lists of them, that is shown completely
ENDS = 3  # entries shown at the beginning of a longer one; one more at its end
FOR_PROGRAMS = frozenset({"sha256", "artefact", "dtype", "device"})


def digest(value: Any) -> Any:
    """Return a shortened copy of a result.

    >>> digest({"length": 3.507307600911458, "sha256": "5efd66", "losses": list(range(40))})
    {'length': 3.5073, 'losses': [0, 1, 2, '... 40 in all ...', 39]}
    """
    if isinstance(value, float):
        short = float(f"{value:.{DIGITS}g}")
        return short if isfinite(short) else value  # the largest floats round up to infinity
    if isinstance(value, Mapping):
        return {name: digest(part) for name, part in value.items() if name not in FOR_PROGRAMS and part != {}}
    if isinstance(value, list | tuple):
        if len(value) > LONGEST and all(isinstance(part, int | float | list | tuple) for part in value):
            value = [*value[:ENDS], f"... {len(value)} in all ...", value[-1]]
        return [digest(part) for part in value]
    return value


def compact(value: Any) -> str:
    """Return JSON without spaces and with sorted keys: a replayed run must send exactly the same requests."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


def ends(text: str, shown: int) -> str:
    """Return the beginning and the end of an output, with the length of the omitted part between them.

    >>> ends("abcdefghij", 4)
    'ab\\n[... 6 characters left out ...]\\nij'
    """
    if len(text) <= shown:
        return text
    half = shown // 2
    return f"{text[:half]}\n[... {len(text) - 2 * half} characters left out ...]\n{text[-half:]}"
