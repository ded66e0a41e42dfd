"""The event table: one array per column, the meaning of columns, and the features derived from them.

The mass that is searched is the column `mass`, of any variable in any unit; in a table without one, the dijet mass
`mjj`. Stored columns of dijets are `cluster.COLUMNS`; masses in TeV, j1 the lighter of the two leading jets.
Derived features, with the regulator of CATHODE (arXiv:2109.00546):

    delta_mj = mj2 - mj1      tau21_jN = tau2_jN / (1e-5 + tau1_jN)      tau32_jN = tau3_jN / (1e-5 + tau2_jN)
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

from tools.contract import ToolError
from tools.events.cluster import COLUMNS
from tools.events.names import is_weight
from tools.types import Floats

__all__ = ["COLUMNS", "DERIVED", "MASS", "available", "derive", "mass_column", "unweighted", "validate"]

Columns = dict[str, Floats]

MASS = "mass"
TAU_REGULATOR = 1e-5
# Above these a mass cannot be in TeV, while the same number in GeV is ordinary.
GEV_ABOVE = {"mjj": 100.0, "mj1": 10.0, "mj2": 10.0, "delta_mj": 10.0}


def _ratio(numerator: Floats, denominator: Floats) -> Floats:
    return numerator / (TAU_REGULATOR + denominator)


# Feature -> (columns it needs, in the order of the arguments; function that computes it).
DERIVED: dict[str, tuple[tuple[str, str], Callable[[Floats, Floats], Floats]]] = {
    "delta_mj": (("mj2", "mj1"), np.subtract),
    # Files in the CATHODE layout hold the difference instead of the heavier mass.
    "mj2": (("mj1", "delta_mj"), np.add),
    "tau21_j1": (("tau2_j1", "tau1_j1"), _ratio),
    "tau21_j2": (("tau2_j2", "tau1_j2"), _ratio),
    "tau32_j1": (("tau3_j1", "tau2_j1"), _ratio),
    "tau32_j2": (("tau3_j2", "tau2_j2"), _ratio),
}


def mass_column(columns: Iterable[str]) -> str:
    """Return the name of the column that is searched: `mass`, or else `mjj`, which need not be there.

    >>> mass_column(["mjj", "mj1"]), mass_column(["mjj", "mass"])
    ('mjj', 'mass')
    """
    return MASS if MASS in columns else "mjj"


def available(columns: Mapping[str, Floats]) -> list[str]:
    """Return the names that `derive` accepts for these columns: the stored ones first, then the computed ones."""
    computed = [n for n, (needs, _) in DERIVED.items() if n not in columns and all(c in columns for c in needs)]
    return [*columns, *computed]


def derive(columns: Mapping[str, Floats], names: Iterable[str]) -> Columns:
    """Return the named features, in the order requested; a stored column takes precedence over its definition.

    >>> derive({"mj1": np.array([0.1]), "mj2": np.array([0.5])}, ["delta_mj", "mj1"])
    {'delta_mj': array([0.4]), 'mj1': array([0.1])}

    Raises ToolError for a name that is neither stored nor computable.
    """
    possible = available(columns)
    features: Columns = {}
    for name in names:
        if name not in possible:
            raise ToolError("names", name, f"no such feature here; allowed are {', '.join(possible)}")
        if name in columns:
            features[name] = np.asarray(columns[name], dtype=np.float64)
        else:
            needs, formula = DERIVED[name]
            features[name] = formula(*(np.asarray(columns[c], dtype=np.float64) for c in needs))
    return features


def validate(columns: Mapping[str, Floats], path: object = None) -> None:
    """Raise ToolError, naming column, first bad row, value and the file (`path`), unless this is a valid event table.

    Valid means a column with the mass, at least one event, 1-d columns of equal length, finite values, a mass > 0 and,
    for dijets (`mjj`), masses in TeV. Jet masses may be slightly negative: after rounding, FastJet gives -sqrt(-m^2)
    for a massless jet, and the published files have such events.
    """
    try:
        _valid(columns)
    except ToolError as error:
        if path is None:
            raise
        raise ToolError(error.field, error.value, f"{error.allowed} (in {path})") from None


def _valid(columns: Mapping[str, Floats]) -> None:
    mass = mass_column(columns)
    if mass not in columns:
        raise ToolError("mjj", list(columns), "the table needs the column mjj, or mass")
    rows = len(columns[mass])
    if rows == 0:
        raise ToolError(mass, 0, "the table has no events; at least one is needed")
    for name, values in columns.items():
        if values.ndim != 1 or len(values) != rows:
            raise ToolError(name, values.shape, f"every column must have the shape of {mass}, ({rows},)")
        _require(name, values, np.isfinite(values), "not finite; every value must be")
    _require(mass, columns[mass], columns[mass] > 0, f"{mass} must be positive")
    if mass == MASS:
        return  # in a unit that was stated
    for name, limit in GEV_ABOVE.items():
        if name in columns:
            _require(
                name, columns[name], columns[name] <= limit, f"looks like GeV; masses must be in TeV, {limit:g} at most"
            )


def unweighted(columns: Mapping[str, Floats]) -> None:
    """Raise ToolError for a column of weights that is not one everywhere, for tools that count events."""
    for name in columns:
        if is_weight(name):
            allowed = "events are counted here, so each must have weight 1: draw by weight, or remove the column"
            _require(name, columns[name], columns[name] == 1, allowed)


def _require(name: str, values: Floats, good: NDArray[np.bool_], allowed: str) -> None:
    bad = np.flatnonzero(~good)
    if len(bad):
        more = f", and {len(bad) - 1} more rows" if len(bad) > 1 else ""
        raise ToolError(name, float(values[bad[0]]), f"row {bad[0]}{more}: {allowed}")
