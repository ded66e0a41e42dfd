"""What the tools of a mass spectrum read: one column of a table, in the unit that is stated."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import Field

from tools.contract import Request, ToolError
from tools.events.parquet import read_columns
from tools.types import Floats

Unit = Literal["MeV", "GeV", "TeV"]
LEAST = 30  # events in the range


class SpectrumRequest(Request):
    """A mass spectrum: a column of a table, and the range that is fitted."""

    events: str = Field("/inputs/events.parquet", description="parquet file with the event table")
    column: str = Field("mass", description="column with the mass, not scaled")
    unit: Unit = Field(description="unit of the column, and of all masses here and in the result")
    fit_range: tuple[float, float] = Field(description="masses that the background is fitted to")
    sqrt_s: float | None = Field(
        None, gt=0, description="collision energy in this unit: adds the dijet functions of hadron collider searches"
    )

    def masses(self) -> Floats:
        """Return the masses inside the range. Raises ToolError for a bad file, range or value, naming the first row."""
        low, high = self.fit_range
        if not 0 < low < high:
            raise ToolError("fit_range", self.fit_range, "0 < low < high")
        if self.sqrt_s is not None and self.sqrt_s <= high:
            raise ToolError("sqrt_s", self.sqrt_s, f"above the upper edge of fit_range, {high} {self.unit}")
        try:
            values = read_columns(Path(self.events), [self.column])[self.column]
        except FileNotFoundError:
            raise ToolError("events", self.events, "no such file") from None
        except ToolError as error:
            raise ToolError("events" if error.field == "path" else "column", error.value, error.allowed) from None
        if len(bad := np.flatnonzero(~np.isfinite(values))):
            allowed = f"{len(bad)} values are not finite, the first in row {bad[0]}"
            raise ToolError("column", self.column, allowed)
        inside = values[(values >= low) & (values < high)]
        if len(inside) < LEAST:
            where = f"{len(inside)} of {len(values)} events lie inside; the column reaches from {values.min():.4g} to"
            allowed = f"{where} {values.max():.4g}: at least {LEAST} needed. Is the unit right?"
            raise ToolError("fit_range", self.fit_range, allowed if len(values) else "the file has no events")
        return np.asarray(inside)
