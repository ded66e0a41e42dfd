"""The task `unfolding`: jet substructure in Z+jets, corrected for the detector, with uncertainties.

Two simulations are known at both levels. Of nature, the crew gets the detector level of part of the events; the
grader has the detector level of the rest, the sealed folder the particle level. Instead of a claim on unseen events,
the harness makes a closure test.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from pydantic import BaseModel, Field

from tasks.claim import Measurement, check_numbers
from tasks.intake import Intake
from tasks.page import Block, Page, Publication, Run
from tasks.policy import Policy
from tasks.score import CheckedNumber, Metric, Score
from tasks.submission import Submission
from tasks.task import TaskBase, TaskError, Verdict
from tasks.unfolding import closure, grader, page, sealed
from tasks.unfolding.policy import UnfoldingPolicy
from tasks.unfolding.samples import GEN, RECO, Samples, Table, load
from tasks.unfolding.submission import WeightsSubmission
from tasks.unfolding.weights import BOOTSTRAPS_MIN, MEANS, read_weights, true_numbers
from tools.events.parquet import read_columns, write_events
from tools.events.zjets import COLUMNS
from tools.events.zjets_jets import OBSERVABLES
from tools.types import Floats

TRUTH = "truth.parquet"
MIN_EVENTS = 500


class UnfoldingTask(TaskBase):
    """Unfolding of the shipped Z+jets samples, or of those in a folder."""

    name: ClassVar[str] = "unfolding"
    title: ClassVar[str] = "Unfolding of jet substructure in Z+jets"
    request: ClassVar[str] = (
        "Unfold the jet mass, width and multiplicity of these Z+jets events and give uncertainties."
    )
    tools: ClassVar[tuple[str, ...]] = ("omnifold.unfold",)
    submission: ClassVar[type[Submission]] = WeightsSubmission
    details: ClassVar[type[BaseModel]] = page.UnfoldingDetails
    intake: ClassVar[Intake | None] = Intake(
        (r"unfold|entfalt", r"detector effects|correct\w* for the detector"), ("simulation",)
    )
    policy: ClassVar[Policy] = UnfoldingPolicy()
    data: Path | None = Field(None, description="folder with simulation.parquet, alternative.parquet, nature.parquet")
    nature: Literal["vincia", "monash"] = Field("vincia", description="which shipped sample plays nature")
    hold_out: float = Field(0.3, ge=0.1, le=0.9, description="fraction of nature's events that only the grader sees")
    events: int | None = Field(None, ge=MIN_EVENTS, description="events from the start of each sample; default: all")
    seed: int = Field(1, ge=0, description="seed that decides which events are held out")

    def samples(self) -> Samples:
        return load(self.data, self.nature, self.hold_out, self.secret_seed, self.events)

    def prepare(self, inputs: Path, held_out: Path, sealed_folder: Path) -> dict[str, Any]:
        samples = self.samples()
        data = samples.data(unseen=False)
        if len(data) < MIN_EVENTS:
            raise TaskError("nature", len(data), f"{MIN_EVENTS} or more measured events are needed")
        _write_inputs(inputs, samples, data)
        _write_inputs(held_out, samples, closure.pseudo_data(samples, self.secret_seed))
        sealed_folder.mkdir(parents=True, exist_ok=True)
        passed = samples.nature["pass_gen"] > 0
        write_events(sealed_folder / TRUTH, {name: samples.nature[name][passed] for name in GEN})
        return {
            "data": "/inputs/data.parquet",
            "simulation": "/inputs/simulation.parquet",
            "alternative": "/inputs/alternative.parquet",
            "measured_events": len(data),
            "simulated_events": len(samples.simulation["pass_gen"]),
            "observables": list(OBSERVABLES),
            "asked_for": list(MEANS),
            "numbers_to_claim": ["events", *(f"mean_{x}" for x in MEANS)],
            "bootstraps_needed": BOOTSTRAPS_MIN,
            "steering_metric": grader.METRIC,
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
        return check_numbers(claim, scores)

    def shown(self, score: Score) -> list[Block]:
        return page.shown(score)

    def page(self, run: Run) -> Page:
        return page.page(super().page(run), run)

    def publication(self, run: Run) -> Publication:
        found = super().publication(run)
        return replace(found, tables=[*found.tables, *page.tables(run.curves)])

    def seal(
        self,
        checks: Sequence[CheckedNumber],
        submission: WeightsSubmission | None,
        workspace: Path,
        sealed_folder: Path,
        confirmed: Path | None,
    ) -> Verdict:
        """Compute distances to the truth before and after, coverage of errors, and true values of claimed numbers."""
        samples = self.samples()
        columns = read_columns(sealed_folder / TRUTH, list(GEN))
        truth = np.column_stack([columns[name] for name in GEN])
        true = true_numbers(columns, np.ones(len(truth), dtype=bool), samples.n_truth)
        table = [check.model_copy(update={"truth": true.get(check.name)}) for check in checks]
        if submission is None:
            return Verdict(metrics=[], checks=table)
        simulation: Table = samples.simulation
        passed = simulation["pass_gen"] > 0
        weights = read_weights(workspace, submission.weights, passed)
        metrics: list[Metric] = sealed.distances(simulation, passed * simulation["weight"], weights["nominal"], truth)
        covered, curves = sealed.coverage(simulation, weights, truth)
        return Verdict(metrics=metrics + covered, checks=table, curves=curves)


def _write_inputs(folder: Path, samples: Samples, data: Floats) -> None:
    """Write detector-level data (n, 6) and both simulations, normalised to the data, as the tool reads them."""
    folder.mkdir(parents=True, exist_ok=True)
    write_events(folder / "data.parquet", dict(zip(RECO, data.T, strict=True)))
    for name, table in (("simulation", samples.simulation), ("alternative", samples.alternative)):
        weight = grader.normalisation(len(data), table) * table["weight"]
        write_events(folder / f"{name}.parquet", {c: table[c] for c in COLUMNS} | {"weight": weight})
