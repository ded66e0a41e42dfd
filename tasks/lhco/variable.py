"""The variable that is searched: what people call it, its unit, the range that is fitted and the masses searched."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tasks.writing import measured
from tools.bumphunt.spectrum import RANGE
from tools.bumphunt.windows import HALF_WIDTH, SEARCH
from tools.events.table import MASS

Range = tuple[float, float]


@dataclass(frozen=True)
class Variable:
    """A mass; `column` has it in the event files, all numbers are in `unit`. `half_width`: of windows, relative."""

    name: str
    unit: str
    column: str
    fit_range: Range
    search: Range
    half_width: float = HALF_WIDTH
    notes: tuple[str, ...] = ()  # what was assumed about the data
    known: tuple[Range, ...] | None = None  # masses whose events are left out; None: no choice of the operator

    def said(self, value: float, error: float | None = None) -> str:
        """Return a mass with its unit."""
        return measured(value, error, self.unit)

    def details(self) -> dict[str, Any]:
        """Return what a score's details say of it."""
        return {"variable": self.name, "unit": self.unit, "notes": list(self.notes)}


def dijets(search: Range = SEARCH, known: Sequence[Range] | None = None) -> Variable:
    """Return the dijet mass in TeV."""
    return Variable("mjj", "TeV", "mjj", RANGE, search, known=known if known is None else tuple(known))


def own(
    name: str,
    unit: str,
    fit_range: Range,
    search: Range,
    half_width: float,
    notes: tuple[str, ...],
    known: Sequence[Range] = (),
) -> Variable:
    """Return a variable of the operator's own, which is the column `mass` of the event files."""
    return Variable(name, unit, MASS, fit_range, search, half_width, notes, tuple(known))


DIJETS = dijets()
