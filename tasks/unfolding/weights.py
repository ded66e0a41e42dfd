"""The submitted weights: reading them without trust, and the numbers measured with them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sandbox.reader import UnsafeFile, read_parquet
from tasks.submission import MAX_BYTES
from tools.types import Floats
from tools.unfolding.read import errors_by_source

PREFIX = "weights_"
MAX_COLUMNS = 400
BOOTSTRAPS_MIN = 10
SUMS = (1e-9, 1e15)  # allowed sum of the weights: far from any number of events, squares overflow


def read_weights(
    workspace: Path, path: str, passed: NDArray[np.bool_], nuisances: Sequence[str] = ()
) -> dict[str, Floats]:
    """Read weights (n,) of the simulated events, `nominal` and replicas, 0 for events that fail gen (not `passed`).

    `passed` is (n,). ValueError says what is wrong with the file, or which of the `nuisances` it lacks.
    """
    rows = len(passed)
    try:
        columns = read_parquet(workspace, path, MAX_BYTES, max_rows=_most(rows), max_columns=MAX_COLUMNS)
    except UnsafeFile as error:
        raise ValueError(f"weights: {error}") from None
    weights = {n.removeprefix(PREFIX): np.asarray(x, float) for n, x in columns.items() if n.startswith(PREFIX)}
    if "nominal" not in weights:
        raise ValueError(f"weights={path!r}: needs a column 'weights_nominal', has {sorted(columns)[:20]}")
    if (n := len(weights["nominal"])) != rows:
        raise ValueError(f"weights={path!r}: {n} rows, but {rows} simulated events: one weight each, in file order")
    found = sum(name.startswith("bootstrap_") for name in weights)
    if found < BOOTSTRAPS_MIN:
        raise ValueError(
            f"weights={path!r}: {found} columns weights_bootstrap_*, but {BOOTSTRAPS_MIN} or more are needed for errors"
        )
    if lacking := [name for name in nuisances if f"nuisance_{name}" not in weights]:
        raise ValueError(f"weights={path!r}: no columns weights_nuisance_* for the nuisances {', '.join(lacking)}")
    for name, values in weights.items():
        if not np.all(np.isfinite(values)):
            raise ValueError(f"weights={path!r}: {int((~np.isfinite(values)).sum())} of weights_{name} are not finite")
        with np.errstate(over="ignore"):
            total = values[passed].sum()
        if values.min() < 0 or not SUMS[0] < total < SUMS[1]:
            allowed = f"must be 0 or more, and add up to {SUMS[0]:g} to {SUMS[1]:g} over the events that pass gen"
            raise ValueError(f"weights={path!r}: weights_{name} {allowed}")
    return {name: np.where(passed, values, 0.0) for name, values in weights.items()}


def unfolded_names(workspace: Path, path: str, rows: int, known: Sequence[str]) -> list[str]:
    """Return the observables that the file of weights has columns of, in its order: those that were unfolded."""
    columns = read_parquet(workspace, path, MAX_BYTES, max_rows=_most(rows), max_columns=MAX_COLUMNS)
    return [name.removeprefix("gen_") for name in columns if name.removeprefix("gen_") in known]


def _most(rows: int) -> int:
    return 2 * rows + 1000


def numbers(
    weights: Mapping[str, Floats], gen: Mapping[str, Floats], asked: Sequence[str]
) -> dict[str, tuple[float, dict[str, float]]]:
    """Return the number of particle-level events and the means of what was asked for, with their errors by source."""
    values = {
        name: np.array([w.sum(), *(np.average(gen[f"gen_{x}"], weights=w) for x in asked)])
        for name, w in weights.items()
        if not name.startswith(("iteration_", "stress_", "prior_"))
    }
    errors = errors_by_source(values)
    names = ("events", *(f"mean_{x}" for x in asked))
    return {
        name: (float(values["nominal"][k]), {source: float(each[k]) for source, each in errors.items()})
        for k, name in enumerate(names)
    }


def total(errors: Mapping[str, float]) -> float:
    """Return the total error of independent sources."""
    return float(np.sqrt(sum(error**2 for error in errors.values())))


def true_numbers(
    gen: Mapping[str, Floats], passed: NDArray[np.bool_], n_events: int, asked: Sequence[str]
) -> dict[str, float]:
    """Return the same numbers for true events."""
    return {"events": float(n_events)} | {f"mean_{x}": float(np.mean(gen[f"gen_{x}"][passed])) for x in asked}
