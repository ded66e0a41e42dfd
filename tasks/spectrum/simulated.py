"""A file of simulated signal: where a resonance is seen, how wide, with which efficiency, and what variations change.

A variation is a column of weights, or moved columns in place of those that mass and cut are made of: the selection is
made again with them. `_up` and `_down` are the two sides of one source; one side alone is mirrored (its inverse). The
efficiency is that for the nominal number of generated events: normalise weights that change the cross section before.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tasks.nuisances import CHANGE, Meaning, Nuisances, find, sources, variations
from tasks.task import TaskError
from tools.contract import ToolError
from tools.events.anytable import read_table
from tools.events.expression import evaluate, names_in, select
from tools.events.weights import effective
from tools.nuisances import QUANTITIES, Nuisance
from tools.types import Floats

CENTRAL = (0.158655, 0.5, 0.841345)
STATISTICS = "signal_statistics"
MOVED = 1.25  # factor by which a variation may move the mass
Table = dict[str, NDArray[Any]]


class Wanted(NamedTuple):
    """What the operator says about the file."""

    column: str
    cut: str | None
    generated: float | None  # events, or their sum of weights
    weights: str | None
    nuisances: list[str] | None  # None: not said
    meaning: Meaning | None


class Look(NamedTuple):
    """Efficiency, median mass and relative width (half of the central 68%) in one version of the events."""

    efficiency: float
    mass: float
    width: float


class Simulated(NamedTuple):
    """A simulated resonance, the statistical error of its efficiency, its nuisances, and what was assumed of them."""

    nominal: Look
    efficiency_error: float
    nuisances: list[Nuisance]
    notes: list[str]

    def numbers(self) -> dict[str, float]:
        return self.nominal._asdict() | {"efficiency_error": self.efficiency_error}

    def statistics(self) -> Nuisance:
        """Return the nuisance of a limited number of simulated events."""
        factor = 1 + self.efficiency_error / self.nominal.efficiency
        return Nuisance(name=STATISTICS, efficiency=(1 / factor, factor))


def simulated(path: Path, wanted: Wanted) -> Simulated:
    """Read a file of simulated signal with the columns of the data. Raises TaskError naming the option."""
    try:
        return _read(path, wanted)
    except ToolError as error:
        field = "signal_file" if error.field == "path" else error.field
        raise TaskError(field, error.value, f"{error.allowed} (in signal_file {path})") from None


def _read(path: Path, wanted: Wanted) -> Simulated:
    table = read_table(path)
    measured = {n: n for text in (wanted.column, wanted.cut) if text for n in names_in(text, list(table))}
    rows = len(next(iter(table.values())))
    if short := [name for name, values in table.items() if len(values) != rows]:
        raise ToolError("path", short[0], f"a column of {rows} rows; it has {len(table[short[0]])}")
    weight = _numbers(table, wanted.weights, "signal_weights") if wanted.weights else np.ones(rows)
    whole = float(weight.sum())
    total = wanted.generated or whole
    nominal = _look(table, wanted, weight, total)
    if not 0 < nominal.efficiency <= 1:
        allowed = f"{nominal.efficiency * total:.6g} events, or sum of weights, are selected: above 0, no fewer"
        raise ToolError("signal_generated", total, allowed)
    share, alike = nominal.efficiency, effective(weight) * total / whole
    error = float(np.sqrt(share * (1 - share) / alike))
    if wanted.nuisances is None:
        used = [wanted.weights] if wanted.weights else []
        if look := variations(list(table), measured, used):
            allowed = f"which of {', '.join(look)} are variations that enter the limits? Such as jes_*, or [] for none"
            raise ToolError("nuisances", None, allowed)
        return Simulated(nominal, error, [], [])
    named = _found(table, wanted, measured)
    looks = {n: _varied(table, wanted, weight, total, named, n) for n in named.names}
    notes = [
        f"{up or down} is one-sided: its opposite is taken as the inverse."
        for down, up in sources(named.names).values()
        if not (up and down)
    ]
    made = [_nuisance(source, pair, looks, nominal) for source, pair in sources(named.names).items()]
    return Simulated(nominal, error, made, notes)


def _found(table: Table, wanted: Wanted, measured: dict[str, str]) -> Nuisances:
    used = {*measured, *([wanted.weights] if wanted.weights else [])}
    return find(wanted.nuisances or [], list(table), measured, used)


def _look(table: Table, wanted: Wanted, weight: Floats, total: float) -> Look:
    """Return what is seen of the events of a table with weights (n,)."""
    kept = np.ones(len(weight), bool) if wanted.cut is None else select(wanted.cut, table)
    mass = evaluate(wanted.column, {name: values[kept] for name, values in table.items()}, "column")
    if mass.dtype.kind not in "fiu" or not np.isfinite(mass).all():
        raise ToolError("column", wanted.column, "finite numbers in all selected rows")
    if not len(mass):
        raise ToolError("cut", wanted.cut, f"selects none of {len(weight)} rows")
    order = np.argsort(mass)
    sums = np.maximum.accumulate(np.cumsum(weight[kept][order]) - weight[kept][order] / 2)
    low, middle, high = np.interp(np.array(CENTRAL) * weight[kept].sum(), sums, mass[order])
    return Look(float(weight[kept].sum() / total), float(middle), float((high - low) / (2 * middle)))


def _varied(table: Table, wanted: Wanted, weight: Floats, total: float, named: Nuisances, name: str) -> Look:
    """Return what is seen with one variation. Raises ToolError for one that is the nominal."""
    moved, changed = dict(table), weight
    if column := named.weights.get(name):
        if wanted.weights and wanted.meaning is None:
            allowed = f"total or factor: is {column} all of the weight, or a factor to {wanted.weights}?"
            raise ToolError("nuisance_weights", None, allowed)
        changed = _numbers(table, column, "nuisances") * (weight if wanted.meaning == "factor" else 1.0)
        same = np.array_equal(changed, weight)
    else:
        moved |= {base: _numbers(table, each, "nuisances") for base, each in named.moved[name].items()}
        same = all(np.array_equal(moved[base], table[base]) for base in named.moved[name])
    if same:
        raise ToolError("nuisances", name, "a variation: it is the nominal in all rows")
    return _look(moved, wanted, changed, total)


def _nuisance(source: str, pair: tuple[str | None, str | None], looks: dict[str, Look], nominal: Look) -> Nuisance:
    """Return what a source changes, from its variations (down, up), of which one may be missing."""
    down, up = (looks[name] if name else None for name in pair)
    if down == up:
        raise ToolError("nuisances", source, "variations up and down that differ")
    factors: dict[str, Any] = {}
    for of, most in zip(QUANTITIES, (CHANGE, MOVED, CHANGE), strict=True):
        sides = [None if each is None else getattr(each, of) / getattr(nominal, of) for each in (down, up)]
        for factor, name in zip(sides, pair, strict=True):
            if factor is not None and not 1 / most < factor < most:
                allowed = f"a change of the {of} by a factor below {most:g}; it is {factor:.3g}. Are unit and "
                raise ToolError("nuisances", name, f"{allowed}nuisance_weights right?")
        factors[of] = (sides[0] or 1 / (sides[1] or 1.0), sides[1] or 1 / (sides[0] or 1.0))
    return Nuisance(name=source, **factors)


def _numbers(table: Table, name: str, field: str) -> Floats:
    """Return a column of finite numbers."""
    if name not in table or table[name].dtype.kind not in "fiu":
        raise ToolError(field, name, f"a column of numbers; there are {', '.join(table)}")
    values = np.asarray(table[name], dtype=np.float64)
    if len(bad := np.flatnonzero(~np.isfinite(values))):
        raise ToolError(field, name, f"finite numbers; row {bad[0]} is not, {len(bad)} in all")
    return values
