"""Events with scores and protected columns, as read from the files of a request, and what to learn from them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tools.arrays import load_arrays
from tools.contract import ToolError
from tools.decorrelation.coordinates import untied
from tools.events.copies import originals
from tools.events.names import unlabelled
from tools.events.table import derive, mass_column, unweighted
from tools.types import Floats

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Sample:
    """Protected columns (n, p), scores (n, d) and features (n, k) of events, and `original` (n,), as in `Windowed`."""

    protected: Floats
    scores: Floats
    features: Floats
    original: NDArray[np.int64]

    def take(self, rows: Mask) -> Sample:
        """Return the chosen events (m,), as if there were no copies."""
        return Sample(self.protected[rows], self.scores[rows], self.features[rows], np.arange(int(rows.sum())))


def load_sample(
    events: str,
    protected: Sequence[str] | None,
    scores: str | None,
    columns: Sequence[str] | None,
    features: Sequence[str] = (),
    fields: tuple[str, str] = ("events", "scores"),
    seed: int = 1,
) -> tuple[Sample, list[str], list[str]]:
    """Return the events, the names of their protected columns and of their scores; no scores if `scores` is None.

    Equal scores are made to differ (`untied`). `fields`: names of the request's fields of the two files. Raises
    ToolError for files that do not hold this.
    """
    table = load_arrays(events, fields[0])
    unlabelled(table, fields[0], events)
    unweighted(table)
    names = list(protected or [mass_column(table)])
    if missing := [name for name in names if name not in table]:
        raise ToolError("protected", missing[0], f"columns of {fields[0]}, which has {', '.join(table)}")
    if shared := [name for name in features if name in names]:
        raise ToolError("method.features", shared[0], "features other than the protected columns")
    n = len(table[names[0]])
    found = load_arrays(scores, fields[1], list(columns) if columns else None) if scores else {}
    for each in found.values():
        if len(each) != n:
            raise ToolError(fields[1], scores, f"has {len(each)} rows, {fields[0]} {n}")
    try:
        chosen = derive(table, features)
    except ToolError as error:
        raise ToolError("method.features", error.value, error.allowed) from None
    of = [np.column_stack([part[name] for name in part]) if part else np.empty((n, 0)) for part in (found, chosen)]
    at = np.column_stack([table[name] for name in names])
    return Sample(at, untied(of[0], seed) if found else of[0], of[1], originals(table)), names, list(found)


def load_labels(path: str, rows: int) -> Mask:
    """Return which events are signal, from a file with one column of 0 and 1. Raises ToolError."""
    columns = load_arrays(path, "labels")
    if len(columns) != 1:
        raise ToolError("labels", path, f"a file with one column, 1 for signal; it has {', '.join(columns)}")
    label = next(iter(columns.values()))
    if len(label) != rows or not np.all((label == 0) | (label == 1)):
        raise ToolError("labels", path, f"{rows} rows of 0 and 1, one for each event")
    if min(label.sum(), (1 - label).sum()) < 1:
        raise ToolError("labels", path, "events of both kinds")
    return np.asarray(label == 1)


def folds_of(original: NDArray[np.int64], folds: int, seed: int) -> NDArray[np.int64]:
    """Deal events (n,) into folds; copies lie in the fold of their original."""
    return (np.random.default_rng(seed).permutation(len(original)) % folds)[original]
