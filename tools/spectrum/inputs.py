"""What the tools of a mass spectrum read: one column of a table, in the unit that is stated."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from pydantic import Field

from tools.contract import Request, ToolError
from tools.events.parquet import read_columns
from tools.events.steps import rounding, spread
from tools.types import Floats

Unit = Literal["MeV", "GeV", "TeV"]
IN_MEV = {"MeV": 1.0, "GeV": 1e3, "TeV": 1e6}
Range = tuple[float, float]
LEAST = 30  # events in the range
DEQUANTISED = 13  # seed


class Sample(NamedTuple):
    """Masses (e,) and, if events are weighted, their weights (e,). `step`: to which the masses had been rounded."""

    masses: Floats
    weights: Floats | None = None
    step: float | None = None


class SpectrumRequest(Request):
    """A mass spectrum: a column of a table, and the range that is fitted."""

    events: str = Field("/inputs/events.parquet", description="parquet file with the event table")
    column: str = Field("mass", description="column with the mass, not scaled")
    weights: str | None = Field(None, description="column with event weights, 0 or more; default: events are counted")
    unit: Unit = Field(description="unit of the column, and of all masses here and in the result")
    fit_range: Range = Field(description="masses that the background is fitted to")
    blind: Range | None = Field(None, description="masses that nobody may look at: the fit leaves them out")
    sqrt_s: float | None = Field(
        None, gt=0, description="collision energy in this unit: adds the dijet functions of hadron collider searches"
    )

    def sample(self) -> Sample:
        """Return the events inside the range, without those in `blind`. Masses that were rounded are spread over their
        steps: the bins would have more and fewer of these by turns.

        Raises ToolError for a bad file, range or value, naming the first row.
        """
        self._check_ranges()
        names = [self.column, *([self.weights] if self.weights else [])]
        try:
            table = read_columns(Path(self.events), names)
        except FileNotFoundError:
            raise ToolError("events", self.events, "no such file") from None
        except ToolError as error:
            field = "events" if error.field == "path" else "weights" if error.value == self.weights else "column"
            raise ToolError(field, error.value, error.allowed) from None
        for field, name in zip(("column", "weights"), names, strict=False):
            if len(bad := np.flatnonzero(~np.isfinite(table[name]))):
                raise ToolError(field, name, f"{len(bad)} values are not finite, the first in row {bad[0]}")
        weights = table[self.weights] if self.weights else None
        if weights is not None and len(bad := np.flatnonzero(weights < 0)):
            raise ToolError("weights", self.weights, f"0 or more needed; row {bad[0]} has {weights[bad[0]]:.4g}")
        values, (low, high) = table[self.column], self.fit_range
        if step := rounding(values):
            values = spread(values, step, np.random.default_rng(DEQUANTISED))
        chosen = (values >= low) & (values < high)
        if self.blind:
            chosen &= (values < self.blind[0]) | (values >= self.blind[1])
        inside = int((chosen if weights is None else chosen & (weights > 0)).sum())
        if inside < LEAST:
            where = f"{inside} of {len(values)} events lie inside; the column reaches from {values.min():.4g} to"
            allowed = f"{where} {values.max():.4g}: at least {LEAST} needed. Is the unit right?"
            raise ToolError("fit_range", self.fit_range, allowed if len(values) else "the file has no events")
        return Sample(values[chosen], None if weights is None else weights[chosen], step)

    def _check_ranges(self) -> None:
        low, high = self.fit_range
        if not 0 < low < high:
            raise ToolError("fit_range", self.fit_range, "0 < low < high")
        if self.sqrt_s is not None and self.sqrt_s <= high:
            raise ToolError("sqrt_s", self.sqrt_s, f"above the upper edge of fit_range, {high} {self.unit}")
        if self.blind and not low < self.blind[0] < self.blind[1] < high:
            raise ToolError("blind", self.blind, f"low < high, well inside fit_range {self.fit_range}")
