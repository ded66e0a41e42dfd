"""The operator's tables, in any of the usual kinds of file, as columns reco_X, gen_X, pass_reco, pass_gen, weight.

Only what is named is read, and checked row by row: columns of other kinds may be there. What was assumed, and what is
not used, is noted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasks.unfolding.naming import GEN_WORDS, RECO_WORDS, Observable
from tools.contract import ToolError
from tools.events.anytable import SUFFIXES
from tools.events.names import is_weight, weight_column
from tools.types import Floats
from tools.unfolding.inputs import check_spread, passes

Raw = Mapping[str, NDArray[Any]]
Table = dict[str, Floats]
NOT_PASSED = -999.0  # value at a level that an event does not pass


def file_of(folder: Path, *stems: str) -> Path | None:
    """Return the table in the folder that has one of these names, whatever its kind; None if there is none."""
    found = [path for stem in stems for suffix in SUFFIXES if (path := folder / f"{stem}{suffix}").is_file()]
    if len(found) > 1:
        raise ToolError("path", [path.name for path in found], f"one file in {folder}: remove or rename the others")
    return found[0] if found else None


def numbers(path: Path, raw: Raw, name: str, finite: bool = True) -> Floats:
    """Return a column as float64; ToolError unless it has numbers, with `finite` finite ones."""
    if name not in raw:
        raise ToolError("path", str(path), f"no column {name!r}; it has {', '.join(raw)}")
    values = raw[name]
    if values.dtype.kind not in "fiub":
        raise ToolError("path", str(path), f"column {name!r} must hold numbers, not {str(values[0])!r} (row 0)")
    values = values.astype(np.float64)
    if finite and len(bad := np.flatnonzero(~np.isfinite(values))):
        allowed = f"column {name!r} must be finite; row {bad[0]} is not ({values[bad[0]]}), {len(bad)} in all"
        raise ToolError("path", str(path), allowed)
    return np.asarray(values)


def level(
    path: Path, raw: Raw, observables: Sequence[Observable], which: str, notes: list[str]
) -> tuple[Table, str | None]:
    """Return the columns of a level with its flag, and the name of the flag in the file, if it has one.

    Values of events that do not pass are NOT_PASSED.
    """
    own = [x.reco if which == "reco" else x.gen for x in observables]
    flag = flag_of(path, raw, which)
    values = np.column_stack([numbers(path, raw, name, finite=False) for name in own])
    flags = None if flag is None else numbers(path, raw, flag)
    said: list[str] = []
    passed = passes(values, own, flags, flag or f"pass_{which}", "path", str(path), said)
    notes += [f"{path.name}{note.removeprefix('path')}" for note in said]
    kept = np.where(passed[:, None], values, NOT_PASSED)
    table = {f"{which}_{x.name}": kept[:, k] for k, x in enumerate(observables)}
    return table | {f"pass_{which}": passed.astype(np.float64)}, flag


def flag_of(path: Path, raw: Raw, which: str) -> str | None:
    """Return the column that says which events pass a level: pass_reco, pass_det; pass_gen, pass_truth ..."""
    words = RECO_WORDS if which == "reco" else GEN_WORDS
    found = [name for name in raw if name.lower() in {f"pass_{word}" for word in words}]
    if len(found) > 1:
        raise ToolError("path", str(path), f"one column that says which events pass {which}, not {', '.join(found)}")
    return found[0] if found else None


def weight_of(path: Path, raw: Raw, named: str | None, spare: Sequence[str]) -> str | None:
    """Return the column of event weights: the one that is named, or else the only one that looks like it."""
    if named is not None:
        if named not in raw:
            raise ToolError("weights", named, f"a column of {path}: {', '.join(raw)}")
        return named
    try:
        return weight_column(raw, "weights", str(path), spare)
    except ToolError as error:
        raise ToolError("weights", None, f"{path}: say by weights=COLUMN which to use; {error.allowed}") from None


def weights(path: Path, raw: Raw, name: str) -> Floats:
    """Return a column of weights as it is: none below zero, and no event with most of the sum."""
    values = numbers(path, raw, name)
    if len(bad := np.flatnonzero(values < 0)):
        allowed = (
            f"{path}, row {bad[0]}, {len(bad)} in all: 0 or more. Merge events of a generator with negative weights"
        )
        raise ToolError(name, float(values[bad[0]]), f"{allowed} (resampling) before unfolding")
    check_spread(values, name, "path", str(path))
    return values


def unweighted(path: Path, raw: Raw) -> None:
    """Raise ToolError for weights that differ: measured events count once each."""
    for name in raw:
        if is_weight(name) and np.ptp(values := numbers(path, raw, name)) > 0:
            row = int(np.argmax(values != values[0]))
            allowed = (
                f"{path}, row {row}: measured events count once each, so all must have the same weight. Draw events by"
            )
            raise ToolError(name, float(values[row]), f"{allowed} weight, or unfold with unfolding.unfold")
