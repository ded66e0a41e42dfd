"""The task `spectrum`: all resonances in a mass spectrum, from the operator's own table."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from pydantic import BaseModel, Field, field_validator

from tasks.claim import Measurement, check_numbers
from tasks.intake import Intake
from tasks.page import Block
from tasks.policy import Policy
from tasks.score import CheckedNumber, Metric, Score
from tasks.spectrum import grader, page, samples
from tasks.spectrum.intake import SpectrumIntake
from tasks.spectrum.policy import SpectrumPolicy
from tasks.spectrum.submission import SpectrumSubmission
from tasks.submission import Submission
from tasks.task import TaskBase, TaskError, Verdict
from tools.contract import ToolError
from tools.events.parquet import write_events
from tools.spectrum.inputs import LEAST, Unit

Range = tuple[float, float]
DISCOVERY = 2.87e-7  # 5 sigma
ALL_BUT = 1e-3  # fraction of the events that the default range leaves out at either end
TRUE_WITHIN = 3.0  # errors between a found and a true mass that belong together


class SpectrumTask(TaskBase):
    """Resonances in the mass spectrum of a table, or of events that are made up."""

    name: ClassVar[str] = "spectrum"
    title: ClassVar[str] = "Resonances in a mass spectrum"
    request: ClassVar[str] = "Which resonances are there in this spectrum, and how many events has each?"
    tools: ClassVar[tuple[str, ...]] = ("spectrum.hunt", "spectrum.count")
    submission: ClassVar[type[Submission]] = SpectrumSubmission
    details: ClassVar[type[BaseModel]] = page.SpectrumDetails
    policy: ClassVar[Policy] = SpectrumPolicy()
    intake: ClassVar[Intake | None] = SpectrumIntake(
        (
            r"resonan|résonan",
            r"\bpeaks?\b",
            r"\bbumps?\b",
            r"mass spectrum|massenspektrum",
            r"how many events|wie viele",
        ),
        needs_data=True,
    )
    data: Path | None = Field(None, description="table: CSV, parquet, HDF5, npz or ROOT; default: events are made up")
    column: str = Field("mass", description="column with the mass, or an expression of columns")
    unit: Unit = Field("GeV", description="unit of the mass")
    cut: str | None = Field(None, description="condition that selects rows, such as `charge == 'OS' and pt > 20`")
    unweighted: bool = Field(False, description="true: events are counted although the table has weights")
    fit_range: Range | None = Field(None, description="masses to fit; default: nearly all. The crew may take less")
    search_range: Range | None = Field(None, description="masses to search; less range, fewer trials")
    window: Range | None = Field(None, description="one window, chosen beforehand, whose excess is wanted")
    width: float | None = Field(None, ge=0.002, le=0.1, description="relative width of the resonances, if known")
    sqrt_s: float | None = Field(None, gt=0, description="collision energy in `unit`, for the dijet functions")
    alpha: float = Field(DISCOVERY, gt=0, lt=1, description="global p-value below which a discovery is claimed")

    @field_validator("fit_range", "search_range", "window")
    @classmethod
    def _rising(cls, masses: Range | None) -> Range | None:
        if masses and not 0 < masses[0] < masses[1]:
            raise ValueError("two masses, 0 < low < high")
        return masses

    def sample(self) -> samples.Sample:
        return (
            samples.load(self.data, self.column, self.cut, self.unweighted)
            if self.data
            else samples.make_up(self.secret_seed)
        )

    def prepare(self, inputs: Path, held_out: Path, sealed_folder: Path) -> dict[str, Any]:
        sample = self.sample()
        mass = sample.columns["mass"]
        fitted = self._fitted(mass)
        inputs.mkdir(parents=True, exist_ok=True)
        write_events(inputs / "events.parquet", sample.columns)
        quantiles = [float(f"{q:.4g}") for q in np.percentile(mass, [0, 5, 50, 95, 100])]
        facts = {
            "events": "/inputs/events.parquet",
            "rows": len(mass),
            "columns": list(sample.columns),
            "unit": self.unit,
            "mass_quantiles_0_5_50_95_100": quantiles,
            "fit_range": fitted,
            "discovery_below_p_global": self.alpha,
            "steering_metric": grader.METRIC,
            "numbers_to_claim": "mass_k and events_k of the resonances k = 1, 2, ... by rising mass",
        }
        optional = {name: getattr(self, name) for name in ("search_range", "window", "width", "sqrt_s")}
        return facts | {name: value for name, value in optional.items() if value is not None}

    def _fitted(self, mass: Any) -> Range:
        """Return the range to fit. Raises TaskError if an option does not go with it or too few events lie inside."""
        low, high = self.fit_range or tuple(float(f"{q:.4g}") for q in np.quantile(mass, [ALL_BUT, 1 - ALL_BUT]))
        if low <= 0:
            raise TaskError("fit_range", (low, high), f"masses above 0; {self.column} starts at {mass.min():.4g}")
        for name in ("search_range", "window"):
            wanted = getattr(self, name)
            if wanted and not low <= wanted[0] < wanted[1] <= high:
                raise TaskError(name, wanted, f"inside fit_range, {low:g} to {high:g} {self.unit}: is the unit right?")
        inside = int(((mass >= low) & (mass < high)).sum())
        if inside < LEAST:
            raise TaskError("fit_range", (low, high), f"{inside} of {len(mass)} events lie inside; {LEAST} needed")
        return low, high

    def _common(self, inputs: Path) -> dict[str, Any]:
        return {"events": str(inputs / "events.parquet"), "unit": self.unit, "sqrt_s": self.sqrt_s}

    def grade(self, submission: SpectrumSubmission, inputs: Path, workspace: Path, n_graded: int) -> Score:
        score = grader.grade(submission, self._common(inputs), self.search_range, n_graded)
        if self.window is None or not score.ok:
            return score
        try:
            window = grader.count(self._common(inputs), submission, self.window)
        except ToolError as error:
            return score.model_copy(update={"value": None, "reason": str(error)})
        return score.model_copy(update={"details": score.details | {"window": window}})

    def confirm(
        self, submission: SpectrumSubmission, chosen: Score, held_out: Path, workspace: Path, sealed_folder: Path
    ) -> Score:
        """Never called: the harness makes the fit itself, and counts every choice of a range as a trial."""
        raise NotImplementedError("the harness fits the spectrum itself")

    def check(self, claim: Measurement, scores: Sequence[Score], confirmed: Score | None) -> list[CheckedNumber]:
        return check_numbers(claim, scores)

    def shown(self, score: Score) -> list[Block]:
        return page.shown(score)

    def seal(
        self,
        checks: Sequence[CheckedNumber],
        submission: SpectrumSubmission | None,
        workspace: Path,
        sealed_folder: Path,
        confirmed: Path | None,
    ) -> Verdict:
        """Compare the claimed masses with the true ones, if the events were made up; else nothing is known."""
        if self.data or submission is None:
            return Verdict(metrics=[], checks=list(checks))
        true, found, table = self.sample().true, 0, list(checks)
        for i, check in enumerate(table):
            near = [m for m, _ in true if _close(check, m)] if check.name.startswith("mass_") else []
            if near:
                found += 1
                table[i] = check.model_copy(update={"truth": near[0]})
        note = f"of {len(true)} in the made-up spectrum, within {TRUE_WITHIN:g} errors of the mass"
        return Verdict(metrics=[Metric(name="resonances_found", value=found, note=note)], checks=table)


def _close(check: CheckedNumber, mass: float) -> bool:
    """Return whether a claimed mass belongs to this true one."""
    claimed, error = check.claimed, check.claimed_error or check.harness_error
    return claimed is not None and error is not None and abs(claimed - mass) < TRUE_WITHIN * error
