"""Columns that are known by what their names say, whoever wrote the file: weights and labels.

Neither may be overlooked. Weights that are ignored give a wrong result; a label that stays among the features gives the
answer away.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

from tools.contract import ToolError
from tools.types import Floats

# Names without capitals and separators.
WEIGHTS = frozenset(
    f"{of}{weight}" for of in ("", "gen", "mc", "event", "evt", "total", "nominal") for weight in ("weight", "weights")
) | {"weightnominal", "wgt", "evtwgt", "w"}
LABELS = frozenset(
    (
        "signal",
        "issignal",
        "sig",
        "issig",
        "issignalnew",
        "issignalevent",
        "signalflag",
        "target",
        "y",
        "class",
        "istop",
    )
)
INVERTED = frozenset({"background", "isbackground", "bkg", "isbkg", "isqcd"})  # 1 would be background
LABEL_WORDS = frozenset({"truth", "true", "label", "labels"})


def plain(name: str) -> str:
    """Return a name without capitals and separators.

    >>> plain("Gen_Weight")
    'genweight'
    """
    return re.sub(r"[^a-z0-9]", "", name.lower())


def is_weight(name: str) -> bool:
    """Return True for a name of event weights or of a variation of them: weights, genWeight, weight_up."""
    return plain(name) in WEIGHTS or "weight" in plain(name) or "wgt" in plain(name)


def is_label(name: str) -> bool:
    """Return True for a name that says what an event truly is: label, truth, is_signal, truth_flag.

    >>> [is_label(name) for name in ("Truth", "isSignal", "jet_label", "met_sig", "mj1")]
    [True, True, True, False, False]
    """
    words = re.findall(r"[a-z0-9]+", re.sub(r"([a-z])([A-Z])", r"\1 \2", name).lower())
    return plain(name) in LABELS | INVERTED or bool(LABEL_WORDS & set(words))


def weight_column(names: Iterable[str], field: str, path: str, spare: Iterable[str] = ()) -> str | None:
    """Return the name of the column of event weights, None if there is none.

    Variations are allowed beside a column `weight`. `spare`: columns that are used as something else. Raises ToolError
    naming `field` if it is not clear which column to use.
    """
    like = [name for name in names if is_weight(name) and name not in set(spare)]
    known = [name for name in like if plain(name) in WEIGHTS]
    if not like:
        return None
    if len(known) == 1 and (known == ["weight"] or known == like):
        return known[0]
    allowed = f"one column of weights, named weight; {', '.join(map(repr, like))} look like weights: rename or remove"
    raise ToolError(field, path, allowed)


def split_labels(
    columns: Mapping[str, Floats], path: object = "the file"
) -> tuple[dict[str, Floats], NDArray[np.bool_] | None]:
    """Return the columns without those that look like labels, and the labels (n,), None if there are none.

    Raises ToolError for labels other than 0 and 1, for several that differ, and for one that marks the background.
    """
    like = [name for name in columns if is_label(name)]
    rest = {name: values for name, values in columns.items() if name not in like}
    for name in like:
        values = columns[name]
        said = "looks like a label, and labels are 0 or 1 with 1 for signal: rename or remove the column"
        if len(bad := np.flatnonzero((values != 0) & (values != 1))):
            raise ToolError(name, float(values[bad[0]]), f"row {bad[0]} of {path}: {said}")
        if plain(name) in INVERTED:
            raise ToolError("names", name, f"{path}: {said}")
        if not np.array_equal(values, columns[like[0]]):
            raise ToolError("names", like, f"columns of {path} that look like labels but differ: keep one of them")
    return rest, np.asarray(columns[like[0]] == 1) if like else None


def unlabelled(columns: Iterable[str], field: str, path: str) -> None:
    """Raise ToolError if a column looks like a label."""
    if like := [name for name in columns if is_label(name)]:
        allowed = f"events without labels; {like} look like labels: `beamcrew data convert` puts them into another file"
        raise ToolError(field, path, allowed)
