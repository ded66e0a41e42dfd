"""The blocks of a page about a run. A task makes them; report, viewer, live display and result can all draw them.

Texts are plain: the code that shows a block has to escape them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tasks.claim import Claim
from tasks.score import CheckedNumber, Metric, Number, Score
from tasks.submission import Submission
from tools.publication import Data

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Text:
    """A paragraph. `soft`: an explanation that a hurried reader may skip."""

    text: str
    soft: bool = False


@dataclass(frozen=True)
class Warning:
    """A reason not to trust something, and who gives it."""

    who: str
    text: str


@dataclass(frozen=True)
class Numbers:
    """Named numbers, one per line."""

    numbers: Sequence[Number]
    title: str = ""


@dataclass(frozen=True)
class Table:
    """Rows of text below a header; row `mark` is highlighted, and `note` is printed below the table."""

    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    mark: int | None = None
    note: str = ""


@dataclass(frozen=True)
class Plot:
    """A figure, drawn only when shown; `draw` returns None if its numbers are missing. `name` is unique on a page.

    `data`: the numbers in it, for those who want to draw it themselves.
    """

    name: str
    caption: str
    draw: Callable[[], Figure | None]
    data: Data | None = None


Block = Text | Warning | Numbers | Table | Plot


@dataclass(frozen=True)
class Graded:
    """One iteration: its submission and the grader's score."""

    iteration: int
    submission: Submission | None
    score: Score


@dataclass(frozen=True)
class Result:
    """The result of one tool call in a step of an iteration."""

    iteration: int
    tool: str
    result: Mapping[str, Any]
    step: str = ""
    arguments: Mapping[str, Any] = field(default_factory=dict)

    @property
    def who(self) -> str:
        """The tool, its step, and the window it was called for, if any."""
        window = self.arguments.get("window")
        of = f", window {window[0]} to {window[1]}" if isinstance(window, list | tuple) and len(window) == 2 else ""
        return f"{self.tool} in step {self.step}{of}"

    def wrote(self, sha256: str | None) -> bool:
        """Return whether the result names a file with this hash."""
        return any(
            isinstance(part, Mapping) and sha256 and part.get("sha256") == sha256 for part in self.result.values()
        )


@dataclass(frozen=True)
class Run:
    """Everything known about a run, finished or not, that its page is made from."""

    graded: Sequence[Graded] = ()
    best: int | None = None  # iteration
    confirmed: Score | None = None  # after the audit, if there was one
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
        """Return the warnings of the harness's scores, and those of the tool that wrote the submitted file.

        If no tool did (a script combined files, say), those of all tools of the best iteration.
        """
        scores = [self.chosen.score if self.chosen else None, self.confirmed]
        found = [("The harness", score.details.get("warning")) for score in scores if score]
        mine = [each for each in self.results if each.iteration == self.best]
        wrote = [each for each in mine if self.chosen and each.wrote(self.chosen.score.artefact)]
        found += [(each.who, each.result.get("warning")) for each in wrote or mine]
        return list(dict.fromkeys(Warning(who, text) for who, text in found if isinstance(text, str) and text))


@dataclass(frozen=True)
class Confirmation:
    """The section on what the harness reproduced: `lead` is one line, `numbers` its key figures."""

    title: str
    lead: str
    blocks: Sequence[Block]
    numbers: Sequence[Number] = ()


@dataclass(frozen=True)
class Page:
    """The task's part of a run's page, added to what every report has: plans, code, table of claims, costs."""

    answer: Sequence[Block] = ()  # below the crew's own text
    confirmation: Confirmation | None = None
    best: Sequence[Block] = ()  # about the best iteration
    sealed: Sequence[Block] = ()  # below the sealed metrics

    def plots(self) -> list[Plot]:
        """Return all figures, in order."""
        verdict = self.confirmation.blocks if self.confirmation else ()
        return [each for each in [*self.answer, *verdict, *self.best, *self.sealed] if isinstance(each, Plot)]


@dataclass(frozen=True)
class Publication:
    """What others can use without this project: tables, as for HEPData, and documents, written as JSON."""

    tables: Sequence[Data] = ()
    documents: Mapping[str, Any] = field(default_factory=dict)  # by the name of the file, without suffix
