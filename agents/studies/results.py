"""`results.json` of a study: the schema is `StudyResult`. Numbers that are not there or not finite are null.

"These events": what new runs on the very data of the study would give, runs counting as independent. "Other events":
what other draws of data sets like these would give; runs that saw the same events are one cluster, and with a single
one there is no interval.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from agents.studies.outcome import Fault, FaultKind
from tasks.writing import number

Number = Annotated[float | None, BeforeValidator(number)]
Quantity = Literal["success", "metric"]


class Frozen(BaseModel):
    """Made from the plain records of the statistics, attribute by attribute."""

    model_config = ConfigDict(frozen=True, extra="forbid", from_attributes=True)


class Span(Frozen):
    """A 95% interval."""

    low: Number
    high: Number


class RateRow(Frozen):
    """A share of runs."""

    successes: int = Field(description="runs counted")
    n: int = Field(description="runs there are")
    clusters: int = Field(description="different draws of events that they saw")
    value: Number = Field(description="successes / n")
    interval: Span = Field(description="Wilson; these events")
    wide: Span = Field(description="Wilson with the effective number of independent runs; other events")


class MetricRow(Frozen):
    """The primary metric over runs; those without a valid answer are in it at the study's value for failures."""

    n: int = Field(description="runs; those on data sets that have no such metric (signal-free ones) are left out")
    failures: int = Field(description="of these, runs that stand at the value for failures")
    mean: Number
    interval: Span = Field(description="of the mean, bootstrap over draws of events")
    median: Number
    median_interval: Span = Field(description="of the median, bootstrap over draws of events")
    sd: Number = Field(description="standard deviation of runs")


class IccRow(Frozen):
    """ICC(1): correlation of two runs on the same data set, by its name."""

    value: Number
    interval: Span = Field(description="by the F ratio")


class PassRow(Frozen):
    """What k tries are worth, averaged over data sets and wordings."""

    k: int
    at: Number = Field(description="pass@k: at least one of k runs succeeds")
    at_interval: Span = Field(description="bootstrap over data sets")
    hat: Number = Field(description="pass^k: all of k runs succeed")
    hat_interval: Span = Field(description="bootstrap over data sets")


class ClaimsRow(Frozen):
    """Discoveries claimed where there is nothing to discover."""

    false: int = Field(description="runs on signal-free data that claimed a discovery")
    n: int = Field(description="runs on signal-free data")
    rate: Number = Field(description="false / n")
    interval: Span = Field(description="Clopper-Pearson")
    claims: int = Field(description="runs on any data that claimed a discovery")
    discovery_rate: Number = Field(description="false / claims: the false-discovery rate of this mix of data sets")
    discovery_interval: Span = Field(description="Clopper-Pearson")


class UniformityRow(Frozen):
    """The harness's p-values of runs on signal-free data, against the uniform distribution (Kolmogorov-Smirnov)."""

    n: int = Field(description="p-values there are")
    missing: int = Field(description="runs on signal-free data without one")
    distance: Number = Field(description="largest distance of the two distribution functions")
    p: Number = Field(description="two-sided, runs taken as independent")
    p_too_small: Number = Field(description="one-sided: small p-values are too frequent")
    clusters: int = Field(description="different draws of events")
    p_clusters: Number = Field(description="two-sided, one p-value of each draw of events")


class CoverageRow(Frozen):
    """Claimed intervals of one quantity, on data with signal."""

    one: RateRow = Field(description="truth within one claimed error; 68.3% is honest")
    two: RateRow = Field(description="truth within two claimed errors; 95.4% is honest")
    without: int = Field(description="claims of the quantity that named no error")
    pull_mean: Number = Field(description="mean of (claimed - true) / error")
    pull_rms: Number = Field(description="root mean square of the same; 1 is honest")
    bias: Number = Field(description="mean of claimed - true, in the quantity's unit")


class RankRow(Frozen):
    """Steering against sealed metric, by ranks among all runs on the same events."""

    n: int = Field(description="runs that have both")
    value: Number
    interval: Span = Field(description="bootstrap over draws of events")


class SpentRow(Frozen):
    """Of runs that are not missing, failures included."""

    total: Number
    per_run: Number
    per_success: Number = Field(description="total / successes; null: infinite, nothing succeeded")
    interval: Span = Field(description="of it, bootstrap over draws of events; null at the high end: infinite")


class Group(Frozen):
    """Successes on one data set, or with one wording."""

    name: str
    successes: int
    n: int
    interval: Span = Field(description="Wilson")


class ArmRow(Frozen):
    """All about one backend."""

    name: str
    is_llm: bool
    derived: str | None = Field(None, description="the backend whose runs this best-of-N arm is made from")
    planned: int = Field(description="cells of the study; of a best-of-N arm: groups there are")
    n: int = Field(description="runs that count")
    missing: int = Field(
        description="runs lost to service, sandbox or a program of ours: no result of the crew, left out"
    )
    no_answer: int = Field(description="runs that count and ended without a valid answer: failures")
    success: RateRow
    if_missing: Span = Field(description="success rate with all missing runs failed, and with all succeeded")
    first: Number = Field(description="share of bootstrap draws of events in which its success rate is the highest")
    metric: MetricRow
    icc_success: IccRow
    icc_metric: IccRow
    passes: list[PassRow]
    claims: ClaimsRow
    uniformity: UniformityRow
    mass: CoverageRow
    n_signal: CoverageRow
    gap: RankRow = Field(
        description="mean rank by steering minus by sealed metric; above 0: it looks better than it is"
    )
    following: RankRow = Field(description="Spearman's correlation of steering and sealed metric of its runs")
    dollars: SpentRow
    tokens: SpentRow
    seconds: SpentRow
    faults: dict[FaultKind, int] = Field(description="runs with at least one fault of the kind")
    fatal: dict[FaultKind, int] = Field(description="runs that such a fault cost their answer")
    canaries_leaked: int = Field(description="runs whose probes found the sandbox open")
    by_dataset: list[Group]
    by_wording: list[Group]


class PairRow(Frozen):
    """a - b over pairs of runs with the same events, wording and seed."""

    a: str
    b: str
    quantity: Quantity
    pairs: int
    clusters: int = Field(description="different draws of events")
    value: Number = Field(description="mean difference")
    interval: Span = Field(description="bootstrap over draws of events")
    p_runs: Number = Field(description="sign flips of pairs; these events. Null where the two share runs")
    p_runs_holm: Number = Field(description="corrected for all pairs of backends")
    p_events: Number = Field(description="sign flips of all pairs of a draw together; other events")
    p_events_holm: Number = Field(description="corrected for all pairs of backends")
    p_events_least: Number = Field(description="the smallest that so few draws can give")


class ComponentRow(Frozen):
    """Where one part of the variance comes from."""

    source: str = Field(description="a factor, an interaction, or `repeat`: other seeds, and other events where fresh")
    variance: Number = Field(description="Henderson's estimate; below zero says: none")
    share: Number = Field(description="of the total, negative ones taken as zero")


class NeedRow(Frozen):
    """What it takes to see a difference between two backends with a power of 80% at p < 0.05."""

    difference: float
    power_these: Number = Field(description="of the study as it is, for a statement on these events")
    repeats_these: int | None = Field(description="repeats of each cell needed for that; null: > 10,000")
    power_other: Number = Field(description="of the study as it is, for a statement on other events")
    events_other: int | None = Field(description="draws of events needed for that, runs on each as now; null: > 10,000")
    repeats_other: int | None = Field(description="runs on each of the present draws needed; null: no number is enough")


class PowerTable(Frozen):
    """From the measured variances of paired differences, averaged over pairs of backends."""

    quantity: Quantity
    variance: Number = Field(description="of a pair's difference on the same events, for statements on these")
    tau2: Number = Field(description="variance of the true difference between draws of events")
    sigma2: Number = Field(description="variance of a pair's difference on the same events; 0: not told from tau2")
    pairs: int = Field(description="of runs, now, on average")
    events: int = Field(description="draws of events now")
    repeats: Number = Field(description="pairs on each draw, now, on average")
    detectable_these: Number = Field(description="smallest difference seen with a power of 80%, on these events")
    detectable_other: Number = Field(description="the same for other events")
    rows: list[NeedRow]


class FaultRow(Fault):
    """A fault, and the run that it is in."""

    cell: str
    backend: str


class Answer(Frozen):
    """Which backend, how sure, in words."""

    best: list[str] = Field(description="the backends with the highest success rate; several where they are equal")
    certainty: Literal["clear", "these events", "open"] = Field(
        description="clear: better than all others, on other events as well; these events: on these only"
    )
    sentences: list[str]
    warnings: list[str] = Field(description="what a reader has to know before the numbers are used")


class StudyResult(Frozen):
    """The schema of `results.json`."""

    format: int = Field(1, description="version of this schema")
    study: dict[str, Any] = Field(description="the study, everything written out")
    study_sha256: str = Field(description="of its canonical JSON, fixed before the first run")
    outcomes_sha256: str = Field(description="of the rows that all this is computed from")
    versions: dict[str, str] = Field(description="what computed this; `stability`: a hash of its source")
    run_versions: list[dict[str, str]] = Field(
        description="what the runs were made with; more than one entry: it changed"
    )
    planned: int = Field(description="cells of the study")
    done: int = Field(description="cells that have an outcome")
    missing: int = Field(description="of these, lost to infrastructure")
    damaged: list[str] = Field(description="cells whose outcome cannot be read")
    answer: Answer
    arms: list[ArmRow] = Field(description="best success rate first")
    pairs: list[PairRow]
    components: dict[Quantity, list[ComponentRow]]
    power: list[PowerTable]
    following: RankRow = Field(
        description="Spearman's correlation of steering and sealed metric, all runs, same events"
    )
    faults: list[FaultRow]
    signal: dict[str, int] = Field(description="data set -> signal events in it; 0: signal-free")
