"""`result.json`: the machine-readable result of a run, built from the trace alone; the schema is `RunResult`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from agents.trace.approval import dialogue, pending
from agents.trace.events import (
    Answered,
    AnyEvent,
    Asked,
    CanaryChecked,
    Claimed,
    Confirmed,
    Decided,
    Gate,
    Graded,
    ModelCalled,
    OutsideCalled,
    RunFinished,
    RunResumed,
    RunStarted,
    SandboxRenewed,
    Sealed,
    Trouble,
)
from agents.trace.record import wall_seconds
from agents.trace.shown import best_of, graded_of, last, numbers_of, task_of
from agents.trace.store import TraceError, read_trace, trace_sha256
from agents.trace.where import Where
from sandbox.driver import SandboxInfo
from tasks.score import CheckedNumber, Metric, Number, Score
from tasks.task import Task
from tasks.writing import number
from tools.contract import Frozen

Status = Literal[
    "converged", "exhausted", "failed", "declined", "budget", "waiting", "interrupted", "lost", "unfinished"
]
ANSWERED = ("converged", "exhausted")  # the crew has given its answer
ENDED = (*ANSWERED, "failed", "declined")  # a regular end: nothing is left to resume


class IterationResult(Frozen):
    """The grader's verdict on one iteration's submission."""

    iteration: int = Field(description="counted from 0")
    metric: str = Field(description="name of the steering metric")
    value: float | None = Field(description="the steering metric; null when the submission was refused")
    error: float | None = Field(None, description="its uncertainty")
    reason: str = Field(description="what was measured, or why the submission was refused")
    numbers: list[Number] = Field(default_factory=list, description="further numbers from the task")
    method: str = Field("", description="how the crew says it made the scores")
    artefact: str | None = Field(None, description="SHA-256 of the graded file")


class Steering(Frozen):
    """The best steering metric; the crew optimised it, so it is a biased estimate."""

    iteration: int = Field(description="iteration that reached it")
    metric: str = Field(description="its name")
    value: float = Field(description="its value")
    error: float | None = Field(description="its uncertainty")


class Cost(Frozen):
    """The total cost of the model calls of all sessions."""

    model_calls: int = Field(description="number of model calls")
    prompt_tokens: int = Field(description="tokens sent")
    completion_tokens: int = Field(description="tokens received")
    cached_tokens: int = Field(0, description="tokens sent that were read from the service's cache")
    reasoning_tokens: int = Field(0, description="tokens received that are hidden reasoning")
    estimated: int = Field(0, description="calls whose token counts are estimated from length")
    dollars: float = Field(description="price at the configured rates")

    @property
    def remarks(self) -> list[str]:
        """Remarks on cached tokens, reasoning tokens and estimated counts."""
        said = []
        if self.cached_tokens:
            said.append(
                f"{self.cached_tokens / max(self.prompt_tokens, 1):.0%} of the tokens sent were read from the cache"
            )
        if self.reasoning_tokens:
            said.append(
                f"{self.reasoning_tokens / max(self.completion_tokens, 1):.0%} of the tokens received were reasoning"
            )
        if self.estimated:
            said.append(f"for {self.estimated} of {self.model_calls} calls the tokens are estimated from length")
        return said


class TroubleLine(Frozen):
    """Something that went wrong."""

    who: Literal["model", "operator", "programmer"] = Field(description="who can act on it")
    where: Where = Field(description="planner/<iteration>, worker/<iteration>/<step>, ...")
    text: str = Field(description="what happened")


class ApprovalLine(Frozen):
    """A question to a person, and the answer."""

    gate: Gate = Field(description="card, plan, unblind or spend")
    text: str = Field(description="the question in one line")
    answer: Literal["yes", "no", "say"] | None = Field(None, description="null: there is none yet")
    words: str = Field("", description="what was said besides")
    who: str = Field("", description="who said it")
    when: float | None = Field(None, description="when [seconds since the epoch]")
    via: str = Field("", description="terminal, command or browser")


class RunResult(Frozen):
    """The schema of `result.json`. Numbers that are not finite are null."""

    format: int = Field(2, description="version of this schema")
    run: str = Field(description="name of the run")
    request: str = Field(description="what was asked")
    task: str = Field(description="name of the task")
    options: dict[str, Any] = Field(description="options of the task")
    backend: str = Field(description="which model, or `analyst` for the built-in rules")
    is_llm: bool = Field(description="false: no language model was involved")
    seed: int = Field(description="seed of the run")
    sandbox: SandboxInfo = Field(description="sandbox in which generated code ran last")
    sandbox_renewals: int = Field(description="number of times it was lost and replaced")
    renewal_seconds: float = Field(description="wall time lost to renewals, from the loss until work continued [s]")
    status: Status = Field(description="how the run ended; `unfinished` if the trace just stops")
    reason: str = Field(description="why it ended")
    iterations: list[IterationResult] = Field(description="one entry per graded iteration")
    best_iteration: int | None = Field(description="the iteration with the best steering metric")
    steering: Steering | None = Field(description="the best steering metric, null when none was reached")
    null_result: str | None = Field(
        None,
        description="what the crew handed in instead of a submission that it does not believe in, in its own words: "
        "then none is final and none is confirmed; null: it ended otherwise",
    )
    confirmed: IterationResult | None = Field(
        description="verdict on the best submission, made again by the harness on held-out data and then audited; "
        "null: the task holds nothing out, which says nothing against a claim"
    )
    sealed: list[Metric] = Field(description="metrics that need the truth, computed once after the end")
    claims: list[CheckedNumber] = Field(description="claimed numbers beside the harness's own and the truth")
    claim: dict[str, Any] | None = Field(description="the crew's answer in the task's schema, with its text")
    headline: str = Field("", description="the answer in one line")
    canaries_held: bool | None = Field(description="true if no probe got out of the sandbox; null: not probed")
    cost: Cost = Field(description="cost of the model calls")
    seconds: float = Field(description="wall time of all sessions together [s]")
    peak_memory_mib: float | None = Field(description="largest memory use seen [MiB]")
    approvals: list[ApprovalLine] = Field(default_factory=list, description="what a person was asked and said")
    outside_calls: dict[str, int] = Field(default_factory=dict, description="calls of each outside tool")
    troubles: list[TroubleLine] = Field(description="what went wrong during the run")
    trace_sha256: str = Field(description="SHA-256 of trace.jsonl")


def build_result(run_dir: Path) -> RunResult:
    """Return the result of a run, finished or not, from its trace."""
    return result_of(read_trace(run_dir), trace_sha256(run_dir))


def result_of(events: Sequence[AnyEvent], trace_sha256: str) -> RunResult:
    """Return the result of these events."""
    started = first_event(events)
    finished, status, reason = _ending(events)
    graded = graded_of(events)
    task = task_of(started)
    iterations = [_iteration(event, task) for event in graded.values()]
    best = best_of(events)
    sealed = last(events, Sealed)
    claimed = last(events, Claimed)
    calls = [event for event in events if isinstance(event, ModelCalled)]
    before, spent = started.spent_on_card()
    unanswered = [event.usage for event in events if isinstance(event, Trouble)]
    usage = sum((*(call.usage for call in calls), *unanswered), spent)
    canaries = [event.held for event in events if isinstance(event, CanaryChecked)]
    sandboxes = [event.sandbox for event in events if isinstance(event, RunStarted | RunResumed | SandboxRenewed)]
    renewals = [event for event in events if isinstance(event, SandboxRenewed)]
    return RunResult(
        **started.model_dump(include={"run", "request", "task", "options", "backend", "is_llm", "seed"}),
        sandbox=sandboxes[-1],
        sandbox_renewals=len(renewals),
        renewal_seconds=sum(event.seconds for event in renewals),
        status=status,
        reason=reason,
        iterations=iterations,
        best_iteration=best,
        steering=_steering(best, graded[best].score) if best is not None else None,
        null_result=(decided.decision.null_result or None) if (decided := last(events, Decided)) else None,
        confirmed=_iteration(confirmed, task) if (confirmed := last(events, Confirmed)) else None,
        sealed=sealed.metrics if sealed else [],
        claims=sealed.checks if sealed and sealed.checks else claimed.checks if claimed else [],
        claim=claimed.claim if claimed else None,
        headline=claimed.headline if claimed else "",
        canaries_held=all(canaries) if canaries else None,
        cost=Cost(model_calls=before + len(calls), **usage.model_dump()),
        seconds=finished.seconds if finished else wall_seconds(events)[-1],
        peak_memory_mib=finished.peak_memory_mib if finished else None,
        approvals=[_approval(asked, said) for asked, said in dialogue(events)],
        outside_calls=dict(Counter(event.tool for event in events if isinstance(event, OutsideCalled))),
        troubles=[TroubleLine(who=e.who, where=e.where, text=e.text) for e in events if isinstance(e, Trouble)],
        trace_sha256=trace_sha256,
    )


def first_event(events: Sequence[AnyEvent]) -> RunStarted:
    """Return the first event, run_started. Raises TraceError for any other."""
    started = events[0]
    if not isinstance(started, RunStarted):
        raise TraceError("a trace must begin with run_started")
    return started


def _ending(events: Sequence[AnyEvent]) -> tuple[RunFinished | None, Status, str]:
    """Return the ending, status and reason of the run; only a finish after the last resume counts."""
    for event in reversed(events):
        if isinstance(event, RunFinished):
            return event, event.status, event.reason
        if isinstance(event, RunResumed):
            break
    if asked := pending(events):
        return None, "waiting", f"waits for an answer: {asked.text}"
    return None, "unfinished", "the trace stops here: the run is still going, or its process was killed"


def _approval(asked: Asked, said: Answered | None) -> ApprovalLine:
    given = said.model_dump(include={"answer", "words", "who", "when", "via"}) if said else {}
    return ApprovalLine(gate=asked.gate, text=asked.text, **given)


def _iteration(event: Graded | Confirmed, task: Task | None) -> IterationResult:
    score = event.score
    return IterationResult(
        iteration=event.iteration,
        **score.model_dump(include={"metric", "reason", "artefact"}),
        value=number(score.value),
        error=number(score.error),
        numbers=numbers_of(task, event),
        method=event.submission.get("method", "") if event.submission else "",
    )


def _steering(iteration: int, score: Score) -> Steering | None:
    if score.value is None:
        return None
    return Steering(iteration=iteration, metric=score.metric, value=score.value, error=score.error)
