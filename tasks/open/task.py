"""The task `open`: any question about a table that no other task covers.

The crew hands in the results of a script, `analysis.py DATA OUT`, which a tool in the sandbox runs on all data twice,
on two halves and on bootstrap resamples. At the end the harness repeats that in a fresh sandbox, with halves and
resamples that nobody has seen. It cannot tell an analysis that answers the question from one that answers another; the
script is part of the record.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from pydantic import BaseModel, Field, model_validator

from tasks.claim import Claim, Measurement, best_score, check_numbers
from tasks.intake import Intake
from tasks.open import grader, page, samples
from tasks.open.checks import ALPHA
from tasks.open.intake import OpenIntake
from tasks.open.policy import OpenPolicy
from tasks.open.submission import OpenAnswer, OpenSubmission
from tasks.page import Block, Page, Run
from tasks.policy import Policy
from tasks.quoted import among, leaves, sizes, strangers
from tasks.review import Finding, Work
from tasks.score import CheckedNumber, Score
from tasks.submission import Submission
from tasks.task import TaskBase, Verdict
from tools.analysis.results import Number
from tools.events.sight import look


class OpenTask(TaskBase):
    """Any question about a table that no other task covers: a comparison, a fit, a plot, a table, a sample."""

    name: ClassVar[str] = "open"
    title: ClassVar[str] = "Any question about a table"
    request: ClassVar[str] = "Describe these data: the mean and the distribution of each column."
    tools: ClassVar[tuple[str, ...]] = ("analysis.repeat",)
    submission: ClassVar[type[Submission]] = OpenSubmission
    claim: ClassVar[type[Claim]] = OpenAnswer
    details: ClassVar[type[BaseModel]] = page.OpenDetails
    policy: ClassVar[Policy] = OpenPolicy()
    intake: ClassVar[Intake | None] = OpenIntake()
    data: Path = Field(description="table: CSV, parquet, HDF5, npz or ROOT")
    column: str | None = Field(None, description="column asked about, or an expression of columns; default: any")
    unit: str | None = Field(None, description="unit of the column; '1' if it has none")
    groups: dict[str, str] = Field(
        default_factory=dict, description='rows to compare: name -> condition, such as {"barrel": "abs(eta) < 1.2"}'
    )
    cut: str | None = Field(None, description="condition that selects rows, such as `charge == 'OS' and pt > 20`")
    weights: str | None = Field(None, description="column with weights; default: the one that looks like it, if any")
    log: bool = Field(False, description="true: plots have a logarithmic scale")
    bootstraps: int = Field(20, ge=10, le=200, description="bootstrap resamples on which the script is repeated")

    @model_validator(mode="after")
    def _of_a_column(self) -> OpenTask:
        if self.groups and self.column is None:
            raise ValueError("groups need a column whose values are compared")
        return self

    def prepare(self, inputs: Path, held_out: Path, sealed_folder: Path) -> dict[str, Any]:
        table = samples.load(self.data, self.cut)
        if self.column is not None:
            samples.check_column(table, self.column, self.groups)
        weights = samples.weights_of(table, self.data, self.weights)
        samples.write(inputs, table, self.seed, self.bootstraps)
        samples.write(held_out, table, self.secret_seed + 1, self.bootstraps)  # never the halves of the inputs
        seen = look(inputs / samples.EVENTS)
        facts = {
            "events": f"/inputs/{samples.EVENTS}",
            "resamples": f"/inputs/{samples.RESAMPLES}",
            "rows": seen.rows,
            "columns": [column.model_dump(exclude_defaults=True) for column in seen.columns],
            "steering_metric": grader.METRIC,
            "numbers_to_claim": "numbers of results.json, by their names",
            "right_errors_fail_with_probability": ALPHA,
        }
        options = {"column": self.column, "unit": self.unit, "groups": self.groups, "weights": weights, "log": self.log}
        return facts | {name: value for name, value in options.items() if value}

    def grade(self, submission: OpenSubmission, inputs: Path, workspace: Path, n_graded: int) -> Score:
        return grader.grade(submission, workspace)

    def confirm(
        self, submission: OpenSubmission, chosen: Score, held_out: Path, workspace: Path, sealed_folder: Path
    ) -> Score:
        """Return the score of the script in a fresh sandbox, with other halves and resamples."""
        return grader.grade(submission, workspace, chosen)

    def check(self, claim: Measurement, scores: Sequence[Score], confirmed: Score | None) -> list[CheckedNumber]:
        """Compare claimed numbers with the results, and name those of the text that stand in none."""
        best = page.OpenDetails.of(best_score(scores))
        numbers = {number.name: number for number in best.results.numbers} if best.results else {}
        checks = [_stands(each, numbers.get(each.name)) for each in check_numbers(claim, scores)]
        known = [best.known(), page.OpenDetails.of(confirmed).known(), self.options()]
        quoted = strangers(claim.text, sizes(leaves(known)))
        return checks + [page.fabricated(each) for each in quoted]

    def gates(self, work: Work) -> list[Finding]:
        """Return what the shared gates find, and the checks that do not hold: halves, spread, unit, repetition."""
        wrong = page.failed(page.OpenDetails.of(work.graded.score))
        said = [f"Of {check.of}, '{check.what}' does not hold. {check.said}" for check in wrong]
        return [*super().gates(work), *(Finding(gate="errors", text=text) for text in said)]

    def shown(self, score: Score) -> list[Block]:
        return page.shown(score)

    def page(self, run: Run) -> Page:
        return page.page(run)

    def seal(
        self,
        checks: Sequence[CheckedNumber],
        submission: OpenSubmission | None,
        workspace: Path,
        sealed_folder: Path,
        confirmed: Path | None,
    ) -> Verdict:
        """Return the checks as they are: no truth is known."""
        return Verdict(metrics=[], checks=list(checks))


def _stands(check: CheckedNumber, number: Number | None) -> CheckedNumber:
    """Return the check of a claimed number, which has to be that of the results, rounded."""
    if check.claimed is None:
        return check
    pairs = [(check.claimed, check.harness), (check.claimed_error, check.harness_error)]
    agrees = all(
        ours is not None and said * ours >= 0 and among(said, np.array([abs(ours)]))
        for said, ours in pairs
        if said is not None
    )
    unit = page.shown_unit(number.unit) if number else ""
    return check.model_copy(update={"agrees": agrees, "unit": unit})
