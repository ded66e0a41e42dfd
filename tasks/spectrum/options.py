"""The options of the task, and what they must have in common."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, field_validator

from tasks.nuisances import Meaning, listed
from tasks.spectrum.simulated import Simulated, Wanted, simulated
from tasks.task import TaskBase, TaskError
from tools.nuisances import SAME, Nuisance, stated
from tools.spectrum.inputs import LEAST, Range, Unit

DISCOVERY = 2.87e-7  # 5 sigma
OPTIONAL = ("search_range", "window", "width", "sqrt_s", "weights", "blind")  # facts for agents


class SpectrumOptions(TaskBase):
    """What the operator can say about a mass spectrum."""

    data: Path | None = Field(None, description="table: CSV, parquet, HDF5, npz or ROOT; default: events are made up")
    column: str = Field("mass", description="column with the mass, or an expression of columns")
    unit: Unit = Field("GeV", description="unit of the mass")
    cut: str | None = Field(None, description="condition that selects rows, such as `charge == 'OS' and pt > 20`")
    weights: str | None = Field(None, description="column with event weights: yields are sums of them")
    unweighted: bool = Field(False, description="true: events are counted although the table has weights")
    fit_range: Range | None = Field(None, description="masses to fit; default: nearly all. The crew may take less")
    search_range: Range | None = Field(None, description="masses to search; less range, fewer trials")
    window: Range | None = Field(None, description="one window, chosen beforehand, whose excess is wanted")
    blind: Range | None = Field(None, description="masses whose events nobody may see before all choices are made")
    unblind: bool = Field(False, description="true: after all choices the harness, and nobody else, opens `blind`")
    width: float | None = Field(None, ge=0.002, le=0.1, description="relative width of the resonances, if known")
    sqrt_s: float | None = Field(None, gt=0, description="collision energy in `unit`, for the dijet functions")
    alpha: float = Field(DISCOVERY, gt=0, lt=1, description="global p-value below which a discovery is claimed")
    limits: bool = Field(False, description="true: upper limits against mass; needs `width` or `signal_file`")
    injections: int = Field(0, ge=0, le=200, description="toys per point in which resonances are injected and searched")
    signal_file: Path | None = Field(None, description="simulated signal with the data's columns: width and efficiency")
    signal_generated: float | None = Field(
        None, gt=0, description="generated signal events, or their sum of weights; default: those of the file"
    )
    signal_weights: str | None = Field(None, description="column of signal_file with the weights of its events")
    nuisances: Annotated[list[str] | None, BeforeValidator(listed)] = Field(
        None,
        description="variations in signal_file: columns of weights (w_*), endings of moved columns (jes_*: m_jes_up, "
        "m_jes_down); [] for none",
    )
    nuisance_weights: Meaning | None = Field(
        None, description="whether varied weights are all of an event's weight (total) or factors to it (factor)"
    )
    luminosity: float | None = Field(None, gt=0, description="integrated luminosity in 1/fb, for cross sections")
    efficiency_uncertainty: float = Field(
        0.0, ge=0, le=1, description="relative error of efficiency times luminosity, for limits on cross sections"
    )
    background_uncertainty: float = Field(
        0.0, ge=0, le=1, description="relative systematic error of the background under a peak, for limits and yields"
    )
    scale_uncertainty: float = Field(0.0, ge=0, le=0.1, description="relative error of the mass scale")
    resolution_uncertainty: float = Field(0.0, ge=0, le=1, description="relative error of the width of a peak")

    @field_validator("fit_range", "search_range", "window", "blind")
    @classmethod
    def _rising(cls, masses: Range | None) -> Range | None:
        if masses and not 0 < masses[0] < masses[1]:
            raise ValueError("two masses, 0 < low < high")
        return masses

    def sources(self) -> list[Nuisance]:
        """Return all sources of error: those stated as numbers, and those of the simulated signal.

        Without a luminosity nothing depends on the efficiency.
        """
        found = stated(
            self.efficiency_uncertainty,
            self.background_uncertainty,
            self.scale_uncertainty,
            self.resolution_uncertainty,
        )
        if signal := self.signal:
            found += [*([signal.statistics()] if self.luminosity else []), *signal.nuisances]
        return found if self.luminosity else [each.model_copy(update={"efficiency": SAME}) for each in found]

    @cached_property
    def signal(self) -> Simulated | None:
        """What the file of simulated signal says, None without one."""
        if self.signal_file is None:
            return None
        named = self.signal_weights, self.nuisances, self.nuisance_weights
        return simulated(self.signal_file, Wanted(self.column, self.cut, self.signal_generated, *named))

    def tested_width(self) -> float | None:
        """Return the width that limits are set for."""
        return self.width or (self.signal and self.signal.nominal.width)

    def check_options(self) -> None:
        """Raise TaskError naming an option that does not go with another, or a file of signal that cannot be read."""
        signal = self.signal
        needs_width = "limits" if self.limits else "injections" if self.injections else None
        if needs_width and not (self.width or signal):
            allowed = "with `width`, the relative width (resolution) of the resonance, or `signal_file`"
            raise TaskError(needs_width, getattr(self, needs_width), allowed)
        for name in ("luminosity", "nuisances", "signal_weights"):
            if getattr(self, name) and signal is None:
                raise TaskError(name, getattr(self, name), "with `signal_file`, the simulated signal")
        names = [each.name for each in self.sources()]
        if twice := [name for name in names if names.count(name) > 1]:
            raise TaskError("nuisances", twice[0], f"each name once; there are {', '.join(names)}: rename the columns")
        if self.efficiency_uncertainty and not self.luminosity:
            allowed = "with `luminosity`: the number of events in a peak does not depend on the efficiency"
            raise TaskError("efficiency_uncertainty", self.efficiency_uncertainty, allowed)
        if self.unblind and not self.blind:
            raise TaskError("unblind", True, "with `blind`, the masses to be opened")
        if self.blind and self.window:
            raise TaskError("window", self.window, "not with `blind`, whose masses are the window")

    def checked_range(self, low: float, high: float, mass: Any) -> Range:
        """Return the range to fit. Raises TaskError if an option does not go with it or too few events lie inside."""
        if low <= 0:
            raise TaskError("fit_range", (low, high), f"masses above 0; {self.column} starts at {mass.min():.4g}")
        for name in ("search_range", "window", "blind"):
            wanted = getattr(self, name)
            if wanted and not low <= wanted[0] < wanted[1] <= high:
                raise TaskError(name, wanted, f"inside fit_range, {low:g} to {high:g} {self.unit}: is the unit right?")
        inside = int(((mass >= low) & (mass < high)).sum())
        if inside < LEAST:
            raise TaskError("fit_range", (low, high), f"{inside} of {len(mass)} events lie inside; {LEAST} needed")
        return low, high
