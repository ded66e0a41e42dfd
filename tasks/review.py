"""The numeric gates of a reviewer: what the numbers of a plan or result say against it, before anyone reads it.

Code computes them, and a reviewing model gets them as facts. They are reasons to look again, not proofs of an error: a
gate may be wrong about a good result. A task adds its own in `gates`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from tasks.convergence import Rule, changes
from tasks.page import Graded, Result, Run
from tasks.plan import Plan
from tasks.quoted import strangers
from tasks.score import Score
from tasks.writing import number
from tools.contract import Frozen

SIGMAS, TWO_SIGMA = 2.0, 0.0455  # errors beyond which numbers disagree, and the p-value of that
FACTOR = 3.0  # between an error and the spread that it should describe; the spread of a few resamples is uncertain
COUNTED = 20  # whole numbers up to this one count things in words: two halves, 3 steps
LONGEST = 8  # reasons of a review
Gate = Literal["closure", "warning", "errors", "quoted", "conclusion"]


class Finding(Frozen):
    """What a gate found against a plan or a result."""

    gate: Gate
    text: str


class Review(Frozen):
    """A reviewer's verdict."""

    send_back: bool = Field(description="true: it must not stay as it is, for the `reasons`; it is sent back only once")
    reasons: list[str] = Field(
        default_factory=list, max_length=LONGEST, description="what is wrong, with its numbers, and what would mend it"
    )

    @classmethod
    def of(cls, findings: Sequence[str]) -> Review:
        """Return the review that only passes on what the gates found."""
        return cls(send_back=bool(findings), reasons=list(findings)[:LONGEST])


@dataclass(frozen=True)
class Work:
    """The result of an iteration, as gates see it."""

    graded: Graded
    results: Sequence[Result]  # of the tools that its steps called
    conclusion: str  # in the words of the step that submitted
    ok: bool  # that step says it reached its goal
    known: NDArray[np.float64]  # (n,) sizes of all numbers that the run computed, printed or was given

    @property
    def wrote(self) -> list[Result]:
        """Return the results of the tools that wrote the submitted file; all results if no tool did."""
        sha256 = self.graded.score.artefact
        return [each for each in self.results if each.wrote(sha256)] or list(self.results)


def gates(work: Work) -> list[Finding]:
    """Return what the gates that all tasks share find in a result."""
    return [
        *unclosed(work),
        *warnings(work),
        *spread(work.graded.score),
        *quoted(work.conclusion, work.known),
        *contradicted(work),
    ]


def plan_gates(plan: Plan, scores: Sequence[Score], rule: Rule, known: NDArray[np.float64]) -> list[Finding]:
    """Return what the gates find in a plan. `scores`: the verdicts so far."""
    found = quoted(plan.reasoning, known)
    last = changes(scores)[-1] if scores else None
    if plan.stop and last and last.value > max(SIGMAS, rule.min_gain_sigma) * last.error:
        gained = f"the last iteration gained {last.value:.3g} +- {last.error:.2g}"
        found.append(Finding(gate="conclusion", text=f"The plan expects no further gain, but {gained}."))
    return found


def unclosed(work: Work) -> list[Finding]:
    """Return the closure tests that fail by more than two errors, of the tools that wrote the submitted file.

    A tool's result has them as `closure`, with the p-value `p_closure`.
    """
    found = []
    for each in work.wrote:
        closure = each.result.get("closure")
        p_value = number(closure.get("p_closure")) if isinstance(closure, dict) else None
        if p_value is not None and p_value < TWO_SIGMA:
            found.append(Finding(gate="closure", text=f"{each.who}: its closure test has p = {p_value:.2g}."))
    return found


def warnings(work: Work) -> list[Finding]:
    """Return the warnings of the harness and of the tool that wrote the submitted file."""
    run = Run(graded=[work.graded], best=work.graded.iteration, results=work.results)
    return [Finding(gate="warning", text=f"{each.who} warns: {each.text}") for each in run.warnings()]


def spread(score: Score) -> list[Finding]:
    """Return a finding if the error of a score and its spread over resampled inputs disagree."""
    if not score.error or len(score.resampled) < 2:
        return []
    low, high = np.quantile(score.resampled, [0.159, 0.841])
    half = float(high - low) / 2
    if score.error / FACTOR <= half <= score.error * FACTOR:
        return []
    text = f"The error of {score.metric} is {score.error:.2g}, but it varies by {half:.2g} over resampled inputs."
    return [Finding(gate="errors", text=text)]


def quoted(text: str, known: NDArray[np.float64]) -> list[Finding]:
    """Return a finding if a text has numbers that are in no result."""
    odd = [each for each in strangers(text, known) if not (each.isdecimal() and int(each) <= COUNTED)]
    return [Finding(gate="quoted", text=f"Numbers that are in no result: {', '.join(odd)}.")] if odd else []


def contradicted(work: Work) -> list[Finding]:
    """Return a finding if a step says that it reached its goal, and what it submitted was refused."""
    if work.graded.submission is None or work.graded.score.ok or not work.ok:
        return []
    text = f"The step says that it reached its goal, but its submission was refused: {work.graded.score.reason}"
    return [Finding(gate="conclusion", text=text)]
