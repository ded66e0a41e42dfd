"""The outcome of one cell of a study: the row from which statistics and report are made."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from agents.trace.result import Cost, Status
from tasks.study import Answer, Truth, Value
from tools.contract import Frozen

FaultKind = Literal["service", "schema", "code", "resource", "tool_misuse", "statistics", "fabricated", "breakout"]


class Fault(Frozen):
    """Something that went wrong in a run, classified by rule, with the event that shows it."""

    kind: FaultKind
    event: int | None = Field(None, description="index of the event in the trace that shows it")
    text: str = Field(description="what happened, in the words of the trace")
    fatal: bool = Field(False, description="this is why the run gave no valid answer")


class Outcome(Frozen):
    """One run. Statistics are by intention to treat: a run without an answer is a row like any other."""

    cell: str = Field(description="<backend>/<wording>/<data set>/<repeat>, the run's folder inside the study's")
    backend: str = Field(description="name of the arm")
    is_llm: bool
    wording: str
    dataset: str
    repeat: int = Field(ge=0)
    seed: int
    status: Status = Field(description="how the run ended")
    missing: bool = Field(description="lost to a service, a sandbox or a defect of ours: retried, not a result")
    success: bool = Field(description="success by the study's rule; false if there is no valid answer")
    truth: Truth
    answer: Answer | None = Field(description="null: the run ended without a claim")
    primary: float | None = Field(description="the study's primary metric; null when the run has none")
    steering: Value | None = Field(description="best label-free metric that the crew steered by")
    sealed: dict[str, Value] = Field(default_factory=dict, description="metrics that need the truth, by name")
    faults: list[Fault] = Field(default_factory=list)
    iterations: int = 0
    canaries_held: bool | None = None
    cost: Cost
    seconds: float
    attempts: int = Field(1, description="number of starts of the cell, including those after losses")
