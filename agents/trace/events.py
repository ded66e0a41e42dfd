"""The events of a trace: small tagged records under one format version.

Large texts (prompts, replies, output, files) are blobs, named here by their SHA-256. No event may contain a secret:
requests carry no headers, commands no environment.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter

from agents.backends.base import Effort, Figure, Quota, ToolSchema, Usage
from agents.trace.observation import Form, Observation
from agents.trace.where import Where
from sandbox.driver import Gpu, SandboxInfo
from tasks.convergence import Decision
from tasks.plan import Plan
from tasks.review import Finding
from tasks.score import CheckedNumber, Metric, Score
from tools.contract import Frozen

Gate = Literal["card", "plan", "unblind", "spend"]
FORMAT = 4  # up to 3 a tool call was two events, and claims and submissions had one schema for all tasks


class Event(Frozen):
    time: float = Field(0.0, description="seconds since the epoch, set by the store")
    index: int = Field(-1, description="line number in the trace, set by the store")


class Parent(Frozen):
    """The run from which this one was forked. Copies of its events up to the step follow run_started."""

    run: str
    trace: str = Field(description="SHA-256 of its trace.jsonl")
    step: Where = Field(description="where the child departs from it: planner/<iteration>, worker/..., reporter")
    past: int = Field(ge=0, description="number of events copied")


class OutsideServer(Frozen):
    """A server of others whose tools the crew may use, and what of it is offered."""

    name: str
    at: str = Field(description="its program or host")
    version: str = Field(description="what it calls itself")
    tools: list[ToolSchema]
    left_out: dict[str, str] = Field(default_factory=dict, description="tool -> why it is not offered")


class RunStarted(Event):
    """Everything that a run begins with."""

    kind: Literal["run_started"] = "run_started"
    format: int = FORMAT
    run: str
    request: str
    task: str
    options: dict[str, Any] = Field(description="everything needed to prepare the task again")
    facts: dict[str, Any] = Field(description="facts about the inputs that the agents are told")
    inputs: dict[str, str] = Field(description="input file -> SHA-256")
    backend: str
    is_llm: bool
    sandbox: SandboxInfo
    gpu: Gpu = Field("auto", description="the operator's choice; the outcome is in `sandbox`")
    budget: dict[str, float]
    seed: int
    temperature: float = Field(0.0, description="sampling temperature of every request to a model")
    effort: Effort | None = Field(None, description="reasoning effort of every request; null: the service's default")
    reviewer: bool = Field(False, description="plans and results are reviewed, and may be sent back once")
    versions: dict[str, str]
    prompts: dict[str, str] = Field(description="prompt file -> SHA-256")
    parent: Parent | None = None
    card: dict[str, Any] | None = Field(
        None, description="how the request was understood, as accepted; null: the operator named the task"
    )
    approve: dict[str, Any] = Field(default_factory=dict, description="gates at which the run stops and asks a person")
    outside: list[OutsideServer] = Field(default_factory=list, description="outside servers, as they were then")

    def spent_on_card(self) -> tuple[int, Usage]:
        """Return the calls of the model that filled the card, and what they cost."""
        card = self.card or {}
        return int(card.get("model_calls", 0)), Usage.model_validate(card.get("usage", {}))


class RunResumed(Event):
    kind: Literal["run_resumed"] = "run_resumed"
    sandbox: SandboxInfo
    budget: dict[str, float] | None = Field(None, description="limits from here on; null: as before")


class SandboxRenewed(Event):
    """The sandbox was lost (see the preceding troubles) and replaced by a fresh one."""

    kind: Literal["sandbox_renewed"] = "sandbox_renewed"
    where: Where = Field(description="whose command was lost first")
    sandbox: SandboxInfo
    seconds: float = Field(description="from the start of the lost command until work could continue")


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
    """A feature that the service lacks, and how requests were adapted: not a fault, recorded once a session."""

    kind: Literal["service_adapted"] = "service_adapted"
    where: Where = Field(description="whose request revealed it")
    text: str


class Executed(Event):
    """A finished command in a sandbox."""

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
    peak_mib: float | None = Field(None, description="peak memory of its processes")
    files: dict[str, str] = Field(description="files new or changed afterwards: workspace path -> blob")
    gone: list[str] = Field(default_factory=list, description="known files that no longer exist")
    unsaved: list[str] = Field(default_factory=list, description="files left out, with the reason")
    touched: list[str] = Field(
        default_factory=list, description="known files written without a change, or changed in other folders meanwhile"
    )


class ToolCalled(Executed):
    """A command that called a tool, and what the tool answered."""

    kind: Literal["tool_called"] = "tool_called"  # type: ignore[assignment]
    tool: str
    arguments: dict[str, Any]
    result: dict[str, Any] | None = None
    error: dict[str, str] | None = None


class OutsideCalled(Event):
    """A call of a tool of an outside server, made on the host. Its text is not to be trusted."""

    kind: Literal["outside_called"] = "outside_called"
    key: str = Field(description="hash of the tool and its arguments")
    where: Where
    tool: str = Field(description="server.tool")
    arguments: dict[str, Any]
    ended: Literal["answered", "refused", "timeout", "lost", "limit"] = Field(
        description="refused: the server answered with an error; limit: the run has made all its calls of the server"
    )
    text: str = Field(description="blob: what the server said")
    cut: int = Field(0, description="characters of it that were not kept")
    seconds: float


class Told(Event):
    """What an agent was told of time and budget when it began."""

    kind: Literal["told"] = "told"
    key: str = Field("", description="empty: it is found by its place alone")
    where: Where
    facts: dict[str, Any]


class Seen(Event):
    """The figures that a command made, as they are shown to models that can see."""

    kind: Literal["seen"] = "seen"
    key: str = Field(description="hash of the files' paths and hashes")
    where: Where
    figures: list[Figure]
    refused: dict[str, str] = Field(default_factory=dict, description="file -> why it is not shown")


class Planned(Event):
    kind: Literal["planned"] = "planned"
    iteration: int
    plan: Plan


class GatesChecked(Event):
    """What the numeric gates found against a plan or result, before it was reviewed."""

    kind: Literal["gates_checked"] = "gates_checked"
    key: str = Field("", description="empty: it is found by its place alone")
    where: Where = Field(description="reviewer/<iteration>/plan or reviewer/<iteration>/result")
    findings: list[Finding]


class Reviewed(Event):
    """The reviewer's verdict on a plan or result."""

    kind: Literal["reviewed"] = "reviewed"
    where: Where = Field(description="reviewer/<iteration>/plan or reviewer/<iteration>/result")
    send_back: bool
    reasons: list[str]
    skipped: str = Field("", description="why there is no verdict, if the model gave none in the right form")


class Asked(Event):
    """What a person is asked before the run goes on. Found by its place alone, like its answer."""

    kind: Literal["asked"] = "asked"
    key: str = ""
    where: Where = Field(description="operator/<iteration>/<gate>")
    gate: Gate
    text: str = Field(description="the question in one line")
    shown: dict[str, Any] = Field(description="what is to be approved: the plan with its cost, the next dollars ...")


class Answered(Event):
    """What a person answered."""

    kind: Literal["answered"] = "answered"
    key: str = ""
    where: Where = Field(description="that of the question")
    gate: Gate
    answer: Literal["yes", "no", "say"]
    words: str = ""
    who: str
    when: float = Field(description="when it was said [seconds since the epoch]")
    via: str = Field(description="terminal, command or browser")


class BudgetNear(Event):
    """Most of a limit is spent."""

    kind: Literal["budget_near"] = "budget_near"
    name: str = Field(description="dollars, tokens, seconds or model_calls")
    used: float
    limit: float


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
    files: dict[str, str] = Field(default_factory=dict, description="graded files: workspace path -> blob")


class Decided(Event):
    kind: Literal["decided"] = "decided"
    iteration: int
    decision: Decision


class Part(Frozen):
    """A command of a recipe."""

    where: Where
    what: str = Field(description="the tool, or the command line")
    key: str = Field(description="the same as of the recorded command")


class Repeated(Event):
    """The commands that a claim or an audit repeats, and those of the same steps that it leaves out."""

    kind: Literal["repeated"] = "repeated"
    where: Where
    parts: list[Part]
    left_out: list[Part] = Field(description="nothing that is repeated can depend on these")
    why_all: str = Field("", description="why nothing is left out, if files could not be followed")
    seconds: float = Field(description="duration of the repeated commands when they were recorded")


class Confirmed(Event):
    """The harness's verdict on an iteration's submission, repeated on events that no choice depended on."""

    kind: Literal["confirmed"] = "confirmed"
    iteration: int
    submission: Form
    score: Score


class Audited(Confirmed):
    """The confirmed score after the audit: the same one, or one without a value that says why."""

    kind: Literal["audited"] = "audited"  # type: ignore[assignment]


class Claimed(Event):
    kind: Literal["claimed"] = "claimed"
    claim: Form
    headline: str = Field("", description="the claim in one line")
    checks: list[CheckedNumber]


class Sealed(Event):
    kind: Literal["sealed"] = "sealed"
    metrics: list[Metric]
    checks: list[CheckedNumber] = Field(description="the claims table, including the truth")
    curves: dict[str, list[float]] = Field(default_factory=dict, description="curves that the task plots")
    artefact: str | None = None
    salt: str = Field("", description="salt of the run's secrets, revealed after its end")


class Trouble(Event):
    """Something went wrong, sorted by who can act."""

    kind: Literal["trouble"] = "trouble"
    who: Literal["model", "operator", "programmer"]
    where: Where
    text: str
    usage: Usage = Field(Usage(), description="what calls of a model cost that gave no reply")


class RunFinished(Event):
    kind: Literal["run_finished"] = "run_finished"
    status: Literal["converged", "exhausted", "failed", "declined", "budget", "waiting", "interrupted", "lost"]
    reason: str
    seconds: float
    usage: Usage
    model_calls: int
    quota: Quota | None = Field(None, description="what the service ran out of; null: the run ended for another reason")
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
    | OutsideCalled
    | Told
    | Seen
    | Planned
    | GatesChecked
    | Reviewed
    | Asked
    | Answered
    | BudgetNear
    | StepStarted
    | StepFinished
    | Graded
    | Decided
    | Repeated
    | Confirmed
    | Audited
    | Claimed
    | Sealed
    | Trouble
    | RunFinished,
    Field(discriminator="kind"),
]
EVENT: TypeAdapter[AnyEvent] = TypeAdapter(AnyEvent)
