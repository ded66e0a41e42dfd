"""The nuisances that the operator names: columns of event weights, and columns of moved quantities.

An entry of the list is a column, a pattern of columns (`w_*`) or the ending of moved columns: `jes_up` stands for all
columns that have the name of a measured column with `_jes_up` behind it.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator

from tools.contract import ToolError

Meaning = Literal["total", "factor"]  # of variations of weights: all of the weight, or factors to it
DIRECTION = re.compile(r"(?:(.+?)[_.])?(up|down|dn)|(.+)(Up|Down|Dn|UP|DOWN)")
SYSTEMATIC = re.compile(r"nuisance|systematic|systematisch|variation", re.IGNORECASE)
NONE = re.compile(r"\b(no|without|ohne|keine)\s+(nuisance|systemat|variation)", re.IGNORECASE)
VARIED = re.compile(r"(w|wt|wgt|weight|var|syst)_.+", re.IGNORECASE)
RESERVED = re.compile(r"weight|(gen|reco|pass)_.*")
CHANGE = 2.0  # factor by which a nuisance may change a sum of weights


def listed(value: Any) -> Any:
    """Return `a, b` as a list."""
    return [each.strip() for each in value.split(",") if each.strip()] if isinstance(value, str) else value


Listed = Annotated[list[str], BeforeValidator(listed)]


@dataclass
class Nuisances:
    """By name: the column with weights, and the moved columns by quantity."""

    weights: dict[str, str] = field(default_factory=dict)
    moved: dict[str, dict[str, str]] = field(default_factory=dict)
    endings: dict[str, str] = field(default_factory=dict)  # of the moved columns, as in the file

    @property
    def names(self) -> list[str]:
        return [*self.weights, *self.moved]

    def columns(self) -> set[str]:
        """Return all columns that are used."""
        return {*self.weights.values(), *(each for of in self.moved.values() for each in of.values())}


def moved_columns(
    columns: Collection[str], measured: Mapping[str, str], others: Collection[str] = ()
) -> dict[str, dict[str, str]]:
    """Return the moved columns by ending and quantity: measured columns with something behind their name.

    `measured`: the column of each quantity; `others`: columns that are no variations.
    """
    found: dict[str, dict[str, str]] = {}
    for name, base in measured.items():
        longer = [each for each in measured.values() if each.startswith(f"{base}_")]
        for column in columns:
            of_longer = any(column.startswith(f"{each}_") for each in longer)
            known = column in others or column in measured.values()
            if column.startswith(f"{base}_") and not known and not of_longer:
                found.setdefault(column.removeprefix(f"{base}_"), {})[name] = column
    return found


def find(
    entries: Sequence[str], columns: Sequence[str], measured: Mapping[str, str], used: Collection[str]
) -> Nuisances:
    """Return the nuisances that the entries stand for. `used`: columns with another meaning. Raises ToolError."""
    found, moves = Nuisances(), moved_columns(columns, measured, used)
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


def variations(columns: Collection[str], measured: Mapping[str, str], used: Collection[str]) -> list[str]:
    """Return what looks like a variation: endings of moved columns with a direction, and columns of varied weights.

    >>> variations(["m", "m_jes_up", "m_vis", "w_pdf"], {"m": "m"}, [])
    ['jes_up', 'w_pdf']
    """
    endings = [each for each in moved_columns(columns, measured, used) if DIRECTION.fullmatch(each)]
    return [*endings, *(c for c in columns if VARIED.fullmatch(c) and c not in {*used, *measured.values()})]


def sources(names: Collection[str]) -> dict[str, tuple[str | None, str | None]]:
    """Return the variations (down, up) of each source, None for one that is missing.

    >>> sources(["jes_up", "jes_down", "w_pdf"])
    {'jes': ('jes_down', 'jes_up'), 'w_pdf': (None, 'w_pdf')}
    """
    found: dict[str, tuple[str | None, str | None]] = {}
    for name in names:
        stem = re.sub(r"_(up|down)$", "", name)
        down, up = found.get(stem, (None, None))
        found[stem] = (name, up) if name.endswith("_down") else (down, name)
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
