"""The interface of tasks: what is asked, with which data and tools, and how the answer is judged."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Protocol, Self

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, ValidationError

from tasks.claim import Claim, Measurement
from tasks.convergence import Rule
from tasks.intake import Intake
from tasks.page import Block, Confirmation, Graded, Numbers, Page, Publication, Run, Text
from tasks.policy import Policy
from tasks.review import Finding, Work, gates
from tasks.salt import secret_seed
from tasks.score import CheckedNumber, Metric, Number, Score
from tasks.study import Judge
from tasks.submission import Submission
from tools.contract import Frozen
from tools.publication import Column, Data


class TaskError(ValueError):
    """A task cannot be prepared as requested. Names the option, its value and what is allowed, for the operator."""

    def __init__(self, field: str, value: object, allowed: str) -> None:
        self.field, self.value, self.allowed = field, value, allowed
        super().__init__(f"{field}={value!r}: {allowed}")

    def __reduce__(self) -> tuple[type[TaskError], tuple[str, object, str]]:
        return TaskError, (self.field, self.value, self.allowed)  # lets other processes return it


class Verdict(Frozen):
    """Everything that needs the truth: computed once, after the run has ended."""

    metrics: list[Metric]
    checks: list[CheckedNumber]
    curves: dict[str, list[float]] = Field(default_factory=dict)
    artefact: str | None = None


class Audit(Protocol):
    """A second look at a claim: the unchanged recipe is run again on other inputs, the decoy.

    In these there is nothing to find, or what there is comes from another simulation.
    """

    def decoy(
        self,
        submission: Any,
        chosen: Score,
        confirmed: Score,
        held_out: Path,
        sealed_folder: Path,
        into: Path,
    ) -> bool:
        """Write the inputs of the recipe's next run into `into`; the same arguments give the same inputs.

        Writes nothing and returns False if `confirmed` claims nothing.
        """
        ...

    def judge(
        self,
        submission: Any,
        chosen: Score,
        confirmed: Score,
        held_out: Path,
        decoy_inputs: Path,
        workspace: Path,
        sealed_folder: Path,
        trouble: str,
    ) -> Score:
        """Return `confirmed` in the light of the recipe's result on the decoy: no value and a reason if it failed.

        `trouble`: why the recipe did not finish; empty if it did. What this means is up to the task.
        """
        ...


class Details(BaseModel):
    """Further results of a score; each task defines its own."""

    model_config = ConfigDict(frozen=True, extra="allow")

    @classmethod
    def of(cls, score: Score | None) -> Self:
        """Return the details of a score for display, without those of an unexpected form."""
        given = dict(score.details) if score else {}
        try:
            return cls.model_validate(given)
        except ValidationError as error:
            odd = {str(problem["loc"][0]) for problem in error.errors()}
            return cls.model_validate({name: value for name, value in given.items() if name not in odd})


class TaskBase(Frozen):
    """Base class of tasks: the options that reproduce them, when to stop, and `guide`, a file in their folder."""

    name: ClassVar[str]
    guide: ClassVar[str] = "brief.md"
    submission: ClassVar[type[Submission]] = Submission
    claim: ClassVar[type[Claim]] = Measurement
    details: ClassVar[type[BaseModel]] = Details
    policy: ClassVar[Policy] = Policy()
    study: ClassVar[Judge | None] = None
    intake: ClassVar[Intake | None] = None
    max_iterations: int = Field(3, ge=1, le=50)
    patience: int = Field(1, ge=1, le=50)
    seed: int = Field(1, ge=0)
    _salt: str = PrivateAttr("")

    def salted(self, salt: str) -> Self:
        """Return the same task with the secrets of a run with this salt."""
        task = self.model_copy()
        task._salt = salt
        return task

    @property
    def secret_seed(self) -> int:
        """Seed of everything that agents must not be able to reproduce."""
        return secret_seed(self._salt, self.seed)

    @property
    def rule(self) -> Rule:
        return Rule(patience=self.patience, max_iterations=self.max_iterations)

    @property
    def audit(self) -> Audit | None:
        return None

    def options(self) -> dict[str, Any]:
        return self.model_dump(mode="json")

    def brief(self) -> str:
        return self._folder().joinpath(self.guide).read_text()

    def advice(self, role: str) -> str:
        advice = self._folder().joinpath(f"{role}.md")
        return advice.read_text() if advice.is_file() else ""

    @classmethod
    def _folder(cls) -> Path:
        return Path(inspect.getfile(cls)).parent

    def numbers(self, graded: Graded) -> list[Number]:
        found = graded.score.details.get("numbers", {})
        return [Number(name=name, value=each["value"], error=each.get("error")) for name, each in found.items()]

    def shown(self, score: Score) -> list[Block]:
        return []

    def gates(self, work: Work) -> list[Finding]:
        return gates(work)

    def page(self, run: Run) -> Page:
        """Return a page with the claimed numbers, the confirmation if there is one, and the best score."""
        claimed = run.claim.numbers if isinstance(run.claim, Measurement) else {}
        numbers = [Number(name=name, value=each.value, error=each.error) for name, each in claimed.items()]
        lead = (
            "The harness ran the commands that had made the best result once more, without any agent, on inputs that "
            "no agent had seen."
        )
        said = run.confirmed.details.get("audit", {}).get("said") if run.confirmed else None
        audit: list[Block] = [Text(said)] if isinstance(said, str) else []
        return Page(
            answer=[Numbers(numbers)] if numbers else [],
            confirmation=Confirmation("Confirmation", lead, [*self.shown(run.confirmed), *audit])
            if run.confirmed
            else None,
            best=self.shown(run.chosen.score) if run.chosen else [],
        )

    def publication(self, run: Run) -> Publication:
        """Return the harness's own numbers, and those of all figures that need no truth."""
        known = [c for c in run.checks if c.harness is not None and not isinstance(c.harness, bool)]
        named = [f"{c.title} [{c.unit}]" if c.unit else c.title for c in known]
        errors = {"total": [c.harness_error or 0.0 for c in known]}
        values = Column("value", [c.harness for c in known], errors=errors)
        results = Data("results", "Results, as the harness computed them.", [Column("quantity", named)], [values])
        plots = replace(self.page(run), sealed=[]).plots()
        of_figures = [replace(plot.data, name=plot.name, caption=plot.caption) for plot in plots if plot.data]
        return Publication(tables=[*([results] if known else []), *of_figures])


class Task(Protocol):
    """A task: prepared inputs, a grader that needs no truth, and one that does.

    `submission` and `claim` always have the task's own types; they are None if nothing was handed in.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    request: ClassVar[str]
    tools: ClassVar[tuple[str, ...]]
    submission: ClassVar[type[Submission]]  # what workers hand in
    claim: ClassVar[type[Claim]]  # the crew's answer
    details: ClassVar[type[BaseModel]]  # a score's details
    policy: ClassVar[Policy]  # what the built-in analyst and the controls do
    study: ClassVar[Judge | None]  # judges its runs in a study; None: no study possible
    intake: ClassVar[Intake | None]  # reads requests; None: the task is only chosen by name

    @property
    def rule(self) -> Rule: ...

    @property
    def audit(self) -> Audit | None:
        """The audit of a claim that would otherwise stand; None if the task has no audit."""
        ...

    def options(self) -> dict[str, Any]:
        """Return all that is needed to make this very task again: `make_task(name, options)`."""
        ...

    def salted(self, salt: str) -> Self:
        """Return the same task, with secrets that follow from this salt (`tasks.salt`) and its public options."""
        ...

    def brief(self) -> str:
        """Return the brief for the agents, as Markdown."""
        ...

    def advice(self, role: str) -> str:
        """Return further advice for the planner, worker or reporter, as Markdown: `<role>.md` in the folder."""
        ...

    def prepare(self, inputs: Path, held_out: Path, sealed_folder: Path) -> dict[str, Any]:
        """Write the unlabelled inputs and, separately, the truth. Return facts for the agents. Raises TaskError.

        A task whose claim is made on unseen events writes the inputs of that claim into `held_out`; others do not
        create it. No sandbox sees that folder until the crew has made its choices.
        """
        ...

    def grade(self, submission: Any, inputs: Path, workspace: Path, n_graded: int) -> Score:
        """Return the steering score, from data alone. `n_graded` submissions, this one included, count as trials."""
        ...

    def confirm(self, submission: Any, chosen: Score, held_out: Path, workspace: Path, sealed_folder: Path) -> Score:
        """Return the score that claims rest on: the chosen submission, made again from `held_out`, on unseen events."""
        ...

    def check(self, claim: Any, scores: Sequence[Score], confirmed: Score | None) -> list[CheckedNumber]:
        """Compare claimed numbers with the harness's own: those from the unseen events, if there are any."""
        ...

    def seal(
        self,
        checks: Sequence[CheckedNumber],
        submission: Any,
        workspace: Path,
        sealed_folder: Path,
        confirmed: Path | None,
    ) -> Verdict:
        """Compute the metrics of the best submission that need the truth. Called once, after the run has ended.

        `confirmed`: the workspace in which the submission was made again on all events, if that was done.
        """
        ...

    def numbers(self, graded: Graded) -> list[Number]:
        """Return the key numbers of one iteration, for tables, lists, `result.json` and studies."""
        ...

    def shown(self, score: Score) -> list[Block]:
        """Return all blocks that show one score."""
        ...

    def gates(self, work: Work) -> list[Finding]:
        """Return what numbers alone say against a graded result, for the reviewer; default: `tasks.review.gates`."""
        ...

    def page(self, run: Run) -> Page:
        """Return the task's part of a run's page in report and viewer."""
        ...

    def publication(self, run: Run) -> Publication:
        """Return what others can use of the run: tables for HEPData, statistical models and the like."""
        ...
