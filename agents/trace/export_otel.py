"""A trace as OpenTelemetry spans: one OTLP/JSON document that a collector accepts (POST /v1/traces, or a file).

The run is a workflow; planner, workers and reporter are agents; model calls and tool calls are below them. Names follow
one version of the semantic conventions for generative AI. Scores are evaluation events of the workflow. Attributes of
our own are called beamcrew.*. The same trace gives the same bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from agents.backends.base import Message, Request
from agents.trace.events import (
    Answered,
    AnyEvent,
    Asked,
    BudgetNear,
    CanaryChecked,
    Claimed,
    Confirmed,
    Decided,
    Graded,
    ModelCalled,
    Planned,
    RunResumed,
    SandboxRenewed,
    StepFinished,
    ToolCalled,
    Trouble,
)
from agents.trace.export import Called, Exported, Work, begin, compact, finite, is_work, outcome, spans, tool_of
from agents.trace.shown import numbers_of, task_of
from agents.trace.where import Where
from tasks.task import Task

SEMCONV = "1.41.0"
SCHEMA = f"https://opentelemetry.io/schemas/{SEMCONV}"
INTERNAL, CLIENT = 1, 3  # kinds of spans
ERROR = 2  # code of a status
WRONG = ("failed", "declined", "budget", "interrupted", "lost")
Json = dict[str, Any]
# Work of the harness, without an agent.
NO_AGENT = {"claim": "confirmation on held-out data", "audit": "audit of the confirmation"}


def otel(trace: Exported) -> Json:
    """Return the OTLP/JSON document."""
    started = trace.started
    version = started.versions.get("beamcrew", "")
    resource = {"service.name": "beamcrew", "service.version": version, "service.instance.id": started.run}
    return {
        "resourceSpans": [
            {
                "resource": {"attributes": _attributes(resource)},
                "scopeSpans": [
                    {
                        "scope": {"name": "beamcrew.trace", "version": version},
                        "spans": [_workflow(trace), *_below(trace)],
                        "schemaUrl": SCHEMA,
                    }
                ],
                "schemaUrl": SCHEMA,
            }
        ]
    }


def _workflow(trace: Exported) -> Json:
    started, result, cost = trace.started, trace.result, trace.result.cost
    attributes = {
        "gen_ai.operation.name": "invoke_workflow",
        "gen_ai.workflow.name": started.task,
        "gen_ai.conversation.id": started.run,
        "gen_ai.input.messages": compact([_message(Message(role="user", content=started.request))]),
        "beamcrew.backend": started.backend,
        "beamcrew.is_llm": started.is_llm,
        "beamcrew.sandbox": f"{started.sandbox.driver} {started.sandbox.version}",
        "beamcrew.status": result.status,
        "beamcrew.trace_sha256": trace.sha,
        "beamcrew.dollars": cost.dollars,
        "gen_ai.usage.input_tokens": cost.prompt_tokens,
        "gen_ai.usage.output_tokens": cost.completion_tokens,
    }
    if result.claim:
        answer = Message(role="assistant", content=str(result.claim.get("text", "")))
        attributes["gen_ai.output.messages"] = compact([_message(answer) | {"finish_reason": "stop"}])
    task = task_of(started)
    events = [told for event in trace.events if (told := _event(event, task))]
    error = result.reason if result.status in WRONG else None
    ends = trace.events[0].time, max(event.time for event in trace.events)
    return _span(trace, "run", None, f"invoke_workflow {started.task}", INTERNAL, ends, attributes, error) | {
        "events": events
    }


def _below(trace: Exported) -> list[Json]:
    told: list[Json] = []
    for who, events in spans(trace.events).items():
        told.append(_agent(trace, who, events))
        told += [_work(trace, who, event) for event in events if is_work(event)]
    return told


def _agent(trace: Exported, who: Where, events: list[Work]) -> Json:
    role = who.role
    ends = min(map(begin, events)), max(event.time for event in events)
    failed = [e.observation.summary for e in events if isinstance(e, StepFinished) and not e.observation.ok]
    attributes: Json = {"beamcrew.where": who}
    if title := NO_AGENT.get(role):
        return _span(trace, who, "run", title, INTERNAL, ends, attributes)
    attributes |= {
        "gen_ai.operation.name": "invoke_agent",
        "gen_ai.agent.name": role,
        "gen_ai.agent.id": who,
        "gen_ai.conversation.id": trace.started.run,
        "gen_ai.provider.name": _provider(trace),
    }
    error = failed[-1] if failed else None
    return _span(trace, who, "run", f"invoke_agent {role}", INTERNAL, ends, attributes, error)


def _work(trace: Exported, who: Where, event: Work) -> Json:
    ends = begin(event), event.time
    attributes: Json = {"beamcrew.where": who, "beamcrew.event": event.index}
    if isinstance(event, ModelCalled):
        attributes |= _chat(trace, event)
        return _span(trace, event.index, who, f"chat {event.model}", CLIENT, ends, attributes)
    assert isinstance(event, Called)
    name, arguments = tool_of(trace, event)
    result, error = outcome(trace, event)
    attributes |= {
        "gen_ai.operation.name": "execute_tool",
        "gen_ai.tool.name": name,
        "gen_ai.tool.type": "function",
        "gen_ai.tool.call.arguments": compact(arguments),
        "gen_ai.tool.call.result": result,
    }
    if error:
        attributes["error.type"] = "refused" if isinstance(event, ToolCalled) else event.ended
    return _span(trace, event.index, who, f"execute_tool {name}", INTERNAL, ends, attributes, error)


def _chat(trace: Exported, event: ModelCalled) -> Json:
    attributes: Json = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": _provider(trace),
        "gen_ai.request.model": event.model,
        "gen_ai.response.model": event.model,
        "gen_ai.conversation.id": trace.started.run,
        "gen_ai.agent.name": event.role,
        "gen_ai.usage.input_tokens": event.usage.prompt_tokens,
        "gen_ai.usage.output_tokens": event.usage.completion_tokens,
        "beamcrew.dollars": event.usage.dollars,
    }
    if request := trace.request(event):
        attributes |= _asked(request)
    if reply := trace.reply(event):
        attributes["gen_ai.response.finish_reasons"] = [reply.finish]
        output = [_message(reply.message) | {"finish_reason": reply.finish}]
        attributes["gen_ai.output.messages"] = compact(output)
    return attributes


def _asked(request: Request) -> Json:
    system = [{"type": "text", "content": m.content} for m in request.messages if m.role == "system"]
    tools = [
        {"type": "function", "name": t.name, "description": t.description, "parameters": t.parameters}
        for t in request.tools
    ]
    return {
        "gen_ai.request.temperature": request.temperature,
        "gen_ai.request.max_tokens": request.max_tokens,
        "gen_ai.request.seed": request.seed,
        "gen_ai.output.type": "json" if request.response_schema else "text",
        "gen_ai.system_instructions": compact(system),
        "gen_ai.input.messages": compact([_message(m) for m in request.messages if m.role != "system"]),
        "gen_ai.tool.definitions": compact(tools),
    }


def _message(message: Message) -> Json:
    if message.role == "tool":
        parts: list[Json] = [{"type": "tool_call_response", "id": message.tool_call_id, "response": message.content}]
    else:
        calls: list[Json] = [
            {"type": "tool_call", "id": c.id, "name": c.name, "arguments": c.arguments} for c in message.tool_calls
        ]
        parts = [*([{"type": "text", "content": message.content}] if message.content else []), *calls]
    return {"role": message.role, "parts": parts}


def _event(event: AnyEvent, task: Task | None) -> Json | None:
    """Return an event that is not an agent's work as an event of the workflow; None for work."""
    if isinstance(event, Graded | Confirmed):
        score = event.score
        name = "gen_ai.evaluation.result"
        attributes: Json = {
            "gen_ai.evaluation.name": score.metric,
            "gen_ai.evaluation.score.value": score.value,
            "gen_ai.evaluation.score.label": "graded" if score.ok else "refused",
            "gen_ai.evaluation.explanation": score.reason,
            "beamcrew.score.error": score.error,
            "beamcrew.iteration": event.iteration,
        } | {f"beamcrew.number.{number.name}": number.value for number in numbers_of(task, event)}
    elif isinstance(event, Claimed):
        name, attributes = "beamcrew.claimed", event.claim
    elif isinstance(
        event, Planned | Asked | Answered | BudgetNear | Decided | CanaryChecked | Trouble | RunResumed | SandboxRenewed
    ):
        document = event.model_dump(mode="json", exclude={"kind", "time", "index"})
        name, attributes = f"beamcrew.{event.kind}", {"beamcrew.content": compact(document)}
    else:
        return None
    return {"name": name, "timeUnixNano": _nano(event.time), "attributes": _attributes(attributes)}


def _provider(trace: Exported) -> str:
    return trace.started.backend.partition(":")[0] if trace.started.is_llm else "beamcrew"


def _span(
    trace: Exported,
    key: object,
    parent: object,
    name: str,
    kind: int,
    ends: tuple[float, float],
    attributes: Mapping[str, Any],
    error: str | None = None,
) -> Json:
    return {
        "traceId": trace.identity("trace", digits=32),
        "spanId": trace.identity("span", key, digits=16),
        "parentSpanId": trace.identity("span", parent, digits=16) if parent is not None else "",
        "name": name,
        "kind": kind,
        "startTimeUnixNano": _nano(ends[0]),
        "endTimeUnixNano": _nano(ends[1]),
        "attributes": _attributes(attributes),
        "status": {"code": ERROR, "message": error} if error else {},
    }


def _nano(seconds: float) -> str:
    return str(round(seconds * 1e6) * 1000)  # a float of seconds since 1970 resolves microseconds only


def _attributes(values: Mapping[str, Any]) -> list[Json]:
    return [{"key": name, "value": _value(value)} for name, value in finite(values).items() if value is not None]


def _value(value: Any) -> Json:
    if isinstance(value, bool):
        return {"boolValue": value}
    if isinstance(value, int):
        return {"intValue": str(value)}
    if isinstance(value, float):
        return {"doubleValue": value}
    if isinstance(value, list):
        return {"arrayValue": {"values": [_value(item) for item in value]}}
    return {"stringValue": str(value)}
