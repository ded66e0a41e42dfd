"""The LHCO tasks: is there a resonance, at what mass, with how many events, and how significant?

`lhco-demo` mixes events of the shipped sample, `lhco-rnd` takes the official R&D feature file, `lhco-jets`
(`constituents.py`) also the particles of its jets, and `lhco-sr` the signal-region arrays of the CATHODE release.
Labels go to the sealed folder and nowhere else. `lhco-blackbox` (`blackbox.py`) takes events without labels, `search`
(`own.py`) those of any mass and with any features.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, Field, field_validator

from tasks.claim import Claim, best_score
from tasks.lhco import claims, confirm, grader, page, published, reference_grader, sealed, truth
from tasks.lhco.audit import LhcoAudit
from tasks.lhco.claims import SearchClaim, SearchSubmission
from tasks.lhco.files import EVENTS, REFERENCE
from tasks.lhco.grader import WIDTH, read_scores
from tasks.lhco.policy import SearchPolicy
from tasks.lhco.study import SearchJudge
from tasks.lhco.truth import Truth
from tasks.lhco.variable import Variable, dijets
from tasks.page import Block, Graded, Page, Publication, Run
from tasks.policy import Policy
from tasks.score import CheckedNumber, Number, Score
from tasks.study import Judge
from tasks.submission import Submission
from tasks.task import TaskBase, TaskError, Verdict
from tools.bumphunt.spectrum import WIDTH_RANGE
from tools.bumphunt.windows import SEARCH
from tools.events.copies import count, originals
from tools.events.parquet import write_events
from tools.events.table import available
from tools.events.weights import WEIGHT
from tools.types import Floats

HOLD_OUT = 7  # with the seed of the data set, decides which events are held out
DISCOVERY = 2.87e-7  # global p-value, five standard deviations one-sided
REQUEST = "Is there a new resonance in these dijet events? Give its mass, the number of signal events and a p-value."


class SearchTask(TaskBase):
    """Base class of all searches. Subclasses provide the events (`load`) and the mass that is searched (`variable`)."""

    name: ClassVar[str]
    title: ClassVar[str]
    request: ClassVar[str] = REQUEST
    tools: ClassVar[tuple[str, ...]] = (
        "events.describe",
        "anomaly.survey",
        "anomaly.template",
        "anomaly.latent",
        "anomaly.classify",
        "bumphunt.scan",
        "bumphunt.count",
        "bumphunt.sculpting",
    )
    submission: ClassVar[type[Submission]] = SearchSubmission
    claim: ClassVar[type[Claim]] = SearchClaim
    details: ClassVar[type[BaseModel]] = page.SearchDetails
    policy: ClassVar[Policy] = SearchPolicy()
    study: ClassVar[Judge | None] = SearchJudge()
    has_sidebands: ClassVar[bool] = True
    width: float | None = Field(
        None, ge=WIDTH_RANGE[0], le=WIDTH_RANGE[1], description="relative width of the resonance; default: measured"
    )
    alpha: float = Field(DISCOVERY, gt=0, lt=1, description="global p-value below which a discovery is claimed")
    max_iterations: int = Field(4, ge=1, le=50)
    seed: int = Field(1, ge=0, description="seed of the data set")
    hold_out: float = Field(0.5, ge=0.1, le=0.9, description="fraction of the events reserved for the claim")

    @property
    def variable(self) -> Variable:
        """The mass that is searched. Raises TaskError."""
        raise NotImplementedError

    @property
    def audit(self) -> LhcoAudit:
        return LhcoAudit(self.alpha, self.variable, self.has_sidebands)

    def load(self) -> tuple[dict[str, Floats], NDArray[np.bool_] | None, Truth | None, dict[str, Floats] | None]:
        """Return events, labels and truth if they are known, and the background reference if there is one."""
        raise NotImplementedError

    def prepare(self, inputs: Path, held_out: Path, sealed_folder: Path) -> dict[str, Any]:
        columns, is_signal, true, reference = self.load()
        variable = self.variable
        unseen = np.zeros(len(columns[variable.column]), dtype=bool)
        rng = np.random.default_rng([self.secret_seed, HOLD_OUT])
        unseen[rng.permutation(len(unseen))[: round(self.hold_out * len(unseen))]] = True
        original = originals(columns)
        unseen = unseen[original]  # copies of an event are held out together
        inputs.mkdir(parents=True, exist_ok=True)
        held_out.mkdir(parents=True, exist_ok=True)
        write_events(held_out / EVENTS, columns)
        columns = {name: values[~unseen] for name, values in columns.items()}
        write_events(inputs / EVENTS, columns)
        truth.write(sealed_folder, true, is_signal, unseen)
        mass = columns[variable.column]
        facts: dict[str, Any] = {
            "events": "/inputs/events.parquet",
            "rows": len(mass),
            "mass": f"column {variable.column}",
            "unit": variable.unit,
            "features": [name for name in available(columns) if name not in (variable.column, WEIGHT)],
            "mass_quantiles_0_5_50_95_100": [float(f"{q:.4g}") for q in np.percentile(mass, [0, 5, 50, 95, 100])],
            "discovery_below_p_global": self.alpha,
            "sidebands": self.has_sidebands,
            "held_out_rows": int(unseen.sum()),
        }
        if copies := count(original):
            facts["copies"] = f"{copies} of {len(original)} events are copies of others; an event counts once"
        if self.width is not None:
            facts["width"] = self.width
        if self.has_sidebands:
            facts |= {"search_range": variable.search, "window_width_over_centre": WIDTH}
            if variable.known is not None:
                facts["known"] = variable.known
            facts |= {"steering_metric": grader.BEST_OF}
        else:
            assert true
            facts |= {"steering_metric": reference_grader.METRIC, "window": list(true.window)}
        if reference is not None:
            for folder in (inputs, held_out):
                write_events(folder / REFERENCE, reference)
            facts |= {"reference": f"/inputs/{REFERENCE}", "reference_rows": len(reference["mjj"])}
        return facts

    def grade(self, submission: SearchSubmission, inputs: Path, workspace: Path, n_graded: int) -> Score:
        if self.has_sidebands:
            return grader.grade(submission, inputs, workspace, n_graded, self.variable, self.width)
        return reference_grader.grade(submission, inputs, workspace, n_graded, self.width)

    def confirm(
        self, submission: SearchSubmission, chosen: Score, held_out: Path, workspace: Path, sealed_folder: Path
    ) -> Score:
        unseen = truth.held_out(sealed_folder)
        score = confirm.confirm(submission, chosen, held_out, workspace, unseen, self.width, self.variable)
        return self.audit.examine(submission, score, held_out, workspace, unseen)

    def check(self, claim: SearchClaim, scores: Sequence[Score], confirmed: Score | None) -> list[CheckedNumber]:
        return claims.check(claim, confirmed or best_score(scores), self.alpha)

    def seal(
        self,
        checks: Sequence[CheckedNumber],
        submission: SearchSubmission | None,
        workspace: Path,
        sealed_folder: Path,
        confirmed: Path | None,
    ) -> Verdict:
        """Compute the separation inside the true window, with the scores of all events if the claim has made them,
        otherwise with those of the best submission; without one there is no separation.

        Without a truth there are no metrics."""
        if not truth.known(sealed_folder):
            return Verdict(metrics=[], checks=list(checks))
        true, is_signal, unseen = truth.read(sealed_folder)
        table = sealed.with_truth(checks, true)
        metrics = sealed.biases(checks, true)
        curves: dict[str, list[float]] = {}
        if submission is not None:
            mjj = self.load()[0][self.variable.column]
            of = np.ones(len(unseen), dtype=bool) if confirmed else ~unseen
            score = read_scores(confirmed or workspace, submission.scores, int(of.sum()))
            inside = (mjj[of] >= true.window[0]) & (mjj[of] < true.window[1])
            signal = is_signal[of]
            separation, curves = sealed.separation(score[inside & signal], score[inside & ~signal])
            metrics = separation + metrics
        return Verdict(metrics=metrics, checks=table, curves=curves)

    def numbers(self, graded: Graded) -> list[Number]:
        return page.numbers(graded)

    def shown(self, score: Score) -> list[Block]:
        return page.shown(score)

    def page(self, run: Run) -> Page:
        return page.page(run)

    def publication(self, run: Run) -> Publication:
        return published.publication(super().publication(run), run)


class LhcoTask(SearchTask):
    """Base class of the LHCO presets, in which the mass is that of two jets, mjj in TeV."""

    search: tuple[float, float] = Field(SEARCH, description="range of masses to search, TeV; less range, fewer trials")

    @field_validator("search")
    @classmethod
    def _inside(cls, search: tuple[float, float]) -> tuple[float, float]:
        low, high = search
        if not SEARCH[0] <= low < high <= SEARCH[1] or high < 1.2 * low:
            raise ValueError(f"must lie inside {SEARCH} TeV, with the upper edge at least 1.2 times the lower")
        return search

    @property
    def variable(self) -> Variable:
        return dijets(self.search)


def window_around(mass: float) -> tuple[float, float]:
    """Return the signal region of the R&D data set (3.3 to 3.7 TeV for 3.5 TeV), scaled with the mass."""
    return (round(mass * 3.3 / 3.5, 3), round(mass * 3.7 / 3.5, 3))


def require(folder: Path | None, file: str, source: str) -> Path:
    """Return `folder`/`file`, or raise a TaskError that says where to get it."""
    if folder is None:
        raise TaskError("data", None, f"this task needs --data FOLDER with {file} ({source})")
    path = folder / file
    if not path.is_file():
        raise TaskError("data", str(folder), f"must hold {file} ({source})")
    return path
