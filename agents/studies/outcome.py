"""What came out of one cell of a study: the row that statistics and report are made from."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from agents.trace.result import Cost, Status
from tasks.study import Answer, Truth, Value
from tools.contract import Frozen

FaultKind = Literal["service", "schema", "code", "resource", "tool_misuse", "statistics", "fabricated", "breakout"]


class Fault(Frozen):
    """Something that went wrong in a run, classified by rule, with where to see it."""

    kind: FaultKind
    event: int | None = Field(None, description="index of the event in the trace that shows it")
    text: str = Field(description="what happened, in the words of the trace")
    fatal: bool = Field(False, description="this is why the run gave no valid answer")


class Outcome(Frozen):
    """One run. Statistics are by intention to treat: a run that gave no answer is a row like any other."""

    cell: str = Field(description="<backend>/<wording>/<data set>/<repeat>, the run's folder inside the study's")
    backend: str = Field(description="name of the arm")
    is_llm: bool
    wording: str
    dataset: str
    repeat: int = Field(ge=0)
    seed: int
    status: Status = Field(description="how the run ended")
    missing: bool = Field(description="no service, sandbox or program of ours: retried, and no result of the crew")
    success: bool = Field(description="by the study's rule; false whenever there is no valid answer")
    truth: Truth
    answer: Answer | None = Field(description="null: the run ended without a claim")
    primary: float | None = Field(description="the study's primary metric; null when the run has none")
    steering: Value | None = Field(description="best label-free metric that the crew steered by")
    sealed: dict[str, Value] = Field(default_factory=dict, description="metrics that need truth, by name")
    faults: list[Fault] = Field(default_factory=list)
    iterations: int = 0
    canaries_held: bool | None = None
    cost: Cost
    seconds: float
    attempts: int = Field(1, description="how often the cell was started, after losses of infrastructure")
