"""Whether a quoted number is one of those that something computed, however rounded."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasks.writing import SUPERSCRIPT, number

NUMBER = re.compile(r"(?<![\w.])[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?")
WRITTEN = re.compile(rf"({NUMBER.pattern})(?![\d.]*[A-Z]\b)\s*(%?)")  # not the 1 of a state's name (1S)
GROUPED = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")  # 6,542
POWER = re.compile(r"\s*[×x·]\s*10(?:\^?([-+−]?\d+)|([⁻⁰¹²³⁴⁵⁶⁷⁸⁹]+))")  # 3.2 × 10⁻⁷
PLAIN = {raised: ordinary for ordinary, raised in SUPERSCRIPT.items()}
LONGEST = 100  # entries of an array; a longer one contains almost any number
FEWEST = 2  # minimum number of digits compared


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


def leaves(value: Any) -> Iterator[float]:
    """Return all numbers in nested lists and objects, those in texts included, without long arrays."""
    if isinstance(value, dict):
        for each in value.values():
            yield from leaves(each)
    elif isinstance(value, list):
        if len(value) <= LONGEST:
            for each in value:
                yield from leaves(each)
    elif isinstance(value, str):
        yield from map(float, NUMBER.findall(value))
    elif (found := number(value)) is not None:
        yield found


def sizes(values: Iterator[float]) -> NDArray[np.float64]:
    """Return the absolute values (n,) of all finite numbers, once each: what `among` takes."""
    return np.unique([abs(value) for value in values if np.isfinite(value)])


def strangers(text: str, known: NDArray[np.float64]) -> list[str]:
    """Return the numbers of a text that are not among the known ones (n,), as they are written.

    >>> strangers("A 9.46 and B 3.1 × 10⁻⁷, of 6,542; shifted by 0.3%", np.array([9.4603, 3.1e-7, 6542, 0.002]))
    ['0.3%']
    """
    plain = POWER.sub(lambda m: f"e{(m[1] or m[2].translate(PLAIN)).replace('−', '-')}", GROUPED.sub("", text))
    found = []
    for written, percent in WRITTEN.findall(plain):
        scales = (1.0, 100.0) if percent else (1.0,)
        if not any(among(float(written), known * scale) for scale in scales):
            found.append(f"{written}{percent}")
    return list(dict.fromkeys(found))
