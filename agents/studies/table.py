"""Outcomes as columns, read by the study's rules: the input of the statistics."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from agents.studies.outcome import Outcome
from agents.studies.study import Study
from agents.trace.result import ANSWERED
from tasks.study import Value
from tools.types import Floats

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Rules:
    """The rules by which a study's rows are read."""

    failure: float  # the primary metric of a run without a valid answer
    fresh: frozenset[str]  # data sets for which each repeat draws its own events
    measured: frozenset[str]  # data sets on which the primary metric is meaningful
    draws: tuple[str, ...]  # all draws of events, in a fixed order
    quantities: tuple[str, ...]  # names of the numbers that are claimed and have a true value


def rules_of(outcomes: Sequence[Outcome], study: Study) -> Rules:
    """Return the rules for reading these outcomes."""
    fresh = frozenset(dataset.name for dataset in study.datasets if dataset.fresh)
    quantities = tuple(quantity.name for quantity in study.judge.quantities)
    draws = {_draw(o, fresh) for o in outcomes}
    return Rules(study.primary.failure, fresh, measured_sets(outcomes), tuple(sorted(draws)), quantities)


@dataclass(frozen=True)
class Table:
    """The rows of runs that are not missing. Columns are (n,)."""

    rows: tuple[Outcome, ...]
    rules: Rules

    def where(self, wanted: Callable[[Outcome], bool]) -> Table:
        """Return the table of rows for which `wanted` is true."""
        return Table(tuple(row for row in self.rows if wanted(row)), self.rules)

    def of(self, arm: str) -> Table:
        """Return the table of one backend's rows."""
        return self.where(lambda row: row.backend == arm)

    @cached_property
    def measured(self) -> Table:
        """The rows for which the primary metric is defined."""
        return self.where(lambda row: row.dataset in self.rules.measured)

    @cached_property
    def draw(self) -> Ints:
        """Number of the draw of events that each run saw."""
        number = {name: k for k, name in enumerate(self.rules.draws)}
        return np.array([number[_draw(row, self.rules.fresh)] for row in self.rows], np.int64)

    @cached_property
    def success(self) -> Bools:
        return np.array([row.success for row in self.rows], np.bool_)

    @cached_property
    def metric(self) -> Floats:
        """The primary metric by intention to treat: runs without a valid answer get the study's value for failures."""
        return np.array([metric_of(row, self.rules.failure) for row in self.rows], np.float64)

    @cached_property
    def claimed(self) -> Bools:
        """True if a signal was claimed; a run without an answer claimed none."""
        return np.array([row.answer is not None and row.answer.signal for row in self.rows], np.bool_)

    @cached_property
    def has_signal(self) -> Bools:
        return np.array([row.truth.signal for row in self.rows], np.bool_)

    def codes(self, name: str) -> Ints:
        """Return a column of names as integer codes."""
        names = [str(getattr(row, name)) for row in self.rows]
        return np.asarray(np.unique(np.array(names, dtype=str), return_inverse=True)[1], np.int64)

    def numbers(self, of: Callable[[Outcome], float | None]) -> Floats:
        """Return a column of numbers, NaN if missing."""
        values = [of(row) for row in self.rows]
        return np.array([np.nan if value is None else value for value in values], np.float64)


def answered(row: Outcome) -> bool:
    """Return True if the run gave a valid answer."""
    return row.answer is not None and row.status in ANSWERED


def measured_sets(outcomes: Iterable[Outcome]) -> frozenset[str]:
    """Return the data sets that have the primary metric: those with signal, and any others where a run has one."""
    return frozenset(o.dataset for o in outcomes if o.truth.signal or o.primary is not None)


def metric_of(row: Outcome, failure: float) -> float:
    """Return the primary metric with which a run counts."""
    return failure if row.primary is None or not answered(row) else row.primary


def value_of(value: Value | None) -> float | None:
    return None if value is None else value.value


def error_of(value: Value | None) -> float | None:
    return None if value is None else value.error


def _draw(row: Outcome, fresh: frozenset[str]) -> str:
    return f"{row.dataset}/{row.repeat}" if row.dataset in fresh else row.dataset
