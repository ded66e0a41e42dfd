"""The events of a trace: small tagged records under one format version.

Large texts (prompts, replies, output, files) are blobs, named here by their SHA-256. Nothing in an
event may hold a secret: requests carry no headers, commands no environment.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from agents.backends.base import Effort, Usage
from agents.trace.observation import Form, Observation
from agents.trace.where import Where
from sandbox.driver import Gpu, SandboxInfo
from tasks.convergence import Decision
from tasks.plan import Plan
from tasks.score import CheckedNumber, Metric, Score

FORMAT = 4  # until 3 a tool call was two events, and claims and submissions had one form for all tasks


class Event(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")
    time: float = Field(0.0, description="seconds since the epoch, set by the store")
    index: int = Field(-1, description="line number in the trace, set by the store")


class Parent(BaseModel):
    """The run that a run was forked from. Its events up to the step, copied, are the first that follow run_started."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    run: str
    trace: str = Field(description="SHA-256 of its trace.jsonl")
    step: Where = Field(description="from here on the child is its own: planner/<iteration>, worker/..., reporter")
    past: int = Field(ge=0, description="how many events were copied")


class RunStarted(Event):
    kind: Literal["run_started"] = "run_started"
    format: int = FORMAT
    run: str
    request: str
    task: str
    options: dict[str, Any] = Field(description="all that is needed to prepare the task again")
    facts: dict[str, Any] = Field(description="what the agents are told about the inputs")
    inputs: dict[str, str] = Field(description="input file -> SHA-256")
    backend: str
    is_llm: bool
    sandbox: SandboxInfo
    gpu: Gpu = Field("auto", description="the operator's choice; what came of it is in `sandbox`")
    budget: dict[str, float]
    seed: int
    temperature: float = Field(0.0, description="of every request to a model")
    effort: Effort | None = Field(None, description="of reasoning, in every request; null: the service's own")
    versions: dict[str, str]
    prompts: dict[str, str] = Field(description="prompt file -> SHA-256")
    parent: Parent | None = None


class RunResumed(Event):
    kind: Literal["run_resumed"] = "run_resumed"
    sandbox: SandboxInfo


class SandboxRenewed(Event):
    """The sandbox was lost (the troubles before say how), and a fresh one took over."""

    kind: Literal["sandbox_renewed"] = "sandbox_renewed"
    where: Where = Field(description="whose command was lost first")
    sandbox: SandboxInfo
    seconds: float = Field(description="from the beginning of the lost command until work could go on")


class CanaryChecked(Event):
    kind: Literal["canary_checked"] = "canary_checked"
    held: bool
    lines: list[str]


class ModelCalled(Event):
    kind: Literal["model_called"] = "model_called"
    key: str
    role: str
    where: Where = Field(description="who asked: planner/<iteration>, worker/<iteration>/<step>, reporter")
    request: str = Field(description="blob: canonical request")
    reply: str = Field(description="blob: reply")
    model: str
    usage: Usage
    seconds: float


class ServiceAdapted(Event):
    """What a service was found not to understand, and what was done about it: no fault, said once a session."""

    kind: Literal["service_adapted"] = "service_adapted"
    where: Where = Field(description="whose request showed it")
    text: str


class Executed(Event):
    """A command of a sandbox, as it ended."""

    kind: Literal["executed"] = "executed"
    key: str
    where: Where
    argv: list[str]
    cwd: str
    given: dict[str, str] = Field(description="files written for the command: path -> blob")
    exit_code: int
    ended: str
    seconds: float
    stdout: str = Field(description="blob")
    stderr: str = Field(description="blob")
    dropped_bytes: int
    peak_mib: float | None = Field(None, description="most memory its processes were seen to use")
    files: dict[str, str] = Field(description="files new or changed afterwards: workspace path -> blob")
    gone: list[str] = Field(default_factory=list, description="files known before that are no longer there")
    unsaved: list[str] = Field(default_factory=list, description="files left out, with the reason")


class ToolCalled(Executed):
    """A command that called a tool, and what the tool answered."""

    kind: Literal["tool_called"] = "tool_called"  # type: ignore[assignment]
    tool: str
    arguments: dict[str, Any]
    result: dict[str, Any] | None = None
    error: dict[str, str] | None = None


class Planned(Event):
    kind: Literal["planned"] = "planned"
    iteration: int
    plan: Plan


class StepStarted(Event):
    kind: Literal["step_started"] = "step_started"
    iteration: int
    step: str


class StepFinished(Event):
    kind: Literal["step_finished"] = "step_finished"
    observation: Observation
    seconds: float


class Graded(Event):
    kind: Literal["graded"] = "graded"
    key: str
    iteration: int
    submission: Form | None
    score: Score
    files: dict[str, str] = Field(default_factory=dict, description="what was graded: workspace path -> blob")


class Decided(Event):
    kind: Literal["decided"] = "decided"
    iteration: int
    decision: Decision


class Confirmed(Event):
    """The harness's verdict on the submission of an iteration, made again on events that no choice had seen."""

    kind: Literal["confirmed"] = "confirmed"
    iteration: int
    submission: Form
    score: Score


class Audited(Confirmed):
    """What is left of it after an audit: the same score, or one without value that says why."""

    kind: Literal["audited"] = "audited"  # type: ignore[assignment]


class Claimed(Event):
    kind: Literal["claimed"] = "claimed"
    claim: Form
    headline: str = Field("", description="the claim in a line")
    checks: list[CheckedNumber]


class Sealed(Event):
    kind: Literal["sealed"] = "sealed"
    metrics: list[Metric]
    checks: list[CheckedNumber] = Field(description="the claims table, truth included")
    curves: dict[str, list[float]] = Field(default_factory=dict, description="what the task draws")
    artefact: str | None = None
    salt: str = Field("", description="what the run's secrets were drawn from, told now that it has ended")


class Trouble(Event):
    """Something went wrong, sorted by who can act."""

    kind: Literal["trouble"] = "trouble"
    who: Literal["model", "operator", "programmer"]
    where: Where
    text: str


class RunFinished(Event):
    kind: Literal["run_finished"] = "run_finished"
    status: Literal["converged", "exhausted", "failed", "budget", "interrupted", "lost"]
    reason: str
    seconds: float
    usage: Usage
    model_calls: int
    peak_memory_mib: float | None = None


AnyEvent = Annotated[
    RunStarted
    | RunResumed
    | SandboxRenewed
    | CanaryChecked
    | ModelCalled
    | ServiceAdapted
    | Executed
    | ToolCalled
    | Planned
    | StepStarted
    | StepFinished
    | Graded
    | Decided
    | Confirmed
    | Audited
    | Claimed
    | Sealed
    | Trouble
    | RunFinished,
    Field(discriminator="kind"),
]
EVENT: TypeAdapter[AnyEvent] = TypeAdapter(AnyEvent)
