"""The results of one backend: a row of the study's result, from its runs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from agents.studies.outcome import Outcome
from agents.studies.results import ArmRow
from agents.studies.statistics.components import icc1
from agents.studies.statistics.cost import Spent, spent
from agents.studies.statistics.coverage import Coverage, coverage
from agents.studies.statistics.gap import Following, Gap, following, gap
from agents.studies.statistics.null import false_claims, uniformity
from agents.studies.statistics.proportions import (
    NO_INTERVAL,
    Interval,
    pass_at_k,
    pass_hat_k,
    rate,
    wilson,
)
from agents.studies.statistics.spread import bootstrap, mean, median
from agents.studies.table import Table, answered, error_of, value_of
from tasks.study import Value


def arm_row(
    name: str, outcomes: Sequence[Outcome], everyone: Table, planned: int, derived: str | None, seed: int
) -> ArmRow:
    """Return the row of one backend.

    `outcomes`: those of the backend, including missing ones; `everyone`: all runs that are not missing, for the ranks.
    """
    table = Table(tuple(o for o in outcomes if not o.missing), everyone.rules)
    missing = len(outcomes) - len(table.rows)
    k, n = int(table.success.sum()), len(table.rows)
    all_ = max(n + missing, 1)
    null = table.where(lambda row: not row.truth.signal)
    return ArmRow(
        name=name,
        is_llm=any(o.is_llm for o in outcomes),
        derived=derived,
        planned=planned,
        n=n,
        missing=missing,
        no_answer=sum(not answered(row) for row in table.rows),
        success=rate(table.success, table.draw),
        if_missing=Interval(k / all_, (k + missing) / all_) if outcomes else NO_INTERVAL,
        first=None,
        metric=_metric(table.measured, seed),
        icc_success=icc1(table.success.astype(float), table.codes("dataset")),
        icc_metric=icc1(table.measured.metric, table.measured.codes("dataset")),
        passes=_passes(table, seed),
        claims=false_claims(table.claimed, table.has_signal),
        uniformity=uniformity(null.numbers(lambda row: row.answer.p_value if row.answer else None), null.draw),
        coverage={name: _coverage(table, name) for name in table.rules.quantities},
        gap=_gap(name, everyone, seed),
        following=steering_and_sealed(table, seed),
        dollars=_spent(table, lambda row: row.cost.dollars, seed),
        tokens=_spent(table, lambda row: row.cost.prompt_tokens + row.cost.completion_tokens, seed),
        seconds=_spent(table, lambda row: row.seconds, seed),
        faults=dict(sorted(Counter(kind for row in table.rows for kind in {f.kind for f in row.faults}).items())),
        fatal=dict(sorted(Counter(f.kind for row in table.rows for f in row.faults if f.fatal).items())),
        canaries_leaked=sum(row.canaries_held is False for row in table.rows),
        by_dataset=_groups(table, "dataset"),
        by_wording=_groups(table, "wording"),
    )


def steering_and_sealed(table: Table, seed: int) -> Following:
    """Return the rank correlation between steering and sealed metric of these runs."""
    both = _both(table)
    return following(*_pair(both), both.draw, seed)


def _both(table: Table) -> Table:
    """Return the runs with both a steering and a sealed metric."""
    return table.measured.where(lambda row: row.steering is not None and row.primary is not None)


def _pair(table: Table) -> tuple[Any, Any]:
    return table.numbers(lambda row: value_of(row.steering)), table.numbers(lambda row: row.primary)


def _gap(name: str, everyone: Table, seed: int) -> Gap:
    both = _both(everyone)
    mine = np.array([row.backend == name for row in both.rows], np.bool_)
    return gap(*_pair(both), both.draw, mine, seed)


def _metric(table: Table, seed: int) -> dict[str, Any]:
    values, n = table.metric, len(table.rows)
    failures = sum(row.primary is None or not answered(row) for row in table.rows)
    row: dict[str, Any] = {"n": n, "failures": failures, "mean": None, "median": None, "sd": None}
    row |= {"interval": NO_INTERVAL, "median_interval": NO_INTERVAL}
    if n:
        row |= {"mean": values.mean(), "median": np.median(values), "sd": values.std(ddof=1) if n > 1 else None}
        row["interval"] = bootstrap(values, table.draw, mean, seed)
        row["median_interval"] = bootstrap(values, table.draw, median, seed)
    return row


def _passes(table: Table, seed: int) -> list[dict[str, Any]]:
    """Return pass@k and pass^k for each k; a task is a data set with one wording, its repeats are the tries."""
    tasks: dict[tuple[str, str], list[bool]] = {}
    for row in table.rows:
        tasks.setdefault((row.dataset, row.wording), []).append(row.success)
    if not tasks:
        return []
    wins, tries = (np.array([float(of(runs)) for runs in tasks.values()]) for of in (sum, len))
    dataset = np.unique([name for name, _ in tasks], return_inverse=True)[1]
    rows: list[dict[str, Any]] = []
    for k in range(1, int(tries.min()) + 1):
        at, hat = pass_at_k(wins, tries, k), pass_hat_k(wins, tries, k)
        spans = {"at_interval": bootstrap(at, dataset, mean, seed), "hat_interval": bootstrap(hat, dataset, mean, seed)}
        rows.append({"k": k, "at": at.mean(), "hat": hat.mean()} | spans)
    return rows


def _coverage(table: Table, quantity: str) -> Coverage:
    """Return the coverage of a quantity in claims of a signal on data with one."""

    def claimed(row: Outcome) -> Value | None:
        found = row.answer if row.answer and row.answer.signal and row.truth.signal else None
        return found.numbers.get(quantity) if found else None

    rows = table.where(lambda row: claimed(row) is not None and quantity in row.truth.numbers)
    return coverage(
        rows.numbers(lambda row: value_of(claimed(row))),
        rows.numbers(lambda row: error_of(claimed(row))),
        rows.numbers(lambda row: row.truth.numbers[quantity]),
        rows.draw,
    )


def _spent(table: Table, of: Any, seed: int) -> Spent:
    return spent(table.numbers(of), table.success, table.draw, seed)


def _groups(table: Table, name: str) -> list[dict[str, Any]]:
    groups: dict[str, list[bool]] = {}
    for row in table.rows:
        groups.setdefault(getattr(row, name), []).append(row.success)
    return [
        {"name": value, "successes": sum(wins), "n": len(wins), "interval": wilson(sum(wins) / len(wins), len(wins))}
        for value, wins in sorted(groups.items())
    ]
