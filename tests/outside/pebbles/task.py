"""The task: its data, what is handed in, how it is judged, how the analyst goes about it."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from sandbox.reader import UnsafeFile, read_bytes
from tasks.claim import Measured, Measurement, check_numbers
from tasks.plan import Plan, PlannedCall, Step
from tasks.policy import Answer, Context, Policy, best
from tasks.score import CheckedNumber, Metric, Score
from tasks.submission import File, Submission
from tasks.task import TaskBase, Verdict
from tools.events.parquet import write_events

WEIGHT = 12.0  # grams
METRIC = "agreement"


class AverageSubmission(Submission):
    """Hand in the average."""

    average: File


class PebblesPolicy(Policy):
    """The average, with more of its tails left out in each iteration."""

    def plan(self, context: Context, seed: int) -> Plan:
        return _plan(context["facts"], 0.02 * context["iteration"])

    def draw(self, context: Context, rng: random.Random) -> Plan:
        return _plan(context["facts"], round(rng.uniform(0, 0.4), 2))

    def submission(self, context: Context, results: Sequence[Answer]) -> dict[str, Any]:
        return {"average": "average.json", "method": "trimmed mean"}

    def answer(self, context: Context) -> Measurement:
        found = best(context)
        assert found
        return Measurement(numbers={"weight": Measured(**found["details"]["numbers"]["weight"])}, text="Weighed.")

    def nothing(self, context: Context, text: str) -> Measurement:
        return Measurement(text=text)


def _plan(facts: dict[str, Any], trim: float) -> Plan:
    call = PlannedCall(tool="pebbles.average", arguments={"pebbles": facts["pebbles"], "trim": trim})
    return Plan(reasoning="An average.", steps=[Step(id="weigh", goal="Average them.", calls=[call], submits=True)])


class PebblesTask(TaskBase):
    """A thousand pebbles; the grader has others of the same beach."""

    name: ClassVar[str] = "pebbles"
    title: ClassVar[str] = "The weight of pebbles"
    request: ClassVar[str] = "How heavy is a pebble of this beach?"
    tools: ClassVar[tuple[str, ...]] = ("pebbles.average",)
    submission: ClassVar[type[Submission]] = AverageSubmission
    policy: ClassVar[Policy] = PebblesPolicy()

    def prepare(self, inputs: Path, held_out: Path, sealed_folder: Path) -> dict[str, Any]:
        for folder in (inputs, sealed_folder):
            folder.mkdir(parents=True)
        rng = np.random.default_rng(self.secret_seed)
        write_events(inputs / "pebbles.parquet", {"weight": rng.normal(WEIGHT, 2.0, 1000)})
        return {"pebbles": "/inputs/pebbles.parquet", "numbers_to_claim": ["weight"], "steering_metric": METRIC}

    def grade(self, submission: AverageSubmission, inputs: Path, workspace: Path, n_graded: int) -> Score:
        try:
            found = json.loads(read_bytes(workspace, submission.average, 1000))
            value, error = float(found["average"]), float(found["error"])
        except (UnsafeFile, ValueError, KeyError, TypeError) as wrong:
            return Score(metric=METRIC, value=None, reason=f"average={submission.average!r}: {wrong}")
        details = {"numbers": {"weight": {"value": value, "error": error}}}
        distance = abs(value - WEIGHT)
        return Score(metric=METRIC, value=1 / (1 + distance), error=0.1, reason="on other pebbles", details=details)

    def check(self, claim: Measurement, scores: Sequence[Score], confirmed: Score | None) -> list[CheckedNumber]:
        return check_numbers(claim, scores, ["weight"])

    def seal(
        self,
        checks: Sequence[CheckedNumber],
        submission: AverageSubmission | None,
        workspace: Path,
        sealed_folder: Path,
        confirmed: Path | None,
    ) -> Verdict:
        table = [check.model_copy(update={"truth": WEIGHT}) for check in checks]
        return Verdict(metrics=[Metric(name="true weight", unit="g", value=WEIGHT)], checks=table)
