"""The task `tagging`: top jets, with as few labels as possible.

The crew gets small files of labelled jets and many unlabelled jets; the grader has the labels of some of the latter for
validation, the sealed folder those of the rest. Instead of a claim, the harness audits how many labels were used. It
asks two questions of every tagger: does it depend on the mass, and, where jets of another simulation are given, on the
simulation?
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from pydantic import BaseModel, Field, field_validator

from tasks.claim import Measurement, check_numbers
from tasks.intake import Intake
from tasks.page import Page, Run
from tasks.policy import Policy
from tasks.score import CheckedNumber, Metric, Score
from tasks.submission import Submission
from tasks.tagging import audit, grader, page
from tasks.tagging.intake import TaggingIntake
from tasks.tagging.policy import TaggingPolicy
from tasks.tagging.samples import Split, load, load_other
from tasks.tagging.separation import numbers, read_scores, rejection
from tasks.tagging.simulation import SecondLook
from tasks.tagging.submission import TaggerSubmission
from tasks.tagging.zero_shot import zero_shot
from tasks.task import TaskBase, TaskError, Verdict
from tools.contract import ToolError
from tools.events.parquet import read_columns, write_events
from tools.jet_model.jets import Jets
from tools.jet_model.jets_file import write_jets
from tools.jet_model.weights import PRETRAINED, described, located
from tools.types import Floats

TRUTH = "truth.parquet"
WEIGHTS = "pretrained.safetensors"
MIN_LABELS = 20


class TaggingTask(TaskBase):
    """Top tagging of the shipped jets, or of those in a folder."""

    name: ClassVar[str] = "tagging"
    title: ClassVar[str] = "Top tagging with few labels"
    request: ClassVar[str] = "Tag top jets using as few labels as you can."
    tools: ClassVar[tuple[str, ...]] = ("jet_model.finetune", "jet_model.score", "jet_model.embed")
    submission: ClassVar[type[Submission]] = TaggerSubmission
    details: ClassVar[type[BaseModel]] = page.TaggingDetails
    intake: ClassVar[Intake | None] = TaggingIntake()
    policy: ClassVar[Policy] = TaggingPolicy()
    data: Path | None = Field(None, description="folder with jets.h5, kinds `top` and others; default: shipped jets")
    other: Path | None = Field(
        None,
        description="file of labelled jets of another simulation, which the crew does not get: does the tagger believe "
        "its own? Null: not asked",
    )
    weights: Path | None = Field(
        Path("tiny"), description="pretrained weights for the crew: `tiny` (shipped) or a file; null: none"
    )
    labels: tuple[int, ...] = Field((50, 200, 800), min_length=1, description="numbers of labels, in increasing order")
    seed: int = Field(1, ge=0, description="seed of the split into labelled, validation and sealed jets")

    @field_validator("labels")
    @classmethod
    def _growing(cls, labels: tuple[int, ...]) -> tuple[int, ...]:
        if labels[0] < MIN_LABELS or any(a >= b for a, b in pairwise(labels)):
            raise ValueError(f"must grow, starting at {MIN_LABELS} or more")
        return labels

    def split(self) -> Split:
        return load(self.data, self.labels[-1], self.secret_seed)

    @property
    def audit(self) -> SecondLook | None:
        """The question about another simulation, after the audit of labels."""
        if self.other is None:
            return None
        other = partial(load_other, self.other)
        return SecondLook(self.split, other, self.labels, self.secret_seed, self._write_inputs)

    def prepare(self, inputs: Path, held_out: Path, sealed_folder: Path) -> dict[str, Any]:
        split = self.split()
        pretrained = self._pretrained()
        self._check_other()
        jets, validation = split.graded()
        right = audit.audited(self.labels, self.secret_seed)[-1]
        self._write_inputs(inputs, jets, split.labelled)
        self._write_inputs(held_out, split.claim, audit.inverted_beyond(split.relearnt, right))
        sealed_folder.mkdir(parents=True, exist_ok=True)
        assert jets.pid is not None
        test = ~validation
        write_events(sealed_folder / TRUTH, {"is_top": jets.pid.astype(np.float32), "test": test.astype(np.float32)})
        facts: dict[str, Any] = {
            "jets": "/inputs/jets.h5",
            "rows": len(jets),
            "labels": list(self.labels),
            "labelled": {str(n): f"/inputs/labelled_{n}.h5" for n in self.labels},
            "kinds": list(jets.kinds),
            "numbers_to_claim": [f"rejection_{n}" for n in self.labels],
            "steering_metric": grader.METRIC,
            "other_simulation": self.other is not None,
        }
        return facts | pretrained

    def _check_other(self) -> None:
        """Raise TaskError if the jets of another simulation cannot be scored with ours, before anything is spent."""
        try:
            if self.audit:
                self.audit.jets()
        except ToolError as error:
            raise TaskError("other", str(self.other), str(error)) from None

    def _pretrained(self) -> dict[str, Any]:
        """Return the facts about pretrained weights: their path for the crew and the kinds that they tell apart."""
        if self.weights is None:
            return {}
        try:
            kinds = described(located(self.weights))[0].kinds
        except (ToolError, OSError) as error:
            allowed = f"{', '.join(PRETRAINED)}, or a file of weights (safetensors): {error}"
            raise TaskError("weights", str(self.weights), allowed) from None
        return {"pretrained": f"/inputs/{WEIGHTS}", "pretrained_kinds": list(kinds)}

    def _write_inputs(self, folder: Path, jets: Jets, labelled: Jets) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        write_jets(folder / "jets.h5", replace(jets, pid=None, kinds=()))
        for n in self.labels:
            write_jets(folder / f"labelled_{n}.h5", labelled.take(slice(0, n)))
        if self.weights:
            shutil.copyfile(located(self.weights), folder / WEIGHTS)

    def grade(self, submission: TaggerSubmission, inputs: Path, workspace: Path, n_graded: int) -> Score:
        return grader.grade(submission, workspace, self.split(), self.labels, n_graded, self._free())

    def _free(self) -> Floats | None:
        """Return the scores of the graded jets by the pretrained weights as they are, if there are any."""
        return zero_shot(self.weights, self.data, self.labels[-1], self.secret_seed) if self.weights else None

    def confirm(
        self, submission: TaggerSubmission, chosen: Score, held_out: Path, workspace: Path, sealed_folder: Path
    ) -> Score:
        """Return the verdict of the audit, for which `held_out` has the inputs."""
        return audit.judge(submission, chosen, workspace, self.split(), self.labels, self.secret_seed)

    def check(self, claim: Measurement, scores: Sequence[Score], confirmed: Score | None) -> list[CheckedNumber]:
        """Compare claimed rejections with those of the best submission on validation jets."""
        return check_numbers(claim, scores, [f"rejection_{n}" for n in self.labels])

    def page(self, run: Run) -> Page:
        return page.page(super().page(run), run, self.other is not None)

    def seal(
        self,
        checks: Sequence[CheckedNumber],
        submission: TaggerSubmission | None,
        workspace: Path,
        sealed_folder: Path,
        confirmed: Path | None,
    ) -> Verdict:
        """Compute AUC and rejections on the sealed test, and the mean rejection in validation for comparison."""
        if submission is None:
            return Verdict(metrics=[], checks=list(checks))
        columns = read_columns(sealed_folder / TRUTH)
        is_top, test = columns["is_top"] > 0, columns["test"] > 0
        scores = read_scores(workspace, submission.scores, len(is_top), self.labels)
        sealed = {n: s[test] for n, s in scores.items()}
        found = numbers(sealed, is_top[test])
        table = [
            check.model_copy(update={"truth": found[check.name][0] if check.name in found else None})
            for check in checks
        ]
        note = f"{int(test.sum())} sealed jets"
        metrics = [Metric(name=name, value=v, error=e, note=note) for name, (v, e) in found.items()]
        for n, s in sealed.items():
            value = rejection(s[is_top[test]], s[~is_top[test]], 0.3)
            metrics.append(Metric(name=f"rejection_{n}_at_30", value=value, note=f"at 30% of the tops, {note}"))
        mine = grader.mean_rejection(sealed, is_top[test])
        seen = grader.mean_rejection({n: s[~test] for n, s in scores.items()}, is_top[~test])
        metrics.append(
            Metric(
                name="mean_rejection",
                value=mine.value,
                error=mine.error,
                note=f"over the numbers of labels; validation {seen.value:.1f}",
            )
        )
        if (free := self._free()) is not None:
            other = grader.mean_rejection(dict.fromkeys(self.labels, free[test]), is_top[test])
            found_free = grader.compared(mine, other)
            note = "the pretrained weights as they are, without any label"
            metrics.append(Metric(name="zero_shot_rejection", value=other.value, error=other.error, note=note))
            note = "mean_rejection over that of the weights as they are; error of the difference on the same jets"
            gain, error = found_free["gain"], found_free["gain_error"]
            metrics.append(Metric(name="gain_over_zero_shot", value=gain, error=error, note=note))
        return Verdict(metrics=metrics, checks=table)
