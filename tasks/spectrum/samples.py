"""The spectrum of the task: a column, or an expression, of the operator's table; or one that is made up."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasks.task import TaskError
from tools.contract import ToolError
from tools.events.anytable import read_table
from tools.events.expression import evaluate, select
from tools.events.names import is_label, is_weight

MADE_UP = 30_000  # background events
RANGE = (20.0, 120.0)  # GeV
YIELDS = (900, 500)
RESOLUTION = 0.015
Columns = dict[str, NDArray[np.float64]]


@dataclass(frozen=True)
class Sample:
    """The events: `mass` and other columns of numbers; `true` holds (mass, events) of resonances if they are known."""

    columns: dict[str, NDArray[np.float64]]
    hidden: list[str] = field(default_factory=list)  # columns that no agent may see
    true: list[tuple[float, int]] = field(default_factory=list)


def load(data: Path, column: str, cut: str | None, weights: str | None, unweighted: bool) -> Sample:
    """Read a table, select rows and compute the mass. Raises TaskError naming the option and what is allowed."""
    try:
        table = read_table(data)
        if weights is not None and (weights not in table or table[weights].dtype.kind not in "fiu"):
            raise ToolError("weights", weights, f"a column of numbers; there are {', '.join(table)}")
        if weights is None and not unweighted and (like := [name for name in table if is_weight(name)]):
            allowed = f"the events would be counted, not weighted by {', '.join(like)}; true if that is right, else "
            allowed += "name the column in `weights`"
            raise ToolError("unweighted", unweighted, allowed)
        kept = np.ones(len(next(iter(table.values()))), bool) if cut is None else select(cut, table)
        if not kept.any():
            raise ToolError("cut", cut, f"selects none of {len(kept)} rows")
        table = {name: values[kept] for name, values in table.items()}
        mass = evaluate(column, table, "column")
    except ToolError as error:
        raise TaskError("data" if error.field == "path" else error.field, error.value, error.allowed) from None
    numeric = {name: values for name, values in table.items() if values.dtype.kind in "fiub" and not is_label(name)}
    columns = {name: np.asarray(values, dtype=np.float64) for name, values in numeric.items()}
    return Sample(columns | {"mass": _mass(column, mass)}, hidden=[name for name in table if is_label(name)])


def outside(columns: Columns, blind: tuple[float, float] | None) -> Columns:
    """Return the events whose mass is not in a blind window."""
    if blind is None:
        return columns
    seen = (columns["mass"] < blind[0]) | (columns["mass"] >= blind[1])
    return {name: values[seen] for name, values in columns.items()}


def make_up(seed: int) -> Sample:
    """Return an exponential spectrum in GeV with two resonances at random masses, and the truth."""
    rng = np.random.default_rng([seed, 31])
    low, high = RANGE
    u = rng.random(MADE_UP)
    smooth = low - 25.0 * np.log(1 - u * (1 - np.exp((low - high) / 25.0)))
    masses = [float(rng.uniform(35, 55)), float(rng.uniform(70, 100))]
    peaks = [rng.normal(mass, RESOLUTION * mass, n) for mass, n in zip(masses, YIELDS, strict=True)]
    mass = rng.permutation(np.concatenate([smooth, *peaks]))
    return Sample({"mass": mass}, true=list(zip(masses, YIELDS, strict=True)))


def _mass(column: str, mass: NDArray[Any]) -> NDArray[np.float64]:
    if mass.dtype.kind not in "fiu":
        raise TaskError("column", column, f"numbers needed, not {mass.dtype}")
    if len(bad := np.flatnonzero(~np.isfinite(mass))):
        allowed = f"{len(bad)} of {len(mass)} values are not finite, the first in selected row {bad[0]}: exclude them"
        raise TaskError("column", column, f"{allowed} with `cut`")
    return np.asarray(mass, dtype=np.float64)
