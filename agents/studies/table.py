"""Outcomes as columns: what the statistics are computed from, by the study's rules."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from agents.studies.outcome import Outcome
from tasks.study import Value
from tools.types import Floats

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Rules:
    """What a study says on how its rows are read."""

    failure: float  # the primary metric of a run without a valid answer
    fresh: frozenset[str]  # data sets of which each repeat draws events of its own
    measured: frozenset[str]  # data sets on which the primary metric means something
    draws: tuple[str, ...]  # all draws of events, in a fixed order


def rules_of(outcomes: Sequence[Outcome], failure: float, fresh: frozenset[str]) -> Rules:
    """How the rows of these outcomes are read."""
    draws = {_draw(o, fresh) for o in outcomes}
    return Rules(failure, fresh, measured_sets(outcomes), tuple(sorted(draws)))


@dataclass(frozen=True)
class Table:
    """Rows that count, none of them missing. Columns are (n,)."""

    rows: tuple[Outcome, ...]
    rules: Rules

    def where(self, wanted: Callable[[Outcome], bool]) -> Table:
        """Some of the rows."""
        return Table(tuple(row for row in self.rows if wanted(row)), self.rules)

    def of(self, arm: str) -> Table:
        """The rows of one backend."""
        return self.where(lambda row: row.backend == arm)

    @cached_property
    def measured(self) -> Table:
        """The rows that the primary metric is defined for."""
        return self.where(lambda row: row.dataset in self.rules.measured)

    @cached_property
    def draw(self) -> Ints:
        """Which events each run saw: runs with the same number saw the same."""
        number = {name: k for k, name in enumerate(self.rules.draws)}
        return np.array([number[_draw(row, self.rules.fresh)] for row in self.rows], np.int64)

    @cached_property
    def success(self) -> Bools:
        return np.array([row.success for row in self.rows], np.bool_)

    @cached_property
    def metric(self) -> Floats:
        """The primary metric by intention to treat: without a valid answer it is the study's value for failures."""
        return np.array([metric_of(row, self.rules.failure) for row in self.rows], np.float64)

    @cached_property
    def claimed(self) -> Bools:
        """Whether a discovery was claimed; who gave no answer claimed none."""
        return np.array([row.answer is not None and row.answer.discovery for row in self.rows], np.bool_)

    @cached_property
    def has_signal(self) -> Bools:
        return np.array([row.truth.n_signal > 0 for row in self.rows], np.bool_)

    def codes(self, name: str) -> Ints:
        """A column of names as numbers."""
        names = [str(getattr(row, name)) for row in self.rows]
        return np.asarray(np.unique(np.array(names, dtype=str), return_inverse=True)[1], np.int64)

    def numbers(self, of: Callable[[Outcome], float | None]) -> Floats:
        """A column of numbers, NaN where there is none."""
        values = [of(row) for row in self.rows]
        return np.array([np.nan if value is None else value for value in values], np.float64)


def answered(row: Outcome) -> bool:
    """Whether a run came to a valid answer."""
    return row.answer is not None and row.status in ("converged", "exhausted")


def measured_sets(outcomes: Iterable[Outcome]) -> frozenset[str]:
    """The metric is one of data sets with signal, and of those without where some run has one nevertheless."""
    return frozenset(o.dataset for o in outcomes if o.truth.n_signal > 0 or o.primary is not None)


def metric_of(row: Outcome, failure: float) -> float:
    """The primary metric that a run counts with."""
    return failure if row.primary is None or not answered(row) else row.primary


def value_of(value: Value | None) -> float | None:
    return None if value is None else value.value


def error_of(value: Value | None) -> float | None:
    return None if value is None else value.error


def _draw(row: Outcome, fresh: frozenset[str]) -> str:
    return f"{row.dataset}/{row.repeat}" if row.dataset in fresh else row.dataset
