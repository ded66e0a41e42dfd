"""Reading the input of an unfolding: observables at both levels, which events pass them, and weights.

Files state what passes in columns pass_gen and pass_reco. Where they do not, an event passes a level unless all its
observables there are one of the numbers that people write for "nothing": SENTINELS.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tools.arrays import load_arrays
from tools.contract import ToolError
from tools.events.names import weight_column
from tools.types import Floats
from tools.unfolding.problem import Mask, Problem

SENTINELS = (-99.0, -999.0, -9999.0, -99999.0)
LARGEST_SHARE = 0.5  # of the sum of all weights, that one event may have


@dataclass(frozen=True)
class Sample:
    """Columns of a file, its observables, which events pass (n,) by level, its weights and what was assumed."""

    columns: dict[str, Floats]
    values: dict[str, Floats]
    passed: dict[str, Mask]
    weight: Floats | None
    notes: list[str]


def read_sample(
    path: str, field: str, observables: list[str], levels: tuple[str, ...], spare: tuple[str, ...] = ()
) -> Sample:
    """Read the columns LEVEL_X of the observables X. `spare`: columns that are other weights, used elsewhere.

    Raises ToolError naming the request's `field` for a missing column, flags other than 0 and 1, sentinels in events
    that pass, and weights of unclear name or of which one event has most.
    """
    columns = load_arrays(path, field)
    values = {
        level: np.column_stack([column(columns, f"{level}_{x}", field, path) for x in observables]) for level in levels
    }
    notes: list[str] = []
    passing = {
        level: passes(
            values[level],
            [f"{level}_{x}" for x in observables],
            columns.get(f"pass_{level}"),
            f"pass_{level}",
            field,
            path,
            notes,
        )
        for level in levels
    }
    name = weight_column(columns, field, path, spare)
    weight = columns[name] if name else None
    if weight is not None:
        check_spread(weight, str(name), field, path)
        if name != "weight":
            notes.append(f"{field}: column {name!r} taken as weights")
    return Sample(columns, values, passing, weight, notes)


def as_problem(data: Sample, simulation: Sample) -> Problem:
    """Return the problem; a simulation without weights is scaled to the data."""
    rows = data.passed["reco"]
    problem = Problem.of(
        data.values["reco"][rows],
        simulation.values["gen"],
        simulation.values["reco"],
        None if data.weight is None else data.weight[rows],
        simulation.weight,
        simulation.passed["gen"],
        simulation.passed["reco"],
    )
    return problem if simulation.weight is not None else problem.scaled()


def column(columns: dict[str, Floats], name: str, field: str, path: str) -> Floats:
    """Return a column; ToolError if the file does not have it."""
    if name not in columns:
        raise ToolError(field, path, f"a file with the column {name!r}; it has {sorted(columns)}")
    return columns[name]


def passes(
    values: Floats, names: Sequence[str], flag: Floats | None, flag_name: str, field: str, path: str, notes: list[str]
) -> Mask:
    """Return which events pass a level (n,), from its flag or else from sentinels, which `notes` then names.

    `values` (n, d): the level's columns `names`. Raises ToolError for a flag other than 0 and 1, and for a sentinel or
    a value that is not finite in an event that passes.
    """
    nothing: Mask = np.isin(values, SENTINELS)
    if flag is None:
        passed = np.asarray(~nothing.all(axis=1))
        if missed := int((~passed).sum()):
            written = ", ".join(f"{x:g}" for x in np.unique(values[nothing]))
            said = f"{missed} events with {written} at {flag_name.removeprefix('pass_')} taken as not passing"
            notes.append(f"{field}: no column {flag_name!r}; {said}")
    elif len(odd := np.flatnonzero(~np.isin(flag, (0, 1)))):
        said = f"column {flag_name!r} must hold 0 and 1 only; it is {flag[odd[0]]:g} in row {odd[0]}"
        raise ToolError(field, path, said)
    else:
        passed = np.asarray(flag > 0)
    if len(bad := np.argwhere((nothing | ~np.isfinite(values)) & passed[:, None])):
        row, k = bad[0]
        said = f"column {names[k]} is {values[row, k]:g} in row {row}, as if it were unknown"
        raise ToolError(field, path, f"{said}, but the event passes; set {flag_name} to 0 there")
    return passed


def check_spread(weight: Floats, name: str, field: str, path: str) -> None:
    """Raise ToolError if one event has most of the weight: nothing can be learned from one event."""
    total, row = float(np.abs(weight).sum()), int(np.argmax(np.abs(weight)))
    if len(weight) > 2 and abs(weight[row]) > LARGEST_SHARE * total:
        allowed = f"no event with more than {LARGEST_SHARE:.0%} of the sum of weights; column {name!r} is "
        raise ToolError(field, path, allowed + f"{weight[row]:g} in row {row}, the sum {total:g}")
