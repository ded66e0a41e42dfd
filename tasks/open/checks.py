"""What can be checked of an answer without knowing the truth.

Of each number: it has an error and a unit; the same script gives it again; it follows the data; two halves of the data
agree within the errors stated on each; its spread over bootstrap resamples is its stated error, up to TOLERANCE; it
hardly moves with a few other rows. Of each figure: the picture exists, both axes have a label and a unit, and its
content is there in numbers. Of tables and files: the same script gives them again.

The tests of halves and spread are gates: right errors fail one of all these gates with probability ALPHA, shared by the
numbers, at each look. They assume independent rows and numbers that are nearly normal.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from tools.analysis.agreement import largest_move, largest_pull, pull, spread_over_error, spread_range
from tools.analysis.repeat import varied
from tools.analysis.results import Answer, Figure, Number, Results
from tools.contract import Frozen

ALPHA = 0.01
TOLERANCE = 1.25  # factor by which an honest error may be off: formulas are approximate
SAME = 1e-6  # relative difference of numbers that are the same: other processors round differently

Stability = dict[str, list[float | None]]  # by name: pull between the halves, spread over error


class Check(Frozen):
    """One thing that holds or does not. `of`: a number, table, figure or file."""

    of: str
    what: str
    holds: bool
    said: str = ""


def stability(answer: Answer) -> Stability:
    """Return how each number varies: [z between the halves, spread over error], None where it cannot be told."""
    found: Stability = {}
    for name, number in answer.results.named().items():
        halves, values = varied(name, answer)
        z = pull(*halves) if len(halves) == 2 else None
        error = number.error if _right(number.error) and len(values) > 1 else None
        ratio = None if error is None else spread_over_error(values, error)
        found[name] = [each if each is None or math.isfinite(each) else None for each in (z, ratio)]
    return found


def checked(
    answer: Answer, before: Results | None = None, varied_before: Mapping[str, Any] | None = None
) -> list[Check]:
    """Return all checks of an answer. `before`, `varied_before`: results and stability as they were handed in, if
    this is their repetition in a fresh sandbox, with other halves and resamples."""
    other = [(answer.again, "")] + ([(before, " in a fresh sandbox")] if before else [])
    found = list(_runs(answer))
    gates = 2 * len(answer.results.numbers)
    varies = stability(answer)
    for number in answer.results.numbers:
        found += _stated(number)
        found.append(_again("numbers", number.name, number, other))
        if not _follows(number, answer) or _unmoved(varies[number.name], (varied_before or {}).get(number.name)):
            said = "the same on all parts of the data: it is not computed from them"
            found.append(Check(of=number.name, what="follows the data", holds=False, said=said))
        elif _right(number.error):
            found.append(Check(of=number.name, what="follows the data", holds=True))
            found += _varies(number.name, varies[number.name], _resamples(answer), ALPHA / gates)
            found.append(_computed(number, answer))
    for table in answer.results.tables:
        found.append(_again("tables", table.title, table, other))
    for figure in answer.results.figures:
        found += _figure(figure, answer.pictures.get(figure.file, "no such file"))
        found.append(_again("figures", figure.file, figure, other))
    for name, (first, second) in answer.hashes.items():
        said = "no such file" if not first else "" if first == second else "differs when the script runs again"
        found.append(Check(of=name, what="is made again", holds=not said, said=said))
    return found


def _right(error: float | None) -> bool:
    return error is not None and error > 0


def _resamples(answer: Answer) -> int:
    return sum(each.kind == "bootstrap" and not each.trouble for each in answer.resampled)


def _runs(answer: Answer) -> Iterator[Check]:
    """Check that the script works on all parts of the data, and names its numbers alike."""
    wanted, parts = set(answer.results.named()), answer.resampled
    bad = [each.trouble or "other numbers than on all data" for each in parts if set(each.numbers) != wanted]
    said = f"fails on {len(bad)} of {len(parts)} parts of the data: {bad[0][-300:]}" if bad else ""
    yield Check(of="script", what="works on parts of the data", holds=not bad and bool(parts), said=said)


def _stated(number: Number) -> Iterator[Check]:
    error = number.error
    said = "" if _right(error) else "no error is stated" if error is None else f"the error is {error:g}"
    yield Check(of=number.name, what="has an error", holds=not said, said=said)
    said = "" if number.unit.strip() else "no unit is stated ('1' if it has none)"
    yield Check(of=number.name, what="has a unit", holds=not said, said=said)


def _again(kind: str, name: str, item: Any, other: list[tuple[Results, str]]) -> Check:
    """Check that other runs of the script have the same item."""
    for results, where in other:
        found = next((each for each in getattr(results, kind) if _name(each) == name), None)
        if found is None or not same(item.model_dump(), found.model_dump()):
            now = f": {found.value:.6g} ± {found.error}" if isinstance(found, Number) else ""
            said = f"another value when the script runs again{where}{now}; is everything random seeded?"
            return Check(of=name, what="is made again", holds=False, said=said)
    return Check(of=name, what="is made again", holds=True)


def _name(item: Any) -> str:
    return str(next(getattr(item, field) for field in ("name", "file", "title") if hasattr(item, field)))


def same(one: Any, other: Any) -> bool:
    """Return whether two documents are equal, with numbers equal up to SAME."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, float) and isinstance(other, float):
        return math.isclose(one, other, rel_tol=SAME)
    return bool(one == other)


def _follows(number: Number, answer: Answer) -> bool:
    values = [each.numbers[number.name][0] for each in answer.resampled if number.name in each.numbers]
    return any(value != number.value for value in values)


def _computed(number: Number, answer: Answer) -> Check:
    """Check that a number hardly moves with a few other rows; what is drawn at random moves as between resamples."""
    values = varied(number.name, answer)[1]
    parts = [each for each in answer.resampled if each.kind == "nearly all" and number.name in each.numbers]
    moves = [each.numbers[number.name][0] - number.value for each in parts]
    typical = math.sqrt(sum(move**2 for move in moves) / max(len(moves), 1))
    spread = float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
    said = ""
    if typical > largest_move(answer.rows) * spread > 0:
        moved = f"1% other rows move it by {typical / spread:.2g} of what other data do"
        said = f"{moved}: it is drawn at random, or not stable"
    return Check(of=number.name, what="is computed, not drawn", holds=not said, said=said)


def _unmoved(now: list[float | None], before: Any) -> bool:
    """Return whether other halves and resamples gave exactly what the first ones gave."""
    return before is not None and now == list(before) and any(each is not None for each in now)


def _varies(name: str, varies: list[float | None], resamples: int, alpha: float) -> Iterator[Check]:
    """Check the pull between the halves and the spread over the resamples, each at the level `alpha`."""
    z, ratio = varies
    limit = largest_pull(alpha)
    said = "no value with an error on both halves" if z is None else ""
    if z is not None and abs(z) > limit:
        said = f"two halves of the data differ by {abs(z):.1f} of their errors; at most {limit:.1f}"
    yield Check(of=name, what="halves agree", holds=not said, said=said)
    said = "too few resamples with a value" if ratio is None or resamples < 2 else ""
    if ratio is not None and resamples >= 2:
        low, high = (
            edge * factor
            for edge, factor in zip(spread_range(resamples, alpha), (1 / TOLERANCE, TOLERANCE), strict=True)
        )
        if not low <= ratio <= high:
            size = "small" if ratio > high else "large"
            said = f"the error is too {size}: resamples spread by {ratio:.2g} of it; {low:.2g} to {high:.2g} expected"
    yield Check(of=name, what="error is the spread", holds=not said, said=said)


def _figure(figure: Figure, wrong: str) -> Iterator[Check]:
    yield Check(of=figure.file, what="the picture exists", holds=not wrong, said=wrong)
    missing = [
        f"{part} of {axis}"
        for axis in "xy"
        for part in ("label", "unit")
        if not getattr(getattr(figure, axis), part).strip()
    ]
    said = f"no {', no '.join(missing)}" if missing else ""
    yield Check(of=figure.file, what="axes have labels and units", holds=not said, said=said)
    there = any(series.y for series in figure.series)
    yield Check(of=figure.file, what="is there in numbers", holds=there, said="" if there else "`series` is empty")
