"""What clients send to the tools of runs, and what they get: the schemas of the protocol."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from agents.trace.result import RunResult
from tasks.intake import Question
from tools.contract import Request, Result

RUNNING, STARTING, REFUSED = "running", "starting", "refused"  # states beside those of a result
Name = Annotated[
    str, Field(min_length=1, max_length=400, description="handle of a run, as run_start or run_list name it")
]
Asked = Annotated[str, Field(min_length=1, max_length=20_000, description="what is asked, in plain language")]
Data = Annotated[str | None, Field(description="file or folder below the allowed folders")]


class CardRequest(Request):
    """Make out a card."""

    request: Asked
    data: Data = None


class CardResult(Result):
    """How a request is understood by the rules of the tasks, or why it is not."""

    ready: bool = Field(description="true: run_start would begin with this card")
    card: dict[str, Any] | None = Field(description="task, data and options; null if the request is not understood")
    about: str = Field(description="what the task is about, or what can be asked instead")
    questions: list[Question] = Field(description="answer them by `options` of run_start")
    sees: dict[str, Any] | None = Field(
        description="what lies at `data`: columns with their ranges, or arrays, or files"
    )


class Limits(Request):
    """What a run may spend."""

    dollars: float | None = Field(None, gt=0, allow_inf_nan=False)
    tokens: int | None = Field(None, gt=0, description="prompts and replies together")
    seconds: float | None = Field(None, gt=0, allow_inf_nan=False, description="wall time [s]")
    model_calls: int | None = Field(None, gt=0)


class StartRequest(Request):
    """Start a run."""

    request: Asked
    data: Data = None
    task: str | None = Field(None, description="a task; default: the one of the card that run_card shows")
    options: dict[str, Any] = Field(
        default_factory=dict, description="options of the task, such as answers to questions"
    )
    backend: str | None = Field(
        None,
        pattern=r"^(analyst|script|random|openai|local:[\w.-]+)$",
        description="analyst, script, random: rules, no model, no cost; openai: the operator's service; local:NAME; "
        "default: the operator's service if there is one, else analyst",
    )
    limits: Limits = Field(Limits(), description="a service needs a limit in dollars or tokens")


class HandleRequest(Request):
    """Name a run."""

    handle: Name


class StatusRequest(HandleRequest):
    """Look at a run."""

    wait: float = Field(0, ge=0, le=50, description="seconds to wait for its end before answering")


class ListRequest(Request):
    """List runs."""

    count: int = Field(20, ge=1, le=200, description="how many, the newest first")


class StatusResult(Result):
    """Where a run stands."""

    handle: str
    state: str = Field(
        description=f"{STARTING}, {RUNNING}; ended: converged, exhausted, failed, declined; waiting: for the answer of "
        f"the operator, who can resume: budget, interrupted, lost, unfinished; {REFUSED}: it never began; damaged: its "
        "trace cannot be read"
    )
    reason: str = Field(description="why it is in this state")
    doing: str = Field("", description="its latest event")
    events: int = Field(0, description="number of events so far")
    iterations: int = Field(0, description="graded iterations so far")
    metric: str = Field("", description="best steering metric so far")
    headline: str = Field("", description="the answer in one line")
    model_calls: int = 0
    tokens: int = 0
    dollars: float = 0.0
    seconds: float = Field(0.0, description="wall time so far [s]")


class ListResult(Result):
    """Runs, newest first."""

    runs: list[dict[str, Any]]


class ResultResult(Result):
    """The result of a run."""

    result: RunResult | None = Field(description="null if it is too long to be given here: read the resource `result`")
    resources: list[str] = Field(description="card, plan, result, and report if there is one")
