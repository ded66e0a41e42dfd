"""The task `showers`: a fast simulation of a calorimeter, learnt from showers, and where it cannot be trusted.

The crew gets showers to learn from, and incident energies at which its simulation has to generate others. Only the
grader knows which of these rows steer and which are the test, so no claim on unseen events is needed.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from pydantic import BaseModel, Field

from tasks.claim import Measurement, check_numbers
from tasks.intake import Intake
from tasks.page import Block
from tasks.policy import Policy
from tasks.score import CheckedNumber, Score
from tasks.showers import grader, page, sealed
from tasks.showers.policy import ShowersPolicy
from tasks.showers.samples import Samples, load
from tasks.showers.submission import ShowersSubmission
from tasks.submission import Submission
from tasks.task import TaskBase, Verdict
from tools.calorimeter.geometry import write_binning
from tools.calorimeter.showers import Showers, read_showers, write_showers

TEST, OTHER = "test.h5", "other.h5"
SIGMAS = 2.0  # claimed and computed AUCs come from other showers


class ShowersTask(TaskBase):
    """Fast simulation of GFlash showers in an unknown calorimeter, or of a CaloChallenge file."""

    name: ClassVar[str] = "showers"
    title: ClassVar[str] = "Fast simulation of calorimeter showers"
    request: ClassVar[str] = (
        "Train a fast simulation of photon showers for this calorimeter and tell me where it cannot be trusted."
    )
    tools: ClassVar[tuple[str, ...]] = ("calorimeter.train", "calorimeter.generate", "calorimeter.judge")
    submission: ClassVar[type[Submission]] = ShowersSubmission
    details: ClassVar[type[BaseModel]] = page.ShowersDetails
    intake: ClassVar[Intake | None] = Intake(
        (r"shower|schauer", r"calorimeter|kalorimeter", r"fast simulation"), ("showers",)
    )
    policy: ClassVar[Policy] = ShowersPolicy()
    data: Path | None = Field(None, description="CaloChallenge HDF5 file; default: GFlash showers, simulated now")
    geometry: str = Field("ds1_photons", description="built-in geometry, or a binning XML file")
    particle: str | None = Field(None, description="particle whose bins to use, if the binning file has several")
    showers: int = Field(
        10_000,
        ge=2000,
        le=1_000_000,
        description="number of showers: half to learn from, a fifth each to steer, test",
    )
    seed: int = Field(1, ge=0, description="seed of the showers, the calorimeter and the split")

    def samples(self) -> Samples:
        return load(self.data, self.geometry, self.particle, self.showers, self.secret_seed)

    def prepare(self, inputs: Path, held_out: Path, sealed_folder: Path) -> dict[str, Any]:
        samples = self.samples()
        geometry = samples.train.geometry
        for folder in (inputs, sealed_folder):
            folder.mkdir(parents=True, exist_ok=True)
        write_showers(inputs / "train.h5", samples.train)
        write_showers(inputs / "reference.h5", samples.reference)
        nothing = np.zeros_like(samples.asked.voxels)
        write_showers(inputs / "energies.h5", Showers(samples.asked.incident, nothing, geometry))
        write_binning(inputs / "binning.xml", geometry)
        write_showers(sealed_folder / TEST, samples.asked[~samples.steers])
        write_showers(sealed_folder / OTHER, samples.asked[samples.steers])
        built_in = not self.geometry.endswith(".xml")
        return {
            "train": "/inputs/train.h5",
            "reference": "/inputs/reference.h5",
            "energies": "/inputs/energies.h5",
            "geometry": self.geometry if built_in else "/inputs/binning.xml",
            "particle": geometry.particle,
            "layers": geometry.n_layers,
            "voxels": geometry.n_voxels,
            "training_showers": len(samples.train),
            "showers_asked_for": len(samples.asked),
            "incident_mev": [float(samples.train.incident.min()), float(samples.train.incident.max())],
            "numbers_to_claim": ["auc_voxels", "auc_observables"],
            "steering_metric": grader.METRIC,
        }

    def grade(self, submission: ShowersSubmission, inputs: Path, workspace: Path, n_graded: int) -> Score:
        return grader.grade(submission, workspace, self.samples())

    def confirm(
        self, submission: ShowersSubmission, chosen: Score, held_out: Path, workspace: Path, sealed_folder: Path
    ) -> Score:
        """Never called: the test rows are part of every submission."""
        raise NotImplementedError("the test showers are part of the submission")

    def check(self, claim: Measurement, scores: Sequence[Score], confirmed: Score | None) -> list[CheckedNumber]:
        """Compare claimed AUCs with those of the best submission; they agree within SIGMAS errors of the difference."""
        return check_numbers(claim, scores, within=lambda one, other: SIGMAS * float(np.hypot(one, other)))

    def shown(self, score: Score) -> list[Block]:
        return page.shown(score)

    def seal(
        self,
        checks: Sequence[CheckedNumber],
        submission: ShowersSubmission | None,
        workspace: Path,
        sealed_folder: Path,
        confirmed: Path | None,
    ) -> Verdict:
        """Compute all metrics on the test showers; the true value of a claimed AUC is that on the test."""
        if submission is None:
            return Verdict(metrics=[], checks=list(checks))
        samples = self.samples()
        geometry = samples.train.geometry
        generated = grader.read_generated(workspace, submission.showers, samples.asked)[~samples.steers]
        test, other = (read_showers(sealed_folder / name, geometry) for name in (TEST, OTHER))
        metrics, curves = sealed.judge(test, generated, other, samples.train)
        found = {metric.name: metric.value for metric in metrics}
        table = [check.model_copy(update={"truth": found.get(check.name)}) for check in checks]
        return Verdict(metrics=metrics, checks=table, curves=curves)
