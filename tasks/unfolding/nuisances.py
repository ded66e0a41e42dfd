"""The columns of an unfolding's nuisances, as `unfolding.unfold` reads them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tasks.nuisances import CHANGE, Meaning, Nuisances
from tasks.unfolding.naming import Observable
from tasks.unfolding.tables import NOT_PASSED, Raw, Table, numbers, weights
from tools.contract import ToolError
from tools.unfolding.inputs import passes


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
