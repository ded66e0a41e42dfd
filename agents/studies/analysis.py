"""Analysis of a study: from its outcomes to results for each arm, each pair of arms, and the whole study."""

from __future__ import annotations

import hashlib
import itertools
import math
from collections import defaultdict
from collections.abc import Container, Mapping, Sequence
from pathlib import Path
from typing import get_args

import numpy as np

from agents.runs.provenance import versions
from agents.studies import verdict
from agents.studies.arms import arm_row, steering_and_sealed
from agents.studies.best_of import derived
from agents.studies.cells import backend_in, cells_of
from agents.studies.outcome import Outcome
from agents.studies.results import (
    ArmRow,
    ComponentRow,
    FaultRow,
    NeedRow,
    PairRow,
    PowerTable,
    Quantity,
    StudyResult,
)
from agents.studies.statistics.compare import compare, holm
from agents.studies.statistics.components import components, shares
from agents.studies.statistics.power import (
    Variances,
    datasets_needed,
    detectable,
    of_pairs,
    power,
    repeats_needed,
    variances,
)
from agents.studies.statistics.ranking import first_share
from agents.studies.study import Study
from agents.studies.table import Ints, Rules, Table, metric_of, rules_of
from tools.types import Floats

QUANTITIES: tuple[Quantity, ...] = get_args(Quantity)
RATES = (0.05, 0.1, 0.2, 0.3, 0.5)  # differences of success rates in the power table
EFFECTS = (0.2, 0.5, 0.8, 1.2)  # differences of the metric in standard deviations (Cohen: 0.2 small to 0.8 large)
Key = tuple[str, str, int]


def analyse(
    study: Study,
    outcomes: Sequence[Outcome],
    damaged: Sequence[str] = (),
    run_versions: Sequence[Mapping[str, str]] = (),
) -> StudyResult:
    """Return the result of a study, finished or not. The same outcomes give the same numbers."""
    outcomes = sorted(outcomes, key=lambda outcome: outcome.cell)
    rules = rules_of(outcomes, study)
    per_arm = len(study.datasets) * len(study.wordings) * study.repeats
    arms = {arm.name: [o for o in outcomes if o.backend == arm.name] for arm in study.backends}
    everyone = Table(tuple(o for o in outcomes if not o.missing), rules)
    rows = [arm_row(name, own, everyone, per_arm, None, study.seed) for name, own in arms.items()]
    rows = _with_first(rows, everyone, study.seed)
    made = derived(outcomes, study)
    rows += [arm_row(name, own, everyone, len(own), _source(own), study.seed) for name, own in made.items()]
    arms |= made
    rows.sort(key=lambda row: (row.derived is not None, -(row.success.value or 0.0), row.name))
    pairs = _pairs([row.name for row in rows], arms, made, rules, study.seed)
    result = StudyResult(
        study=study.canonical(),
        study_sha256=study.sha256(),
        outcomes_sha256=_sha256(*(outcome.model_dump_json() for outcome in outcomes)),
        versions=versions() | {"stability": _code()},
        run_versions=[dict(entry) for entry in run_versions],
        planned=len(cells_of(study)),
        done=len(outcomes),
        missing=sum(outcome.missing for outcome in outcomes),
        damaged=list(damaged),
        answer=verdict.NOTHING,
        arms=rows,
        pairs=pairs,
        components={quantity: _components(everyone, quantity) for quantity in QUANTITIES},
        power=[_power(everyone, quantity, [arm.name for arm in study.backends]) for quantity in QUANTITIES],
        following=steering_and_sealed(everyone, study.seed),
        faults=[FaultRow(cell=o.cell, backend=o.backend, **fault.model_dump()) for o in outcomes for fault in o.faults],
        datasets={o.dataset: o.truth.text for o in outcomes},
        quantities=list(study.judge.quantities),
    )
    return result.model_copy(update={"answer": verdict.answer(result)})


def _with_first(rows: Sequence[ArmRow], everyone: Table, seed: int) -> list[ArmRow]:
    tables = [everyone.of(row.name) for row in rows]
    shares_ = first_share([table.success for table in tables], [table.draw for table in tables], seed)
    return [
        row.model_copy(update={"first": None if math.isnan(share) else share})
        for row, share in zip(rows, shares_, strict=True)
    ]


def _pairs(
    names: Sequence[str],
    arms: Mapping[str, Sequence[Outcome]],
    best: Container[str],
    rules: Rules,
    seed: int,
) -> list[PairRow]:
    """Compare all pairs of arms in both quantities; p-values are corrected within each quantity."""
    rows: list[PairRow] = []
    for quantity in QUANTITIES:
        found = []
        for a, b in itertools.combinations(names, 2):
            made = a in best or b in best  # no seeds of their own: compared by means over repeats
            values, draw = _differences(arms[a], arms[b], quantity, rules, by_repeat=not made)
            difference = compare(values, draw, seed)
            found.append((a, b, difference, math.nan if made else difference.p_runs))
        runs, events = (holm(np.array(p)) for p in ([f[3] for f in found], [f[2].p_datasets for f in found]))
        rows += [
            PairRow(
                a=a,
                b=b,
                quantity=quantity,
                pairs=difference.pairs,
                clusters=difference.clusters,
                value=difference.value,
                interval=difference.interval,
                p_runs=p_runs,
                p_runs_holm=p_runs_holm,
                p_events=difference.p_datasets,
                p_events_holm=p_events_holm,
                p_events_least=difference.p_datasets_least,
            )
            for (a, b, difference, p_runs), p_runs_holm, p_events_holm in zip(found, runs, events, strict=True)
        ]
    return rows


def _differences(
    a: Sequence[Outcome], b: Sequence[Outcome], quantity: Quantity, rules: Rules, by_repeat: bool = True
) -> tuple[Floats, Ints]:
    """Return a - b for cells in which neither run is missing, and the draw of events of each."""
    mine, other = (_cells(rows, quantity, rules, by_repeat) for rows in (a, b))
    keys = sorted(mine.keys() & other.keys())
    names = [f"{key[0]}/{key[2]}" if key[0] in rules.fresh else key[0] for key in keys]
    draw = np.array([rules.draws.index(name) for name in names], np.int64)
    return np.array([mine[key] - other[key] for key in keys], np.float64), draw


def _cells(rows: Sequence[Outcome], quantity: Quantity, rules: Rules, by_repeat: bool) -> dict[Key, float]:
    """Return the mean of each cell; without `by_repeat`, repeats on the same events are averaged."""
    values: dict[Key, list[float]] = defaultdict(list)
    for row in rows:
        if row.missing or (quantity == "metric" and row.dataset not in rules.measured):
            continue
        value = float(row.success) if quantity == "success" else metric_of(row, rules.failure)
        split = by_repeat or row.dataset in rules.fresh
        values[row.dataset, row.wording, row.repeat if split else -1].append(value)
    return {key: float(np.mean(found)) for key, found in values.items()}


def _components(everyone: Table, quantity: Quantity) -> list[ComponentRow]:
    table = everyone if quantity == "success" else everyone.measured
    if not table.rows:
        return []
    values = table.success.astype(float) if quantity == "success" else table.metric
    names = {"backend": "backend", "wording": "wording", "data set": "dataset"}
    found = components(values, {name: table.codes(column) for name, column in names.items()})
    part = shares(found)
    return [ComponentRow(source=name, variance=value, share=part[name]) for name, value in found.items()]


def _power(everyone: Table, quantity: Quantity, arms: Sequence[str]) -> PowerTable:
    """Return the power table, from the variances of differences averaged over all pairs of arms."""
    own, other, sizes = [], [], []
    for a, b in itertools.combinations(arms, 2):
        values, draw = _differences(everyone.of(a).rows, everyone.of(b).rows, quantity, everyone.rules)
        if len(values) > 1:
            own.append(of_pairs(values, draw))
            other.append(variances(values, draw))
            sizes.append((len(values), len(np.unique(draw))))
    these, others = _mean(own), _mean(other)
    pairs, events = (round(float(np.mean(size))) for size in zip(*sizes, strict=True)) if sizes else (0, 0)
    repeats = pairs / events if events else math.nan
    steps = RATES if quantity == "success" else _steps(everyone.measured)
    table = everyone if quantity == "success" else everyone.measured
    cells = len({(row.dataset, row.wording) for row in table.rows})
    rows = []
    for step in steps if sizes else ():
        needed = datasets_needed(step, these, 1)
        rows.append(
            NeedRow(
                difference=step,
                power_these=power(step, these, pairs, 1),
                repeats_these=None if needed is None else -(-needed // cells),
                power_other=power(step, others, events, repeats) if events > 1 else None,
                events_other=datasets_needed(step, others, repeats),
                repeats_other=repeats_needed(step, others, events) if events > 1 else None,
            )
        )
    return PowerTable(
        quantity=quantity,
        variance=these.tau2,
        tau2=others.tau2,
        sigma2=others.sigma2,
        pairs=pairs,
        events=events,
        repeats=repeats,
        detectable_these=detectable(these, pairs, 1),
        detectable_other=detectable(others, events, repeats),
        rows=rows,
    )


def _mean(found: Sequence[Variances]) -> Variances:
    """Average the variances over the pairs of backends for which they are known."""
    known = [one for one in found if not math.isnan(one.tau2)]
    if not known:
        return Variances(math.nan, math.nan)
    return Variances(*(float(np.mean([getattr(one, name) for one in known])) for name in ("tau2", "sigma2")))


def _steps(table: Table) -> list[float]:
    """Return differences of the metric, to two digits, in units of the standard deviation within arms."""
    within = [table.of(name).metric.var() for name in {row.backend for row in table.rows}]
    sd = math.sqrt(float(np.mean(within))) if within else 0.0
    return [float(f"{effect * sd:.2g}") for effect in EFFECTS if sd > 0]


def _sha256(*texts: str) -> str:
    return hashlib.sha256("\n".join(texts).encode()).hexdigest()


def _source(best: Sequence[Outcome]) -> str:
    """Return the backend whose runs a best-of-N arm uses."""
    return backend_in(best[0].cell)


def _code() -> str:
    """Return a hash of the code that computes the numbers: names and contents of this package's files."""
    root = Path(__file__).parent
    return _sha256(*(f"{p.relative_to(root)} {p.read_text()}" for p in sorted(root.rglob("*.py"))))[:12]
