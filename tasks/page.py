"""What report, viewer, live display and result show of a run: blocks that a task makes and all of them can draw.

Texts are plain: whoever shows a block escapes them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tasks.claim import Claim
from tasks.score import CheckedNumber, Metric, Number, Score
from tasks.submission import Submission


@dataclass(frozen=True)
class Text:
    """A paragraph. `soft`: an explanation that a hurried reader may skip."""

    text: str
    soft: bool = False


@dataclass(frozen=True)
class Warning:
    """Why something must not be trusted, and who says so."""

    who: str
    text: str


@dataclass(frozen=True)
class Numbers:
    """Named numbers, a line each."""

    numbers: Sequence[Number]
    title: str = ""


@dataclass(frozen=True)
class Table:
    """Rows of texts below a head; row `mark` stands out, and `note` stands below."""

    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    mark: int | None = None
    note: str = ""


@dataclass(frozen=True)
class Plot:
    """A picture, drawn only where it is shown; None where its numbers are not there. `name` is unique on a page."""

    name: str
    caption: str
    draw: Callable[[], bytes | None]


Block = Text | Warning | Numbers | Table | Plot


@dataclass(frozen=True)
class Graded:
    """One iteration: what was handed in, and what the grader said."""

    iteration: int
    submission: Submission | None
    score: Score


@dataclass(frozen=True)
class Result:
    """What a tool returned in the steps of an iteration."""

    iteration: int
    tool: str
    result: Mapping[str, Any]


@dataclass(frozen=True)
class Run:
    """All that is known of a run, finished or not, for a page of it."""

    graded: Sequence[Graded] = ()
    best: int | None = None  # iteration
    confirmed: Score | None = None  # after the audit, where there was one
    audited: bool = False
    claim: Claim | None = None
    checks: Sequence[CheckedNumber] = ()
    metrics: Sequence[Metric] = ()
    curves: Mapping[str, Sequence[float]] = field(default_factory=dict)
    results: Sequence[Result] = ()

    @property
    def chosen(self) -> Graded | None:
        """The best iteration."""
        return next((one for one in self.graded if one.iteration == self.best), None)

    def warnings(self) -> list[Warning]:
        """What the harness says against what it tested, and tools against what they made in the best iteration."""
        scores = [self.chosen.score if self.chosen else None, self.confirmed]
        found = [("The harness", score.details.get("warning")) for score in scores if score]
        mine = [each for each in self.results if each.iteration == self.best]
        found += [(f"{each.tool} in its step", each.result.get("warning")) for each in mine]
        return list(dict.fromkeys(Warning(who, text) for who, text in found if isinstance(text, str) and text))


@dataclass(frozen=True)
class Confirmation:
    """The part of a page on what was made again by the harness: `lead` is one line, `numbers` its figures."""

    title: str
    lead: str
    blocks: Sequence[Block]
    numbers: Sequence[Number] = ()


@dataclass(frozen=True)
class Page:
    """A run as its task shows it, beside what every report has: plans, code, claims table, costs."""

    answer: Sequence[Block] = ()  # below the crew's own words
    confirmation: Confirmation | None = None
    best: Sequence[Block] = ()  # of the best iteration
    sealed: Sequence[Block] = ()  # below the sealed metrics
