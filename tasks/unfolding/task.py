"""The task `unfolding`: measured distributions, corrected for the detector, with uncertainties.

One or two simulations are known at both levels. Of nature, the crew gets the detector level of part of the events; the
grader has the detector level of the rest, the sealed folder the particle level, if it is known. Instead of a claim on
unseen events, the harness makes a closure test with the other simulation, if there is one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import BaseModel, BeforeValidator, Field, field_validator

from tasks.claim import Measurement, check_numbers
from tasks.intake import Intake
from tasks.nuisances import Listed, Meaning, listed
from tasks.page import Block, Graded, Page, Publication, Run
from tasks.policy import Policy
from tasks.score import CheckedNumber, Metric, Number, Score
from tasks.submission import Submission
from tasks.task import TaskBase, TaskError, Verdict
from tasks.unfolding import closure, grader, page, sealed
from tasks.unfolding.intake import UnfoldingIntake
from tasks.unfolding.naming import NAME, PLACE
from tasks.unfolding.policy import UnfoldingPolicy
from tasks.unfolding.samples import Samples, Wanted, load, public
from tasks.unfolding.submission import WeightsSubmission
from tasks.unfolding.tables import Table
from tasks.unfolding.weights import BOOTSTRAPS_MIN, read_weights, true_numbers
from tools.events.parquet import read_columns, write_events
from tools.types import Floats

TRUTH = "truth.parquet"
MIN_EVENTS = 500


def _paired(value: Any) -> Any:
    """Return names as a list; ValueError for what is neither names nor pairs of columns."""
    value = listed(value)
    pairs = value.values() if isinstance(value, dict) else []
    if not (value is None or isinstance(value, list | dict)) or any(
        not isinstance(pair, list | tuple) or len(pair) != 2 for pair in pairs
    ):
        raise ValueError("names, or {name: [column at detector level, column at particle level]}")
    return value


class UnfoldingTask(TaskBase):
    """Unfolding: distributions of any observables of simulated and measured events, corrected for the detector."""

    name: ClassVar[str] = "unfolding"
    title: ClassVar[str] = "Unfolding: distributions corrected for the detector"
    request: ClassVar[str] = (
        "Unfold the jet mass, width and multiplicity of these Z+jets events and give uncertainties."
    )
    tools: ClassVar[tuple[str, ...]] = ("unfolding.unfold",)
    submission: ClassVar[type[Submission]] = WeightsSubmission
    details: ClassVar[type[BaseModel]] = page.UnfoldingDetails
    intake: ClassVar[Intake | None] = UnfoldingIntake()
    policy: ClassVar[Policy] = UnfoldingPolicy()
    data: Path | None = Field(
        None,
        description="folder with tables (CSV, parquet, HDF5, npz, ROOT) `simulation`, `nature` (the data) and, if "
        "there is a second simulation, `alternative`; default: shipped Z+jets",
    )
    observables: Annotated[list[str] | dict[str, tuple[str, str]] | None, BeforeValidator(_paired)] = Field(
        None,
        description="what to unfold: names X under the naming rule, or {X: [column at detector level, column at "
        "particle level]}; default: all pairs of columns",
    )
    also: Annotated[list[str] | None, BeforeValidator(listed)] = Field(
        None, description="further observables that are unfolded with them, because they tell more of the events"
    )
    reco: str | None = Field(
        None, description="naming rule at detector level, such as {name}_reco or reco_{name}; default: found"
    )
    gen: str | None = Field(None, description="naming rule at particle level, such as {name}_true; default: found")
    units: dict[str, str] = Field({}, description="units by observable, as in the files")
    bins: dict[str, list[float]] = Field(
        {}, description="edges of the published bins by observable; default: quantiles"
    )
    weights: str | None = Field(
        None, description="column with weights of simulated events; default: the one that looks so"
    )
    nuisances: Listed = Field(
        [],
        description="variations of the simulation: columns of event weights (w_*), or endings of moved detector-level "
        "columns (jes_up for pt_reco_jes_up); _up and _down make one source of error",
    )
    nuisance_weights: Meaning | None = Field(
        None,
        description="whether the nuisances' weights are all of an event's weight (total) or factors to it (factor)",
    )
    nature: Literal["vincia", "monash"] = Field("vincia", description="which shipped sample plays nature")
    hold_out: float = Field(0.3, ge=0.1, le=0.9, description="fraction of nature's events that only the grader sees")
    events: int | None = Field(None, ge=MIN_EVENTS, description="events from the start of each sample; default: all")
    seed: int = Field(1, ge=0, description="seed that decides which events are held out")

    @field_validator("reco", "gen")
    @classmethod
    def _template(cls, rule: str | None) -> str | None:
        if rule is not None and rule.count(PLACE) != 1:
            raise ValueError(f"a rule with {PLACE} once, such as {PLACE}_reco")
        return rule

    @field_validator("observables", "also")
    @classmethod
    def _names(cls, names: Any) -> Any:
        if names is not None and (wrong := [name for name in names if not NAME.fullmatch(name)]):
            raise ValueError(f"{wrong[0]!r}: a name of letters, digits and _, at most 40; columns may have any names")
        return names

    @field_validator("bins")
    @classmethod
    def _rising(cls, bins: dict[str, list[float]]) -> dict[str, list[float]]:
        for name, edges in bins.items():
            if len(edges) < 2 or not np.all(np.isfinite(edges)) or np.any(np.diff(edges) <= 0):
                raise ValueError(f"{name}: two or more rising edges, not {edges}")
        return bins

    def samples(self) -> Samples:
        names = ("observables", "also", "reco", "gen", "units", "bins", "weights", "nuisances", "nuisance_weights")
        wanted = Wanted(**{name: getattr(self, name) for name in names})
        return load(self.data, self.nature, self.hold_out, self.secret_seed, self.events, wanted)

    def prepare(self, inputs: Path, held_out: Path, sealed_folder: Path) -> dict[str, Any]:
        samples = self.samples()
        data = samples.data(unseen=False)
        if len(data) < MIN_EVENTS:
            raise TaskError("nature", len(data), f"{MIN_EVENTS} or more measured events are needed")
        _check_bins(samples)
        _write_inputs(inputs, samples, data)
        if samples.alternative:
            _write_inputs(held_out, samples, closure.pseudo_data(samples, self.secret_seed))
        if samples.truth_known:
            sealed_folder.mkdir(parents=True, exist_ok=True)
            passed = samples.nature["pass_gen"] > 0
            write_events(sealed_folder / TRUTH, {name: samples.nature[name][passed] for name in samples.columns("gen")})
        asked = [x.name for x in samples.asked]
        return {
            "data": "/inputs/data.parquet",
            "simulation": "/inputs/simulation.parquet",
            "alternative": "/inputs/alternative.parquet" if samples.alternative else None,
            "measured_events": len(data),
            "simulated_events": len(samples.simulation["pass_gen"]),
            "observables": samples.names,
            "asked_for": asked,
            "about": public(samples),
            "nuisances": samples.nuisances,
            "numbers_to_claim": ["events", *(f"mean_{x}" for x in asked)],
            "bootstraps_needed": BOOTSTRAPS_MIN,
            "steering_metric": grader.METRIC,
            "notes": samples.notes,
        }

    def grade(self, submission: WeightsSubmission, inputs: Path, workspace: Path, n_graded: int) -> Score:
        return grader.grade(submission, workspace, self.samples())

    def confirm(
        self, submission: WeightsSubmission, chosen: Score, held_out: Path, workspace: Path, sealed_folder: Path
    ) -> Score:
        """Return the closure test: the chosen commands on the inputs in `held_out`, the other simulation as data."""
        return closure.judge(submission, workspace, self.samples(), self.secret_seed)

    def check(self, claim: Measurement, scores: Sequence[Score], confirmed: Score | None) -> list[CheckedNumber]:
        """Compare claimed numbers with those of the best submission; they agree within the larger error."""
        best = next((score for score in scores if score.details.get("units")), None)
        units = page.UnfoldingDetails.of(best).units
        return [
            check.model_copy(update={"unit": units.get(check.name.removeprefix("mean_"), "")})
            for check in check_numbers(claim, scores)
        ]

    def numbers(self, graded: Graded) -> list[Number]:
        units = page.UnfoldingDetails.of(graded.score).units
        found = super().numbers(graded)
        return [n.model_copy(update={"unit": units.get(n.name.removeprefix("mean_"), "")}) for n in found]

    def shown(self, score: Score) -> list[Block]:
        return page.shown(score)

    def page(self, run: Run) -> Page:
        return page.page(super().page(run), run)

    def publication(self, run: Run) -> Publication:
        found = super().publication(run)
        return replace(found, tables=[*found.tables, *page.covariances(run)])

    def seal(
        self,
        checks: Sequence[CheckedNumber],
        submission: WeightsSubmission | None,
        workspace: Path,
        sealed_folder: Path,
        confirmed: Path | None,
    ) -> Verdict:
        """Compute distances to the truth before and after, coverage of errors, and true values of claimed numbers.

        Nothing of it without a truth.
        """
        samples = self.samples()
        if not samples.truth_known:
            return Verdict(metrics=[], checks=list(checks))
        names = samples.columns("gen")
        columns = read_columns(sealed_folder / TRUTH, names)
        truth = np.column_stack([columns[name] for name in names])
        asked = [x.name for x in samples.asked]
        true = true_numbers(columns, np.ones(len(truth), dtype=bool), samples.n_truth, asked)
        table = [check.model_copy(update={"truth": true.get(check.name)}) for check in checks]
        if submission is None:
            return Verdict(metrics=[], checks=table)
        simulation: Table = samples.simulation
        passed = simulation["pass_gen"] > 0
        weights = read_weights(workspace, submission.weights, passed)
        start = passed * simulation["weight"]
        metrics: list[Metric] = sealed.distances(simulation, start, weights["nominal"], truth, samples.names)
        covered, curves = sealed.coverage(simulation, weights, truth, samples.asked)
        return Verdict(metrics=metrics + covered, checks=table, curves=curves)


def _check_bins(samples: Samples) -> None:
    """Raise TaskError for bins without simulated events."""
    for x in samples.asked:
        values = samples.simulation[f"gen_{x.name}"][samples.simulation["pass_gen"] > 0]
        if x.edges and 0 in (counts := np.histogram(values, x.edges)[0]):
            empty = int(np.argmin(counts))
            said = f"bins with simulated events; from {x.edges[empty]:g} to {x.edges[empty + 1]:g} there are none"
            spread = f"{x.gen} reaches from {values.min():.4g} to {values.max():.4g}"
            raise TaskError("bins", {x.name: list(x.edges)}, f"{said}; {spread}")


def _write_inputs(folder: Path, samples: Samples, data: Floats) -> None:
    """Write detector-level data (n, d) and the simulations, normalised to the data, as the tool reads them."""
    folder.mkdir(parents=True, exist_ok=True)
    write_events(folder / "data.parquet", dict(zip(samples.columns("reco"), data.T, strict=True)))
    for name, table in (("simulation", samples.simulation), ("alternative", samples.alternative)):
        if table:
            scale = grader.normalisation(len(data), table)
            scaled = {n: scale * table[n] for n in ("weight", *samples.nuisances) if n in table}
            write_events(folder / f"{name}.parquet", table | scaled)
