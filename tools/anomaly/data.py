"""Input of the anomaly tools: events with features and a mass, and a signal region with enough events on either side.

The mass is called mjj throughout, as in the papers on dijets; it is the column that `mass_column` names, in its unit.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from tools.arrays import load_arrays
from tools.contract import Request, Seed, ToolError
from tools.events.copies import is_first, originals, said
from tools.events.names import unlabelled
from tools.events.table import derive, mass_column, validate
from tools.events.weights import WEIGHT, of_rows, weights_of
from tools.types import Floats

FEATURES = ["mj1", "delta_mj", "tau21_j1", "tau21_j2"]  # the four of arXiv:2109.00546
EXTENDED = [*FEATURES, "tau32_j1", "tau32_j2"]
MIN_EVENTS = 500  # in the window and on either side of it: fewer are not enough for training


class WindowRequest(Request):
    """Events, and a signal region in the mass: column mass, or mjj in TeV."""

    events: str = Field("/inputs/events.parquet", description="parquet file with the event table")
    window: tuple[float, float] = Field(description="signal region: lower and upper edge in the mass, e.g. [3.3, 3.7]")
    features: list[str] = Field(
        default=FEATURES,
        min_length=1,
        description="columns or derived features, e.g. mj2, tau32_j1, tau32_j2",
    )
    seed: Seed = Field(1, ge=0)


@dataclass(frozen=True)
class Windowed:
    """Features (n, d) and mjj (n,) of all events, which of them lie in the signal region, and `original` (n,),
    the first row with the same event: its own row, unless it is a copy. `column`: name of the mass in files; `weight`
    (n,): None if events are counted.
    """

    features: Floats
    mjj: Floats
    inside: NDArray[np.bool_]
    window: tuple[float, float]
    original: NDArray[np.int64] | None = None
    column: str = "mjj"
    weight: Floats | None = None

    @property
    def once(self) -> NDArray[np.bool_]:
        """Mark the events (n,) that are no copies."""
        return np.ones(len(self.mjj), dtype=bool) if self.original is None else is_first(self.original)

    def sidebands(self, rows: NDArray[np.bool_], window: tuple[float, float] | None = None) -> Sidebands:
        """Return the chosen events, as sidebands of the signal region or of another window."""
        return Sidebands(self.features[rows], self.mjj[rows], window or self.window, of_rows(self.weight, rows))


@dataclass(frozen=True)
class Sidebands:
    """Events to learn a background from: features (n, d), mjj and weights (n,) outside `window`, and the window."""

    features: Floats
    mjj: Floats
    window: tuple[float, float]
    weight: Floats | None = None


def load(request: WindowRequest, need_sidebands: bool = True) -> Windowed:
    """Return the events of the request.

    Raises ToolError for an unreadable file, NaN, missing or constant features, or a window with too few events.
    """
    columns = load_table(request.events)
    mass, weight = mass_column(columns), weights_of(columns)
    if WEIGHT in request.features:
        raise ToolError("features", WEIGHT, "any column but the weights of the events")
    if mass in request.features:
        allowed = f"any feature but {mass}: the bump is searched for in {mass}, and scores would sculpt it"
        raise ToolError("features", mass, allowed)
    chosen = derive(columns, request.features)
    features = np.column_stack([chosen[name] for name in request.features])
    inside = in_window(columns[mass], request.window, need_sidebands)
    trained_on = features[~inside] if need_sidebands else features
    for name, spread in zip(request.features, np.ptp(trained_on, axis=0), strict=True):
        if spread == 0:
            raise ToolError("features", name, "this feature is constant; remove it")
    original = originals(columns)
    note(original)
    return Windowed(features, columns[mass], inside, request.window, original, mass, weight)


def note(original: NDArray[np.int64]) -> None:
    """Say on standard error how many events are copies, if any."""
    if text := said(original):
        print(f"note: {text}: each is learned from once, and copies stay in one fold", file=sys.stderr)


def in_window(mjj: Floats, window: tuple[float, float], need_sidebands: bool = True) -> NDArray[np.bool_]:
    """Mark the mjj in the window (n,); ToolError when too few events lie in it or on either side."""
    low, high = window
    if not 0 < low < high:
        raise ToolError("window", window, "two edges in the unit of the mass, 0 < lower < upper")
    inside = within(mjj, window)
    n_in, n_below, n_above = int(inside.sum()), int((mjj < low).sum()), int((mjj >= high).sum())
    if n_in < MIN_EVENTS or (need_sidebands and min(n_below, n_above) < MIN_EVENTS):
        raise ToolError(
            "window",
            window,
            f"holds {n_in} events, with {n_below} below and {n_above} above; at least {MIN_EVENTS} each are needed. "
            f"Masses run from {mjj.min():.4g} to {mjj.max():.4g}",
        )
    return inside


def within(mjj: Floats, window: tuple[float, float]) -> NDArray[np.bool_]:
    """Mark the masses in the window (n,), lower edge included, upper edge excluded."""
    return np.asarray((mjj >= window[0]) & (mjj < window[1]))


def units(column: str) -> dict[str, str]:
    """Return the unit of a column of masses, if its name tells."""
    return {"mjj": "TeV"} if column == "mjj" else {}


def load_table(path: str) -> dict[str, Floats]:
    """Return a validated event table from parquet; labelled events and unclear weights are refused."""
    columns = load_arrays(path, "events")
    unlabelled(columns, "events", path)
    validate(columns, path)
    weights_of(columns)
    return columns
