"""The task `spectrum`: all resonances in a mass spectrum, from the operator's own table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from pydantic import BaseModel

from tasks.claim import Measurement, check_numbers
from tasks.intake import Intake
from tasks.page import Block, Publication, Run
from tasks.policy import Policy
from tasks.score import CheckedNumber, Metric, Score
from tasks.spectrum import grader, page, published, reach, samples
from tasks.spectrum.details import SpectrumDetails
from tasks.spectrum.intake import SpectrumIntake
from tasks.spectrum.options import OPTIONAL, SpectrumOptions
from tasks.spectrum.policy import SpectrumPolicy
from tasks.spectrum.submission import SpectrumSubmission
from tasks.submission import Submission
from tasks.task import Verdict
from tools.contract import ToolError
from tools.events.parquet import write_events
from tools.spectrum.inject import InjectRequest
from tools.spectrum.inputs import Range
from tools.spectrum.limit import LimitRequest

ALL_BUT = 1e-3  # fraction of the events that the default range leaves out at either end
TRUE_WITHIN = 3.0  # errors between a found and a true mass that belong together
TOYS_SEED = 1


class SpectrumTask(SpectrumOptions):
    """Resonances in the mass spectrum of a table, or of events that are made up."""

    name: ClassVar[str] = "spectrum"
    title: ClassVar[str] = "Resonances in a mass spectrum"
    request: ClassVar[str] = "Which resonances are there in this spectrum, and how many events has each?"
    tools: ClassVar[tuple[str, ...]] = ("spectrum.hunt", "spectrum.count", "spectrum.limit", "spectrum.inject")
    submission: ClassVar[type[Submission]] = SpectrumSubmission
    details: ClassVar[type[BaseModel]] = SpectrumDetails
    policy: ClassVar[Policy] = SpectrumPolicy()
    intake: ClassVar[Intake | None] = SpectrumIntake()

    def sample(self) -> samples.Sample:
        return (
            samples.load(self.data, self.column, self.cut, self.weights, self.unweighted)
            if self.data
            else samples.make_up(self.secret_seed)
        )

    def prepare(self, inputs: Path, held_out: Path, sealed_folder: Path) -> dict[str, Any]:
        """Write the events; those in `blind` only into `held_out`, and only if they are to be opened in this run."""
        self.check_options()
        every = self.sample().columns
        seen = samples.outside(every, self.blind)
        mass = seen["mass"]
        low, high = self.fit_range or tuple(float(f"{q:.4g}") for q in np.quantile(mass, [ALL_BUT, 1 - ALL_BUT]))
        fitted = self.checked_range(low, high, mass)
        inputs.mkdir(parents=True, exist_ok=True)
        write_events(inputs / "events.parquet", seen)
        if self.unblind:
            held_out.mkdir(parents=True, exist_ok=True)
            write_events(held_out / "events.parquet", every)
        facts = {
            "events": "/inputs/events.parquet",
            "rows": len(mass),
            "columns": list(seen),
            "unit": self.unit,
            "mass_quantiles_0_5_50_95_100": [float(f"{q:.4g}") for q in np.percentile(mass, [0, 5, 50, 95, 100])],
            "fit_range": fitted,
            "discovery_below_p_global": self.alpha,
            "steering_metric": grader.METRIC,
            "numbers_to_claim": "background, the events expected in `blind`"
            if self.blind
            else "mass_k and events_k of the resonances k = 1, 2, ... by rising mass",
        }
        optional = {name: getattr(self, name) for name in OPTIONAL}
        if wanted := [name for name in ("limits", "injections", "unblind") if getattr(self, name)]:
            optional |= {"the_harness_adds": wanted, "tested_width": self.tested_width()}
            if sources := self.sources():
                optional["nuisances"] = [each.model_dump() for each in sources]
        if self.injections and not self.blind:
            optional["injections"] = self.injections
        return facts | {name: value for name, value in optional.items() if value is not None}

    def _common(self, inputs: Path, blind: Range | None) -> dict[str, Any]:
        events = str(inputs / "events.parquet")
        return {"events": events, "unit": self.unit, "sqrt_s": self.sqrt_s, "weights": self.weights, "blind": blind}

    def grade(self, submission: SpectrumSubmission, inputs: Path, workspace: Path, n_graded: int) -> Score:
        search = None if self.blind else self.search_range
        return self._judged(submission, self._common(inputs, self.blind), search, n_graded)

    def confirm(
        self, submission: SpectrumSubmission, chosen: Score, held_out: Path, workspace: Path, sealed_folder: Path
    ) -> Score:
        """Open the blind window, once: fit all masses with the chosen settings, and search those that were blind."""
        found = self._judged(submission, self._common(held_out, None), self.blind, 1)
        return found.model_copy(update={"details": found.details | {"opened": True}})

    def _judged(
        self, submission: SpectrumSubmission, common: dict[str, Any], search: Range | None, n_graded: int
    ) -> Score:
        """Return the score of a choice, with everything that was asked for besides."""
        window = self.window or self.blind
        score = grader.grade(submission, common, search, n_graded, self.sources())
        if not score.ok:
            return score
        more: dict[str, Any] = {}
        try:
            if window:
                more["window"] = grader.count(common, submission, window)
            if self.blind:
                predicted = {"value": more["window"]["background"], "error": more["window"]["background_error"]}
                more["numbers"] = score.details["numbers"] | {"background": predicted}
            if self.limits or self.injections:
                more |= self._reach(common | {"fit_range": submission.fit_range})
        except ToolError as error:
            return score.model_copy(update={"value": None, "reason": str(error)})
        return score.model_copy(update={"details": score.details | more})

    def _reach(self, common: dict[str, Any]) -> dict[str, Any]:
        """Return limits, what became of injected resonances, and the simulated signal that they are for."""
        signal = self.signal
        per_fb = self.luminosity * signal.nominal.efficiency if self.luminosity and signal else None
        search = self.search_range or self.blind
        asked = LimitRequest(**common, width=self.tested_width(), search=search, nuisances=self.sources())
        found = reach.limits(asked, per_fb)
        if signal:
            found["signal"] = signal.numbers() | ({"luminosity": self.luminosity} if self.luminosity else {})
            found["notes"] = signal.notes
        if self.injections and not common["blind"]:
            masses, yields = reach.points(found["limits"], (found["limits"]["mass"][0], found["limits"]["mass"][-1]))
            chosen: dict[str, Any] = {"search": self.search_range or self.blind}
            chosen |= {"width": self.width, "injected_width": self.tested_width(), "toys": self.injections}
            request = InjectRequest(**common, **chosen, masses=masses, yields=yields, seed=TOYS_SEED)
            found["injected"] = reach.injections(request)
        return found

    def check(self, claim: Measurement, scores: Sequence[Score], confirmed: Score | None) -> list[CheckedNumber]:
        return check_numbers(claim, [confirmed] if confirmed and confirmed.ok else scores)

    def publication(self, run: Run) -> Publication:
        found, base = run.confirmed or (run.chosen.score if run.chosen else None), super().publication(run)
        made = published.document(SpectrumDetails.of(found), self.sqrt_s)
        return replace(base, documents=dict(base.documents) | made)

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
