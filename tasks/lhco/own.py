"""`search`: a search in the operator's own events, with any mass in any unit and with any features.

The table is read once, here: the mass becomes the column `mass` in the unit that was stated, features keep their names.
Only events in the range of the fit are kept (`spectrum_ends.py`). Widths of windows, bins and resonances are relative,
so that nothing else has to know the unit. No truth is known; search, hold-out, audit and claim are those of the LHCO.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from pydantic import Field, field_validator

from tasks.claim import Claim
from tasks.intake import Intake
from tasks.lhco.claims import OwnClaim
from tasks.lhco.explained import without_mjj
from tasks.lhco.grader import WIDTH
from tasks.lhco.known import Known, beside, overlaps, windows
from tasks.lhco.own_intake import OwnIntake
from tasks.lhco.spectrum_ends import Range, fitted, searchable
from tasks.lhco.task import SearchTask
from tasks.lhco.variable import Variable, own
from tasks.spectrum import samples
from tasks.spectrum.intake import bare
from tasks.study import Judge
from tasks.task import TaskError
from tools.anomaly.data import MIN_EVENTS
from tools.anomaly.survey import MOST
from tools.bumphunt.scan import WIDEST
from tools.bumphunt.windows import DIGITS, HALF_WIDTH
from tools.events.copies import originals
from tools.events.names import is_weight
from tools.events.steps import spread
from tools.events.table import MASS
from tools.events.weights import WEIGHT, effective
from tools.spectrum.inputs import Unit
from tools.types import Floats

STEPS = 50  # different values up to which they are steps, even if they are no whole numbers
DEQUANTISED = 13  # seed
ORDINARY = 10.0  # mean weight, or one over it, up to which weights are taken as they are
RESERVED = (MASS, WEIGHT, "row")  # columns of the tools
# Half width of a window that is still wide enough for the harness when its edges have been rounded to DIGITS.
NARROWEST = round(WIDTH[0] / 2 + 10.0 ** (1 - DIGITS), DIGITS)


class OwnSearch(SearchTask):
    """A resonance in any mass variable of the operator's own events, found with the help of other columns."""

    name: ClassVar[str] = "search"
    title: ClassVar[str] = "Search for a resonance with the help of other columns"
    guide: ClassVar[str] = "brief_own.md"
    request: ClassVar[str] = "Is there a resonance in these events? Give its mass, the number of events and a p-value."
    intake: ClassVar[Intake | None] = OwnIntake()
    claim: ClassVar[type[Claim]] = OwnClaim
    study: ClassVar[Judge | None] = None  # without truth, no run can be judged
    data: Path | None = Field(None, description="table: CSV, parquet, HDF5, npz or ROOT")
    column: str = Field(MASS, description="column with the mass, or an expression of columns")
    unit: Unit | None = Field(None, description="unit of the mass; must be stated")
    features: list[str] = Field(
        default_factory=list,
        description="columns that may tell signal from background: not the mass, nor what it follows from",
    )
    cut: str | None = Field(None, description="condition that selects rows, such as `charge == 'OS' and pt > 20`")
    weights: str | None = Field(None, description="column with event weights, 0 or more; numbers of events are sums")
    unweighted: bool = Field(False, description="true: events are counted although the table has weights")
    fit_range: Range | None = Field(None, description="masses to fit; default: from above the turn-on of the spectrum")
    search_range: Range | None = Field(None, description="masses to search; default: where there are enough events")
    window: Range | None = Field(None, description="the only window to search, chosen beforehand")
    known: Known
    half_width: float = Field(
        HALF_WIDTH,
        ge=NARROWEST,
        le=WIDTH[1] / 2,
        description="of a window, over its centre: about 1.7 times the width of a resonance",
    )

    @field_validator("fit_range", "search_range", "window")
    @classmethod
    def _rising(cls, masses: Range | None) -> Range | None:
        if masses and not 0 < masses[0] < masses[1]:
            raise ValueError("two masses, 0 < low < high")
        return masses

    @field_validator("fit_range")
    @classmethod
    def _fittable(cls, masses: Range | None) -> Range | None:
        if masses and masses[1] > WIDEST * masses[0]:
            raise ValueError(f"two masses at most a factor of {WIDEST:g} apart")
        return masses

    @field_validator("window")
    @classmethod
    def _wide(cls, window: Range | None) -> Range | None:
        if window and not NARROWEST <= half_width_of(window) <= WIDTH[1] / 2:
            raise ValueError(f"a window must be {2 * NARROWEST:.3g} to {WIDTH[1]:g} of its centre wide")
        return window

    def load(self) -> tuple[dict[str, Floats], None, None, None]:
        columns, (low, high) = self._events[0], self.variable.fit_range
        inside = (columns[MASS] >= low) & (columns[MASS] < high) & beside(columns[MASS], self.known)
        return {name: values[inside] for name, values in columns.items()}, None, None, None

    @cached_property
    def _events(self) -> tuple[dict[str, Floats], list[str], float]:
        """Return mass, features and weights of the selected rows, which features came in steps, now filled, and what
        the weights were divided by."""
        if self.unit is None:
            raise TaskError("unit", None, "the unit of the mass: MeV, GeV or TeV")
        if self.data is None or not self.data.is_file():
            raise TaskError("data", self.data and str(self.data), "a table: CSV, parquet, HDF5, npz or ROOT")
        columns = samples.load(self.data, self.column, self.cut, self.weights, self.unweighted).columns
        if self.weights and (like := [n for n in self.features if n == self.weights]):
            raise TaskError("features", like[0], "any column but the weights")
        weight, unit = self._weighted(columns)
        columns = {MASS: columns[MASS]} | self._chosen(columns)
        if weight is not None:  # an event without weight says nothing
            columns = {name: values[weight > 0] for name, values in (columns | {WEIGHT: weight}).items()}
        if len(bad := np.flatnonzero(columns[MASS] <= 0)):
            allowed = f"masses above 0; selected row {bad[0]} has {columns[MASS][bad[0]]:.4g}: exclude it with `cut`"
            raise TaskError("column", self.column, allowed)
        steps = {name: step for name in self.features if (step := step_of(columns[name]))}
        rng, first = np.random.default_rng([self.seed, DEQUANTISED]), originals(columns)
        return (
            columns | {name: spread(columns[name], step, rng, first) for name, step in steps.items()},
            list(steps),
            unit,
        )

    def _weighted(self, columns: Mapping[str, Floats]) -> tuple[Floats | None, float]:
        """Return the weights, and what they were divided by: 1, or their mean if it is far from 1."""
        if self.weights is None:
            return None, 1.0
        weight = columns[self.weights]
        if len(bad := np.flatnonzero(~(np.isfinite(weight) & (weight >= 0)))):
            allowed = (
                f"numbers of 0 or more; selected row {bad[0]} has {weight[bad[0]]:.4g}, {len(bad)} in all. Merge "
                "events of a generator with negative weights (resampling) before the search: leaving them out biases it"
            )
            raise TaskError("weights", self.weights, allowed)
        if not weight.any():
            raise TaskError("weights", self.weights, "some weights above 0")
        mean = float(weight[weight > 0].mean())
        unit = 1.0 if 1 / ORDINARY <= mean <= ORDINARY else mean
        return weight / unit, unit

    def _chosen(self, columns: Mapping[str, Floats]) -> dict[str, Floats]:
        """Return the features. Raises TaskError for one that cannot be used."""
        others = [name for name in columns if name not in (*RESERVED, self.column) and not is_weight(name)]
        if not self.features:
            allowed = f"some of {', '.join(others)}; without any, `--task spectrum` hunts in the mass alone"
            raise TaskError("features", [], allowed)
        for name in self.features:
            if name not in others:
                why = "the mass itself is no feature" if name in (MASS, self.column) else "no such feature of numbers"
                raise TaskError("features", name, f"{why}; select from {', '.join(others)}")
            values = columns[name]
            if len(bad := np.flatnonzero(~np.isfinite(values))):
                allowed = f"finite; selected row {bad[0]} is not, {len(bad)} in all: exclude them with `cut`"
                raise TaskError("features", name, allowed)
            if np.ptp(values) == 0:
                raise TaskError("features", name, "a column that is not constant")
        return {name: columns[name] for name in self.features}

    @property
    def _unseen(self) -> list[Range]:
        """Masses whose events decide nothing before they are searched."""
        return [*self.known, self.window] if self.window else self.known

    @cached_property
    def variable(self) -> Variable:
        (columns, steps, per), half_width, unit = self._events, self.half_width, self.unit or ""
        mass, weight = columns[MASS], columns.get(WEIGHT)
        if not beside(mass, self._unseen).any():
            raise TaskError("known", self.known, f"masses beside which there are events of {self.column}")
        fit_range, why = fitted(mass, weight, self._unseen)
        if self.fit_range:
            fit_range, why = self.fit_range, "as asked for"
        if self.window:
            half_width = half_width_of(self.window)
        outside = int(((mass < fit_range[0]) | (mass >= fit_range[1])).sum())
        notes = [
            f"the fit begins at {fit_range[0]:g} {unit}, {why}, and ends at {fit_range[1]:g} {unit}; {outside} of "
            f"{len(mass)} events lie outside and are not used."
        ]
        search = self._searched(mass, fit_range, half_width, notes)
        if self.known:
            masses = ", ".join(f"{low:g} to {high:g} {unit}" for low, high in self.known)
            notes.append(f"events at known resonances were left out: {masses}.")
        if self.window:
            notes.append("what the window holds has decided neither this range nor which features tell the mass.")
        if steps:
            notes.append(
                f"values of {', '.join(steps)} come in steps, which were filled at random: a density has no steps."
            )
        if weight is not None:
            divided = "" if per == 1 else f", divided by their mean, {per:.4g}"
            notes.append(
                f"events count by `{self.weights}`: numbers of events are sums of these weights{divided}. "
                f"{len(weight)} events are as precise as {effective(weight):.0f} without weights."
            )
        name = bare(self.column) if bare(self.column).isidentifier() else MASS
        return own(name, unit, fit_range, search, half_width, tuple(notes), self.known)

    def _searched(self, mass: Floats, fit_range: Range, half_width: float, notes: list[str]) -> Range:
        """Return the masses to search: what was asked for, as far as there are enough events."""
        if self.window and overlaps(self.window, self.known):
            raise TaskError("window", self.window, f"masses beside known resonances, {self.known}")
        possible = searchable(mass, fit_range, half_width, 1 - self.hold_out, self.window, self.known)
        asked = self.window or self.search_range
        field = "window" if self.window else "search_range"
        inside = int(((mass >= fit_range[0]) & (mass < fit_range[1]) & beside(mass, self._unseen)).sum())
        if possible is None:
            allowed = (
                f"enough events for windows with {MIN_EVENTS} in them and on either side in {1 - self.hold_out:.0%}"
            )
            raise TaskError("data", str(self.data), f"{allowed} of the events; {inside} lie in the range of the fit")
        low, high = possible if asked is None else (max(asked[0], possible[0]), min(asked[1], possible[1]))
        if high * (1 - half_width) < low * (1 + half_width) * (1 - 1e-9) or (
            self.window and (low, high) != self.window
        ):
            allowed = (
                f"masses between {possible[0]:g} and {possible[1]:g} {self.unit}, where a window above the turn-on"
            )
            wide = f"{2 * half_width:.3g} of its centre wide"
            raise TaskError(field, asked, f"{allowed} has enough events beside it; a window is {wide}. Unit right?")
        if (n := len(windows((low, high), self.known, half_width))) > MOST:
            allowed = f"masses for at most {MOST} windows; {low:g} to {high:g} {self.unit} would take {n}: search less"
            raise TaskError("search_range", asked, f"{allowed}, or in wider windows (`half_width`)")
        said = f"masses from {low:g} to {high:g} {self.unit} are searched"
        if asked and (low, high) != asked:
            said += f", not from {asked[0]:g} to {asked[1]:g}"
        notes.append(f"{said}: every window and both of its sidebands need {MIN_EVENTS} events above the turn-on.")
        return low, high

    def prepare(self, inputs: Path, held_out: Path, sealed_folder: Path) -> dict[str, Any]:
        followed = self._followed()
        facts, variable = super().prepare(inputs, held_out, sealed_folder), self.variable
        return facts | {
            "variable": variable.name,
            "fit_range": variable.fit_range,
            "half_width": variable.half_width,
            "chosen_features": self.features,
            "notes": [*variable.notes, *followed],
        }

    def _followed(self) -> list[str]:
        """Return a note on features from which the mass follows. Raises TaskError if it follows from all of them."""
        columns, name = self.load()[0], self.variable.name
        seen = beside(columns[MASS], self._unseen)
        kept = without_mjj({column: values[seen] for column, values in columns.items()})
        if not kept:
            allowed = f"columns from which {name} does not follow: a cut on any of these makes bumps in it"
            raise TaskError("features", self.features, allowed)
        followed = ", ".join(feature for feature in self.features if feature not in kept)
        said = f"{name} can be predicted with {followed}: no support for a claim, and a cut may shape {name}."
        return [said] if followed else []


def half_width_of(window: Range) -> float:
    """Return the half width of a window over its centre."""
    return (window[1] - window[0]) / (window[1] + window[0])


def step_of(values: Floats) -> float | None:
    """Return the distance between the values of a feature that comes in steps, None for a continuous one.

    >>> step_of(np.array([0.0, 1.0, 1.0, 3.0])), step_of(np.linspace(0, 1, 100))
    (1.0, None)
    """
    distinct = np.unique(values)
    whole = bool(np.all(distinct == np.rint(distinct)))
    return float(np.diff(distinct).min()) if whole or len(distinct) <= STEPS else None
