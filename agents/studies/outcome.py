"""The outcome of one cell of a study, in the cell's folder: the row from which statistics and report are made."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

from pydantic import Field

from agents.trace.result import Cost, Status
from tasks.study import Answer, Truth, Value
from tools.contract import Frozen
from tools.files import write_whole

OUTCOME = "outcome.json"
FORMAT = 2  # 1: truth and answer had the fields of one kind of task

FaultKind = Literal["service", "schema", "code", "resource", "tool_misuse", "statistics", "fabricated", "breakout"]


class Fault(Frozen):
    """Something that went wrong in a run, classified by rule, with the event that shows it."""

    kind: FaultKind
    event: int | None = Field(None, description="index of the event in the trace that shows it")
    text: str = Field(description="what happened, in the words of the trace")
    fatal: bool = Field(False, description="this is why the run gave no valid answer")


class Outcome(Frozen):
    """One run. Statistics are by intention to treat: a run without an answer is a row like any other."""

    format: int = FORMAT
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


def write_outcome(run_dir: Path, outcome: Outcome) -> None:
    """Write the outcome of a cell."""
    write_whole(run_dir / OUTCOME, (outcome.model_dump_json(indent=1) + "\n").encode())


def read_outcome(run_dir: Path) -> Outcome | None:
    """Return the outcome in a cell's folder, None without one.

    Raises pydantic's ValidationError for a damaged one, and ValueError for one of another format.
    """
    path = run_dir / OUTCOME
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return None
    if (found := _format(data)) != FORMAT:
        raise ValueError(
            f"{path}: format {found!r}, but this version of beamcrew reads format {FORMAT}; remove the file, and the "
            "study's next start makes it again from the run's trace"
        )
    return Outcome.model_validate_json(data)


def _format(data: bytes) -> object:
    """Return the format that an outcome names; a damaged one names none, and passes for the present one."""
    try:
        document = json.loads(data)
    except ValueError:
        return FORMAT
    return document.get("format", 1) if isinstance(document, dict) and "cell" in document else FORMAT
