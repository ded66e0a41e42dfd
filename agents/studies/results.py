"""`results.json` of a study: the schema is `StudyResult`. Missing and non-finite numbers are null.

"These events": the expectation for new runs on the same data, with runs counted as independent. "Other events": the
expectation for other draws of data sets like these; runs that saw the same events are one cluster, and with a single
cluster there is no interval.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, ConfigDict, Field

from agents.studies.outcome import Fault, FaultKind
from tasks import score
from tasks.writing import number
from tools.contract import Frozen

Number = Annotated[float | None, BeforeValidator(number)]
Quantity = Literal["success", "metric"]


class Row(Frozen):
    """Base of the models here, built from the attributes of the statistics' records."""

    model_config = ConfigDict(from_attributes=True)


class Span(Row):
    """A 95% interval."""

    low: Number
    high: Number


class RateRow(Row):
    """A fraction of runs."""

    successes: int = Field(description="number of successful runs")
    n: int = Field(description="number of runs")
    clusters: int = Field(description="number of distinct draws of events among them")
    value: Number = Field(description="successes / n")
    interval: Span = Field(description="Wilson interval; these events")
    wide: Span = Field(description="Wilson interval with the effective number of independent runs; other events")


class MetricRow(Row):
    """The primary metric over runs; runs without a valid answer enter with the study's value for failures."""

    n: int = Field(description="number of runs, without those on data sets that lack the metric (signal-free ones)")
    failures: int = Field(description="number of these runs that have the value for failures")
    mean: Number
    interval: Span = Field(description="interval of the mean, bootstrap over draws of events")
    median: Number
    median_interval: Span = Field(description="interval of the median, bootstrap over draws of events")
    sd: Number = Field(description="standard deviation of runs")


class IccRow(Row):
    """ICC(1): correlation of two runs on the same data set, identified by name."""

    value: Number
    interval: Span = Field(description="interval from the F ratio")


class PassRow(Row):
    """pass@k and pass^k, averaged over data sets and wordings."""

    k: int
    at: Number = Field(description="pass@k: at least one of k runs succeeds")
    at_interval: Span = Field(description="bootstrap over data sets")
    hat: Number = Field(description="pass^k: all of k runs succeed")
    hat_interval: Span = Field(description="bootstrap over data sets")


class ClaimsRow(Row):
    """Claims on signal-free data to have found something."""

    false: int = Field(description="number of runs on signal-free data that claimed a signal")
    n: int = Field(description="number of runs on signal-free data")
    rate: Number = Field(description="false / n")
    interval: Span = Field(description="Clopper-Pearson interval")
    claims: int = Field(description="number of runs on any data that claimed a signal")
    fdr: Number = Field(description="false / claims, on this mix of data sets")
    fdr_interval: Span = Field(description="Clopper-Pearson interval")


class UniformityRow(Row):
    """Kolmogorov-Smirnov tests of the harness's p-values on signal-free data against the uniform distribution."""

    n: int = Field(description="number of p-values")
    missing: int = Field(description="number of runs on signal-free data without a p-value")
    distance: Number = Field(description="largest distance between the two distribution functions")
    p: Number = Field(description="two-sided, runs taken as independent")
    p_too_small: Number = Field(description="one-sided: small p-values are too frequent")
    clusters: int = Field(description="number of distinct draws of events")
    p_clusters: Number = Field(description="two-sided, one p-value per draw of events")


class CoverageRow(Row):
    """Claimed intervals of one quantity, on data with signal."""

    one: RateRow = Field(description="truth within one claimed error; 68.3% expected")
    two: RateRow = Field(description="truth within two claimed errors; 95.4% expected")
    without: int = Field(description="number of claims of the quantity without an error")
    pull_mean: Number = Field(description="mean of (claimed - true) / error")
    pull_rms: Number = Field(description="root mean square of (claimed - true) / error; 1 expected")
    bias: Number = Field(description="mean of claimed - true, in the quantity's unit")


class RankRow(Row):
    """Steering metric against sealed metric, by ranks among all runs on the same events."""

    n: int = Field(description="number of runs with both metrics")
    value: Number
    interval: Span = Field(description="bootstrap over draws of events")


class SpentRow(Row):
    """The cost of all runs that are not missing, including failures."""

    total: Number
    per_run: Number
    per_success: Number = Field(description="total / successes; null: infinite, nothing succeeded")
    interval: Span = Field(
        description="interval of per_success, bootstrap over draws of events; null at the high end: infinite"
    )


class Group(Row):
    """Successes on one data set, or with one wording."""

    name: str
    successes: int
    n: int
    interval: Span = Field(description="Wilson interval")


class ArmRow(Row):
    """All results of one backend."""

    name: str
    is_llm: bool
    derived: str | None = Field(None, description="the backend from whose runs this best-of-N arm is made")
    planned: int = Field(description="number of cells of the study; for a best-of-N arm: number of complete groups")
    n: int = Field(description="number of runs that are not missing")
    missing: int = Field(
        description="number of runs lost to a service, a sandbox or a defect of ours: not results, left out"
    )
    no_answer: int = Field(description="number of runs, of the n, without a valid answer: failures")
    success: RateRow
    if_missing: Span = Field(description="success rate if all missing runs had failed, and if all had succeeded")
    first: Number = Field(description="fraction of bootstrap draws of events in which its success rate is highest")
    metric: MetricRow
    icc_success: IccRow
    icc_metric: IccRow
    passes: list[PassRow]
    claims: ClaimsRow
    uniformity: UniformityRow
    coverage: dict[str, CoverageRow] = Field(description="claimed numbers, by the names of quantities")
    gap: RankRow = Field(
        description="mean rank by steering metric minus that by sealed metric; above 0: it looks better than it is"
    )
    following: RankRow = Field(description="Spearman's correlation between steering and sealed metric of its runs")
    dollars: SpentRow
    tokens: SpentRow
    seconds: SpentRow
    faults: dict[FaultKind, int] = Field(description="number of runs with at least one fault of the kind")
    fatal: dict[FaultKind, int] = Field(description="number of runs that such a fault cost their answer")
    canaries_leaked: int = Field(description="number of runs whose probes found the sandbox open")
    by_dataset: list[Group]
    by_wording: list[Group]


class PairRow(Row):
    """a - b over pairs of runs with the same events, wording and seed."""

    a: str
    b: str
    quantity: Quantity
    pairs: int
    clusters: int = Field(description="number of distinct draws of events")
    value: Number = Field(description="mean difference")
    interval: Span = Field(description="bootstrap over draws of events")
    p_runs: Number = Field(description="sign flips of pairs; these events. Null if either is a best-of-N arm")
    p_runs_holm: Number = Field(description="corrected for all pairs of backends")
    p_events: Number = Field(description="sign flips of all pairs of a draw together; other events")
    p_events_holm: Number = Field(description="corrected for all pairs of backends")
    p_events_least: Number = Field(description="the smallest p_events possible with this number of draws")


class ComponentRow(Row):
    """One component of the variance."""

    source: str = Field(description="a factor, an interaction, or `repeat`: other seeds, and other events if fresh")
    variance: Number = Field(description="Henderson's estimate; negative means not different from zero")
    share: Number = Field(description="fraction of the total, with negative estimates set to zero")


class NeedRow(Row):
    """Resources needed to detect a difference between two backends with 80% power at p < 0.05."""

    difference: float
    power_these: Number = Field(description="power of the present study for a statement on these events")
    repeats_these: int | None = Field(description="repeats of each cell needed for 80% on these events; null: > 10,000")
    power_other: Number = Field(description="power of the present study for a statement on other events")
    events_other: int | None = Field(
        description="draws of events needed for 80% on other events, with as many runs on each as now; null: > 10,000"
    )
    repeats_other: int | None = Field(
        description="runs on each of the present draws needed for that; null: no number is enough"
    )


class PowerTable(Row):
    """Power of the study, from the measured variances of paired differences, averaged over pairs of backends."""

    quantity: Quantity
    variance: Number = Field(description="variance of a pair's difference, for statements on these events")
    tau2: Number = Field(description="variance of the true difference between draws of events")
    sigma2: Number = Field(description="variance of a pair's difference on the same events; 0: not separable from tau2")
    pairs: int = Field(description="present number of pairs of runs, on average")
    events: int = Field(description="present number of draws of events")
    repeats: Number = Field(description="present number of pairs on each draw, on average")
    detectable_these: Number = Field(description="smallest difference detected with 80% power, on these events")
    detectable_other: Number = Field(description="smallest difference detected with 80% power, on other events")
    rows: list[NeedRow]


class FaultRow(Fault):
    """A fault and its run."""

    cell: str
    backend: str


class Answer(Row):
    """The best backend and the certainty of that, in words."""

    best: list[str] = Field(description="the backends with the highest success rate; several if they are equal")
    certainty: Literal["clear", "these events", "open"] = Field(
        description="clear: better than all others, also on other events; these events: only on these; open: undecided"
    )
    sentences: list[str]
    warnings: list[str] = Field(description="caveats that a reader must know before using the numbers")


class StudyResult(Row):
    """The schema of `results.json`."""

    format: Literal[2] = Field(2, description="version of this schema; 1 had fields of one kind of task")
    study: dict[str, Any] = Field(description="the study with all defaults")
    study_sha256: str = Field(description="SHA-256 of the study's canonical JSON, fixed before the first run")
    outcomes_sha256: str = Field(description="SHA-256 of the outcomes from which all this is computed")
    versions: dict[str, str] = Field(description="versions that computed this; `stability`: a hash of its source")
    run_versions: list[dict[str, str]] = Field(
        description="versions used by the runs; more than one entry if they changed"
    )
    planned: int = Field(description="number of cells of the study")
    done: int = Field(description="number of cells with an outcome")
    missing: int = Field(description="number of these lost to infrastructure")
    damaged: list[str] = Field(description="cells whose outcome cannot be read")
    answer: Answer
    arms: list[ArmRow] = Field(description="best success rate first")
    pairs: list[PairRow]
    components: dict[Quantity, list[ComponentRow]]
    power: list[PowerTable]
    following: RankRow = Field(
        description="Spearman's correlation between steering and sealed metric, of all runs, within the same events"
    )
    faults: list[FaultRow]
    datasets: dict[str, str] = Field(description="data set -> what it contains, in the task's words")
    quantities: list[score.Quantity] = Field(description="the numbers that are claimed and have a true value")
