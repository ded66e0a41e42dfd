"""The nuisances that the operator names: columns of event weights, and columns of moved observables.

An entry of the list is a column, a pattern of columns (`w_*`) or the ending of moved columns: `jes_up` stands for all
columns that have the name of a detector-level column with `_jes_up` behind it.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Literal

import numpy as np

from tasks.unfolding.naming import Observable
from tasks.unfolding.tables import NOT_PASSED, Raw, Table, numbers, weights
from tools.contract import ToolError
from tools.unfolding.inputs import passes

Meaning = Literal["total", "factor"]
DIRECTION = re.compile(r"(?:(.+?)[_.])?(up|down|dn)|(.+)(Up|Down|Dn|UP|DOWN)")
RESERVED = re.compile(r"weight|(gen|reco|pass)_.*")
CHANGE = 2.0  # factor by which a nuisance may change the sum of weights


@dataclass
class Nuisances:
    """By name: the column with weights, and the moved columns by observable."""

    weights: dict[str, str] = field(default_factory=dict)
    moved: dict[str, dict[str, str]] = field(default_factory=dict)
    endings: dict[str, str] = field(default_factory=dict)  # of the moved columns, as in the file

    @property
    def names(self) -> list[str]:
        return [*self.weights, *self.moved]

    def columns(self) -> set[str]:
        """Return all columns that are used."""
        return {*self.weights.values(), *(each for of in self.moved.values() for each in of.values())}


def moved_columns(columns: Collection[str], observables: Sequence[Observable]) -> dict[str, dict[str, str]]:
    """Return the moved columns by ending and observable: detector-level columns with something behind their name."""
    levels = {each for x in observables for each in (x.reco, x.gen)}
    found: dict[str, dict[str, str]] = {}
    for x in observables:
        longer = [y.reco for y in observables if y.reco.startswith(f"{x.reco}_")]
        for column in columns:
            of_longer = any(column.startswith(f"{each}_") for each in longer)
            if column.startswith(f"{x.reco}_") and column not in levels and not of_longer:
                found.setdefault(column.removeprefix(f"{x.reco}_"), {})[x.name] = column
    return found


def find(
    entries: Sequence[str], columns: Sequence[str], observables: Sequence[Observable], used: Collection[str]
) -> Nuisances:
    """Return the nuisances that the entries stand for. `used`: columns with another meaning. Raises ToolError."""
    found, moves = Nuisances(), moved_columns(columns, observables)
    of_column = {column: ending for ending, each in moves.items() for column in each.values()}
    for entry in entries:
        named = [c for c in columns if fnmatchcase(c, entry) and (c not in used or c == entry)]
        endings = [each for each in moves if fnmatchcase(each, entry)]
        if not named and not endings:
            moving = f"; endings of moved columns: {', '.join(moves)}" if moves else ""
            free = ", ".join(c for c in columns if c not in used and c not in of_column)
            raise ToolError("nuisances", entry, f"a column of weights of the simulation, of {free or 'none'}{moving}")
        for column in named:
            if column in used:
                raise ToolError("nuisances", entry, f"variations only: {column!r} is used as something else")
            if column in of_column:
                endings.append(of_column[column])
            else:
                found.weights[_free(found, column, column)] = column
        for ending in dict.fromkeys(endings):
            name = canonical(ending)
            if found.endings.get(name) != ending:
                _free(found, name, entry)
                found.moved[name], found.endings[name] = moves[ending], ending
    return found


def canonical(name: str) -> str:
    """Return a name with the direction of a variation as `_up` or `_down`, which makes a pair of two of them.

    >>> canonical("w_jesUp"), canonical("jer.dn"), canonical("w_pdf"), canonical("up"), canonical("markup")
    ('w_jes_up', 'jer_down', 'w_pdf', 'moved_up', 'markup')
    """
    if match := DIRECTION.fullmatch(name):
        stem, direction = match[1] or (match[3] or "moved").rstrip("_."), match[2] or match[4]
        name = f"{stem}_{'up' if direction.lower() == 'up' else 'down'}"
    return re.sub(r"\W", "_", name)


def _free(found: Nuisances, column: str, entry: str) -> str:
    """Return the name of a nuisance, which no other may have."""
    name = canonical(column)
    if name in found.names:
        raise ToolError("nuisances", entry, f"each nuisance once; {name!r} stands for two")
    if RESERVED.fullmatch(name):
        raise ToolError("nuisances", entry, f"another name for {column!r}: rename the column")
    return name


def varied(
    path: Path,
    raw: Raw,
    found: Nuisances,
    observables: Sequence[Observable],
    table: Table,
    flag: str | None,
    nominal: str | None,
    meaning: Meaning | None,
) -> Table:
    """Return the columns of all nuisances, as `unfolding.unfold` reads them; weights on the scale of those in `table`.

    `flag`, `nominal`: columns with the flag at detector level and with the weights. `meaning`: whether a nuisance's
    weights are all of the weight or factors to it. Raises ToolError.
    """
    made: Table = {}
    start = numbers(path, raw, nominal) if nominal else np.ones(len(table["weight"]))
    if found.weights and meaning is None and np.any(start != 1):
        allowed = (
            f"total or factor: are {', '.join(found.weights.values())} all of the weight, or factors to {nominal}?"
        )
        raise ToolError("nuisance_weights", None, allowed)
    for name, column in found.weights.items():
        values = weights(path, raw, column) * (start if meaning == "factor" else 1.0)
        change = float(values.sum() / start.sum())
        if not 1 / CHANGE < change < CHANGE:
            hint = "is nuisance_weights right (total, factor)?"
            raise ToolError("nuisances", column, f"{path}: the sum of weights changes by {change:.3g}; {hint}")
        made[name] = values / start.mean()
    for name, columns in found.moved.items():
        ending = found.endings[name]
        own = f"{flag}_{ending}" if flag and f"{flag}_{ending}" in raw else None
        passed = numbers(path, raw, own) if own else table["pass_reco"]
        moved = {x.name: columns.get(x.name, x.reco) for x in observables}
        values = np.column_stack([numbers(path, raw, column, finite=False) for column in moved.values()])
        kept = passes(values, list(moved.values()), passed, own or flag or "pass_reco", "path", str(path), [])
        for k, x in enumerate(moved):
            if own or x in columns:
                made[f"reco_{x}_{name}"] = np.where(kept, values[:, k], NOT_PASSED)
        if own:
            made[f"pass_reco_{name}"] = kept.astype(np.float64)
    return made
