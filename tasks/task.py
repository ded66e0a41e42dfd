"""A task: what is asked, with which data and tools, and how the answer is judged."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Protocol, Self

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, ValidationError

from tasks.claim import Claim, Measurement
from tasks.convergence import Rule
from tasks.page import Block, Confirmation, Graded, Numbers, Page, Run, Text
from tasks.policy import Policy
from tasks.salt import secret_seed
from tasks.score import CheckedNumber, Metric, Number, Score
from tasks.study import Judge
from tasks.submission import Submission


class TaskError(ValueError):
    """A task cannot be prepared as asked: names the option, its value and what is allowed. For the operator."""

    def __init__(self, field: str, value: object, allowed: str) -> None:
        self.field, self.value, self.allowed = field, value, allowed
        super().__init__(f"{field}={value!r}: {allowed}")

    def __reduce__(self) -> tuple[type[TaskError], tuple[str, object, str]]:
        return TaskError, (self.field, self.value, self.allowed)  # it comes back from other processes


class Verdict(BaseModel):
    """Everything that needs truth: computed once, after the run has ended."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    metrics: list[Metric]
    checks: list[CheckedNumber]
    curves: dict[str, list[float]] = Field(default_factory=dict)
    artefact: str | None = None


class Audit(Protocol):
    """A second look at a claim: its recipe once more, unchanged, on inputs in which there is nothing to find."""

    def decoy(
        self,
        submission: Any,
        chosen: Score,
        confirmed: Score,
        held_out: Path,
        sealed_folder: Path,
        into: Path,
    ) -> bool:
        """Write into a folder the inputs of the recipe's next run, always the same for the same arguments.

        False, and nothing is written, where `confirmed` claims nothing.
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
        """What is left of `confirmed` after what the recipe made of the decoy: no value and a reason, if it failed.

        `trouble`: why the recipe did not run to its end, which is a failure, or nothing.
        """
        ...


class Details(BaseModel):
    """What a score has beside its value; a task names its own."""

    model_config = ConfigDict(frozen=True, extra="allow")

    @classmethod
    def of(cls, score: Score | None) -> Self:
        """The details of a score, to be shown: what has another form than it should is left out."""
        given = dict(score.details) if score else {}
        try:
            return cls.model_validate(given)
        except ValidationError as error:
            odd = {str(problem["loc"][0]) for problem in error.errors()}
            return cls.model_validate({name: value for name, value in given.items() if name not in odd})


class TaskBase(BaseModel):
    """What tasks have in common: options that make them again, when to stop, and `guide`, a file in their folder."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    name: ClassVar[str]
    guide: ClassVar[str] = "brief.md"
    submission: ClassVar[type[Submission]] = Submission
    claim: ClassVar[type[Claim]] = Measurement
    details: ClassVar[type[BaseModel]] = Details
    policy: ClassVar[Policy] = Policy()
    study: ClassVar[Judge | None] = None
    max_iterations: int = Field(3, ge=1, le=50)
    patience: int = Field(1, ge=1, le=50)
    seed: int = Field(1, ge=0)
    _salt: str = PrivateAttr("")

    def salted(self, salt: str) -> Self:
        """The same task, whose secrets are those of a run with this salt."""
        task = self.model_copy()
        task._salt = salt
        return task

    @property
    def secret_seed(self) -> int:
        """What all is drawn from that agents must not be able to draw again."""
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

    def page(self, run: Run) -> Page:
        """The claimed numbers, the confirmation where there is one, and what is shown of the best score."""
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


class Task(Protocol):
    """Prepared inputs, a grader that needs no truth, and one that does.

    A `submission` is always one of the task's own form, and so is a `claim`; None where nothing was handed in.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    request: ClassVar[str]
    tools: ClassVar[tuple[str, ...]]
    submission: ClassVar[type[Submission]]  # what is handed in
    claim: ClassVar[type[Claim]]  # what is answered
    details: ClassVar[type[BaseModel]]  # of a score
    policy: ClassVar[Policy]  # how the built-in analyst and the controls go about it
    study: ClassVar[Judge | None]  # how its runs are judged in a study; None: they cannot be

    @property
    def rule(self) -> Rule: ...

    @property
    def audit(self) -> Audit | None:
        """How a claim that would stand is looked into; None where the claim itself is all there is."""
        ...

    def options(self) -> dict[str, Any]:
        """All that is needed to make this very task again: `make_task(name, options)`."""
        ...

    def salted(self, salt: str) -> Self:
        """The same task, whose secrets follow from this salt (`tasks.salt`) beside its public options."""
        ...

    def brief(self) -> str:
        """What the agents are told, as Markdown."""
        ...

    def advice(self, role: str) -> str:
        """What the planner, the worker or the reporter is told besides, as Markdown; `<role>.md` in the folder."""
        ...

    def prepare(self, inputs: Path, held_out: Path, sealed_folder: Path) -> dict[str, Any]:
        """Write the unlabelled inputs and, elsewhere, the truth. Returns facts for the agents. Raises TaskError.

        A task whose claim is made on unseen events writes the inputs of that claim into `held_out`; others leave it
        out. Until the crew has made its choices no sandbox sees that folder.
        """
        ...

    def grade(self, submission: Any, inputs: Path, workspace: Path, n_graded: int) -> Score:
        """Steering score from data alone. `n_graded` submissions, this one included, count as trials."""
        ...

    def confirm(self, submission: Any, chosen: Score, held_out: Path, workspace: Path, sealed_folder: Path) -> Score:
        """The claim: the chosen submission, made again from the inputs in `held_out`, on the events unseen before."""
        ...

    def check(self, claim: Any, scores: Sequence[Score], confirmed: Score | None) -> list[CheckedNumber]:
        """Claimed numbers beside the harness's own: those of the unseen events where there are such."""
        ...

    def seal(
        self,
        checks: Sequence[CheckedNumber],
        submission: Any,
        workspace: Path,
        sealed_folder: Path,
        confirmed: Path | None,
    ) -> Verdict:
        """The metrics that need truth, of the best submission. Called once, after the run has ended.

        `confirmed`: the workspace in which the submission was made again on all events, where that was done.
        """
        ...

    def numbers(self, graded: Graded) -> list[Number]:
        """The numbers that matter of one iteration, for tables, lists, `result.json` and studies."""
        ...

    def shown(self, score: Score) -> list[Block]:
        """All there is to see of one score."""
        ...

    def page(self, run: Run) -> Page:
        """What report and viewer show of a run, beside what they show of any."""
        ...
